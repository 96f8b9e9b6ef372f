"""A temporary directory, its processes and its ports, gone without fail when the test is.

Limits: Linux. `free_port` gives a port that was free a moment ago; nobody holds it for the server.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import shutil
import signal
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

WAIT_SECONDS = 60.0  # waited out only by a failure
# Ends the process groups named on its input as soon as that input ends, which it does however we die.
# There is no `--` before them: dash takes it for a process, and kills nobody.
GUARD = """
while read -r group; do all="$all -$group"; done
[ -z "$all" ] || { kill -TERM $all; sleep 1; kill -KILL $all; } 2>/dev/null
[ "$1" = "" ] || rm -rf -- "$1"
"""


class ServerError(Exception):
    """A server did not start, stop or answer in time; the message holds the end of its log."""


def wait_for(holds: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Look again until `holds()`, or raise ServerError saying what was waited for."""
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            raise ServerError(f"waited {seconds:g} s for {what}")
        time.sleep(0.01)


@functools.cache
def _taken() -> int:
    """A file in which each process locks the bytes of the ports that it was given; open until it ends."""
    return os.open(f"/tmp/popauthd-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)


def free_port() -> int:
    """A TCP port that is free on 127.0.0.1 and ::1 alike, and that no other test run beside this one is given.

    Two servers that are started at the same time would else meet at a port, and a client log in at the wrong one.
    """
    while True:
        with socket.socket(socket.AF_INET6) as six, socket.socket() as four, contextlib.suppress(OSError):
            six.bind(("::1", 0))
            port: int = six.getsockname()[1]
            four.bind(("127.0.0.1", port))
            fcntl.lockf(_taken(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
            return port


def listens(address: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True


def lend(source: Path, target: Path) -> Path:
    """Copy a file to where every user can read it, and run it if its owner can; returns the copy.

    The source tree may lie below /root, or have been unpacked for nobody but root.
    """
    shutil.copyfile(source, target)
    target.chmod(0o755 if source.stat().st_mode & stat.S_IXUSR else 0o644)
    return target


def lend_package(source: Path, target: Path) -> None:
    """Copy the modules of a Python package, and of those in it, to where every user can read them."""
    for module in source.rglob("*.py"):
        copy = target / module.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        lend(module, copy)


class Server:
    """One process group: a server in the foreground and whatever it forks."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @property
    def pid(self) -> int:
        """The process that was started."""
        return self.process.pid

    def alive(self) -> bool:
        """Whether the process that was started still runs."""
        return self.process.poll() is None

    def signal_group(self, number: int) -> None:
        """Signal the server and its children; no error if they are gone."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self, seconds: float = 5.0) -> int:
        """Ask it to end, then make it; returns its exit status (negative: the signal)."""
        if self.alive():
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.terminate()
                self.process.wait(seconds)
        self.signal_group(signal.SIGKILL)
        return self.process.wait(seconds)

    def wait_until(self, holds: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
        """wait_for, but give up at once when the server has ended, and show the end of its log."""
        try:
            wait_for(lambda: not self.alive() or holds(), f"{self.name} to {what}", seconds)
        except ServerError as error:
            raise ServerError(f"{error}; {self._end_of_log()}") from error
        if not self.alive():
            raise ServerError(f"{self.name} ended with status {self.process.returncode}; {self._end_of_log()}")

    def _end_of_log(self) -> str:
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"the end of {self.log}:\n{text[-3000:]}"


class Place:
    """The directory, and the servers started in it. Everybody may look into `root`, as servers change users."""

    def __init__(self, keep: bool = False) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="popauthd-"))
        self.root.chmod(0o755)
        self.keep = keep
        self._servers: list[Server] = []
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", GUARD, "guard", "" if keep else str(self.root)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )

    def __enter__(self) -> Place:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def directory(self, name: str, mode: int = 0o755, owner: str | None = None) -> Path:
        """Make a directory below root; `owner` is a user, whose group of the same name gets it too."""
        path = self.root / name
        path.mkdir(parents=True, exist_ok=True)
        path.chmod(mode)
        if owner:
            shutil.chown(path, owner, owner)
        return path

    def start(self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Server:
        """Start a process group of its own; its output goes to <root>/<name>.out."""
        log = self.root / f"{name}.out"
        with log.open("ab") as out:
            process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env=None if env is None else dict(env),
                start_new_session=True,
            )
        assert self._guard.stdin is not None
        self._guard.stdin.write(b"%d\n" % process.pid)
        self._guard.stdin.flush()
        server = Server(name, process, log)
        self._servers.append(server)
        return server

    def close(self) -> None:
        """Stop the servers, the last started first, and remove the directory."""
        for server in reversed(self._servers):
            server.stop()
        assert self._guard.stdin is not None
        self._guard.kill()
        self._guard.wait()
        with contextlib.suppress(BrokenPipeError):
            self._guard.stdin.close()
        if not self.keep:
            shutil.rmtree(self.root, ignore_errors=True)
