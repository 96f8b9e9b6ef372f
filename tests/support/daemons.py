"""Starts the real popauthd and popauthctl as processes, each in a directory of its own."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmdb

from popauthd.control_client import ask
from tests.support.helpers import ROOT, answers, eventually

LIFETIME = 900


def login_line(address: str, *, at: float | None = None, user: str = "alice@example.org") -> bytes:
    """A line as Dovecot 2.3 writes it into its own file, in local time, with its LF."""
    stamp = time.strftime("%b %d %H:%M:%S", time.localtime(at))
    return (
        f"{stamp} imap-login: Info: Login: user=<{user}>, method=PLAIN, rip={address}, lip=198.51.100.5, "
        f"mpid=4242, TLS, session=<aKTnLvhgIrN/AAAB>\n"
    ).encode()


class Installation:
    """A configuration, a log, and the processes started on them. Sessions are not held unless `settings` say so.

    run_dir: made where it is not there; /run, where it belongs, is a file system in memory.
    """

    def __init__(self, directory: Path, settings: str = "", run_dir: Path | None = None) -> None:
        self.directory = directory
        self.log = directory / "dovecot.log"
        self.run_dir = run_dir or directory / "run"
        self.config = directory / "popauthd.toml"
        if "hold_sessions" not in settings:
            settings = f"hold_sessions = false\n{settings}"
        self.config.write_text(
            f'run_dir = "{self.run_dir}"\nstate_dir = "{directory}/state"\n{settings}\n'
            f'[[source]]\npath = "{self.log}"\nframing = "dovecot-file"\n'
        )
        self.log.touch()
        self.processes: list[subprocess.Popen[bytes]] = []
        self.prefix: tuple[str, ...] = ()  # what starts a part, such as `unshare --mount`
        self.environment: Mapping[str, str] | None = None  # of all processes, if not this one's

    def start(self, part: str) -> subprocess.Popen[bytes]:
        """Start `popauthd PART`, in a process group of its own; its log goes to PART.err."""
        command = [*self.prefix, sys.executable, "-m", "popauthd", "--config", str(self.config), part]
        with (self.directory / f"{part}.err").open("ab") as errors:
            process = subprocess.Popen(command, cwd=ROOT, env=self.environment, stderr=errors, process_group=0)
        self.processes.append(process)
        return process

    def respond_on(self, listener: socket.socket) -> subprocess.Popen[bytes]:
        """Start `popauthd respond` and hand it a listening socket, as systemd does; its log goes to respond.err."""
        code = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3)\n"
            "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n"
            "os.execv(sys.executable, [sys.executable, '-m', 'popauthd', '--config', sys.argv[2], 'respond'])"
        )
        command = [sys.executable, "-c", code, str(listener.fileno()), str(self.config)]
        with (self.directory / "respond.err").open("ab") as errors:
            process = subprocess.Popen(command, cwd=ROOT, stderr=errors, pass_fds=[listener.fileno()])
        self.processes.append(process)
        return process

    def ready(self) -> None:
        """Wait until watcher and responder answer; the watcher has opened its logs by then."""
        for name in ("control.sock", "lookup.sock"):
            eventually(lambda name=name: answers(self.run_dir / name), f"{name} answers")  # type: ignore[misc]

    def write(self, *lines: bytes) -> None:
        """Append to the log, as Dovecot does: one write a line."""
        descriptor = os.open(self.log, os.O_WRONLY | os.O_APPEND)
        for line in lines:
            os.write(descriptor, line)
        os.close(descriptor)

    def ask(self, address: str) -> str:
        """The responder's answer, or "" if there is none."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(5)
                connection.connect(str(self.run_dir / "lookup.sock"))
                connection.sendall(f"{address}\n".encode())
                return connection.recv(64).decode()
        except OSError:
            return ""

    def ctl(self, *arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """Run popauthctl."""
        command = [sys.executable, "-m", "popauthd.cli", "--config", str(self.config), *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=self.environment, input=stdin, capture_output=True, timeout=60, check=False
        )

    def listed(self) -> dict[str, int]:
        """What `popauthctl list --json` says: address -> expiry."""
        done = self.ctl("list", "--json")
        assert done.returncode == 0, done.stderr
        return {entry["address"]: entry["expires_at"] for entry in json.loads(done.stdout)}

    def published(self) -> dict[str, int]:
        """What the relay map holds: address -> expiry."""
        with (
            lmdb.open(str(self.run_dir / "relay.mdb"), subdir=False, readonly=True, lock=False) as env,
            env.begin() as txn,
        ):
            records = {bytes(key).decode(): bytes(value).decode().split() for key, value in txn.cursor()}
        assert all(address == key for key, (_expiry, address) in records.items())
        return {key: int(expiry) for key, (expiry, _address) in records.items()}

    def host_list(self) -> dict[str, int]:
        """What the host list holds, of IPv4: address -> expiry."""
        lines = (self.run_dir / "relay-hosts").read_text().splitlines()
        return {address: int(expiry) for address, expiry in (line.split(": ") for line in lines)}

    def degraded(self) -> str:
        """What the watcher itself says is wrong, "" if nothing is."""
        told = ask(str(self.run_dir / "control.sock"), {"command": "status"})
        return str(told["degraded"])

    def status(self) -> dict[str, Any]:
        """What `popauthctl status --json` says."""
        reply: dict[str, Any] = json.loads(self.ctl("status", "--json").stdout)
        return reply

    def errors(self, part: str) -> str:
        """What a part has logged."""
        return (self.directory / f"{part}.err").read_text()

    def close(self) -> None:
        """Stop whatever still runs."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
