"""Starts the services of a root as their unit files say, without systemd.

Taken from the unit: ExecStartPre, ExecStart, User with its groups, UMask, StateDirectory, no privileges, Type=notify
with the watchdog's variables, and the listening socket with its mode. Not taken: the sandbox, which needs systemd.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.package.roots import ENVIRONMENT, Root
from tests.support.helpers import eventually

UNITS = "usr/lib/systemd/system"
SCRIPT = 'umask "$1"; fd=$2; shift 2; [ "$fd" = 0 ] || eval "exec 3<&$fd"; export LISTEN_PID=$$; exec "$@"'


def read_unit(root: Root, name: str) -> dict[str, str]:
    """The settings of a unit by key; the last of each."""
    lines = (root.path / UNITS / name).read_text().splitlines()
    pairs = [line.partition("=") for line in lines if line[:1].isalpha()]
    return {key: value for key, _, value in pairs}


class Listener:
    """What a socket unit opens; it outlives the services behind it."""

    def __init__(self, root: Root, name: str) -> None:
        unit = read_unit(root, name)
        root.run(*shlex.split(unit["ExecStartPre"]))
        self.path = root.path / unit["ListenStream"].lstrip("/")
        self.path.unlink(missing_ok=True)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(str(self.path))
        self.path.chmod(int(unit["SocketMode"], 8))
        self.socket.listen(4096)

    def close(self) -> None:
        """Stop the socket unit (RemoveOnStop=)."""
        self.socket.close()
        self.path.unlink(missing_ok=True)

    def ask(self, address: str) -> str:
        """One lookup, as Exim makes it; `trouble` if nobody answers in 2 seconds."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            try:
                connection.connect(str(self.path))
                connection.sendall(f"{address}\n".encode())
                return connection.recv(64).decode() or "trouble"
            except OSError:
                return "trouble"


class Service:
    """A service unit; `start` returns when it has told that it is ready."""

    def __init__(self, root: Root, name: str, listener: Listener | None = None) -> None:
        self.root = root
        self.name = name
        self.log = root.path / "var/log" / f"test-{name}.log"
        self.heard: list[str] = []
        self._unit = read_unit(root, name)
        self._listener = listener
        self._notify = Path(f"/run/test-{name}.notify")
        self._receiver: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait for READY=1. Raises AssertionError, with its log, if that does not come."""
        self.launch()
        eventually(lambda: self.ended() is not None or self.is_ready(), f"{self.name} is ready")
        assert self.is_ready(), self.log.read_text()

    def launch(self) -> None:
        """Start it without waiting."""
        user = self._unit["User"]
        if "ExecStartPre" in self._unit:
            self.root.run(*shlex.split(self._unit["ExecStartPre"].lstrip("+")))
        if state := self._unit.get("StateDirectory"):
            mode = self._unit["StateDirectoryMode"]
            self.root.run("install", "-d", "-o", user, "-g", user, "-m", mode, f"/var/lib/{state}")
        self._open_notify()
        number = 0 if self._listener is None else self._listener.socket.fileno()
        rights = ["--reuid", user, "--regid", self._unit["Group"], "--init-groups", "--no-new-privs"]
        rights += ["--bounding-set=-all", "--inh-caps=-all"]
        words = ["setpriv", *rights, "bash", "-c", SCRIPT, "bash", self._unit["UMask"], str(number)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self.root.inside(*words, *shlex.split(self._unit["ExecStart"])),
                env=self._environment(number), pass_fds=[number] if number else [], stdin=subprocess.DEVNULL,
                stdout=log, stderr=log,
            )  # fmt: skip

    def _environment(self, number: int) -> Mapping[str, str]:
        environment = {**ENVIRONMENT, "NOTIFY_SOCKET": str(self._notify), "WATCHDOG_USEC": "1000000"}
        return {**environment, "LISTEN_FDS": "1"} if number else environment

    def _open_notify(self) -> None:
        path = self.root.path / str(self._notify).lstrip("/")
        path.unlink(missing_ok=True)
        self._close_notify()
        self._receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._receiver.bind(str(path))
        path.chmod(0o666)
        self._receiver.setblocking(False)
        self.heard = []

    def listen(self) -> list[str]:
        """What it has told systemd so far, one setting a text."""
        while self._receiver is not None:
            try:
                self.heard += self._receiver.recv(4096).decode().split("\n")
            except BlockingIOError:
                break
        return self.heard

    def is_ready(self) -> bool:
        """Whether it has said so."""
        return "READY=1" in self.listen()

    def ended(self) -> int | None:
        """Its exit status, or None while it runs."""
        assert self._process is not None
        return self._process.poll()

    def stop(self) -> int:
        """As systemctl stop does; its exit status, also when it has ended before."""
        assert self._process is not None
        if (ended := self._process.poll()) is not None:
            return ended
        for pid in self._children(self._process.pid):
            os.kill(pid, signal.SIGTERM)
        status = self._process.wait(20)
        self.listen()
        self._close_notify()
        return status

    def _close_notify(self) -> None:
        if self._receiver is not None:
            self._receiver.close()
        self._receiver = None

    @staticmethod
    def _children(pid: int) -> list[int]:
        # nsenter forks to come into the namespace of processes, and waits.
        return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
