"""popauthd itself from this tree, run in a Place between its Dovecot and its Exims."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.servers.exim import TREE, USER
from tests.servers.place import Place, Server
from tests.support.helpers import answers

CONFIG = """
lifetime = "{lifetime}"
grant_loopback = true
group = "{group}"
run_dir = "{run_dir}"
state_dir = "{state_dir}"
"""
SOURCE = """
[[source]]
type = "file"
path = "{log}"
"""


class Popauthd:
    """The daemon: not started yet; `start("run")`, or "watch" and "respond" each by itself."""

    def __init__(
        self,
        place: Place,
        log: Path | None,
        lifetime: str = "15m",
        settings: str = "",
        run_dir: Path | None = None,
    ) -> None:
        """log: what to follow, None for nothing. settings: more lines of the configuration.

        run_dir: None for one in `place`.
        """
        self.place = place
        self.python: str | Path = sys.executable
        # Not made here: the daemon makes them, with the modes that let Exim in and nobody else.
        self.run_dir = run_dir or place.root / "run"
        self.state_dir = place.root / "state"
        self.config = place.root / "popauthd.toml"
        self.config.write_text(
            settings
            + CONFIG.format(lifetime=lifetime, group=USER, run_dir=self.run_dir, state_dir=self.state_dir)
            + ("" if log is None else SOURCE.format(log=log))
        )

    @property
    def socket(self) -> Path:
        """The responder's socket."""
        return self.run_dir / "lookup.sock"

    @property
    def map(self) -> Path:
        """The relay map."""
        return self.run_dir / "relay.mdb"

    @property
    def host_list(self) -> Path:
        """The generated host list."""
        return self.run_dir / "relay-hosts"

    def start(self, *commands: str) -> dict[str, Server]:
        """Start `popauthd COMMAND` for each command and wait until it answers: a watcher has its logs open then."""
        return {command: self._start(command) for command in commands or ("run",)}

    def _start(self, command: str) -> Server:
        words: list[str | Path] = [self.python, "-m", "popauthd", command, "--config", self.config]
        server = self.place.start(f"popauthd.{command}", words, self._environment())
        control = self.run_dir / "control.sock"
        sockets = {"run": (self.socket, control), "watch": (control,), "respond": (self.socket,)}[command]
        server.wait_until(lambda: all(map(answers, sockets)), "answer")
        return server

    def control(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `popauthctl ARGUMENT...`; the caller looks at the status."""
        return subprocess.run(
            [sys.executable, "-m", "popauthd.cli", "--config", self.config, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=self._environment(),
        )

    def may_relay(self, address: str) -> bool:
        """What the responder says."""
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(10)
            client.connect(str(self.socket))
            client.sendall(f"{address}\n".encode())
            return client.recv(64) == b"yes"

    def listed(self, address: str) -> bool:
        """Whether the host list has it."""
        return f"{address}:" in self.host_list.read_text().replace('"', "")

    def settled(self, address: str, granted: bool) -> bool:
        """Whether all three ways agree: the list follows the map at the watcher's next look."""
        return self.may_relay(address) is granted and self.listed(address) is granted

    @staticmethod
    def _environment() -> dict[str, str]:
        return {**os.environ, "PYTHONPATH": str(TREE)}
