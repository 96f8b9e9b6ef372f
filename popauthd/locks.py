"""What makes a process the only one of its kind in a directory, and tells it when the directory is taken from it.

The lock is flock(2) on a file of its own: it ends with the process, however that dies. The file is 0600, as whoever can
open it can hold it: Exim's group may read the run directory, and must not be able to keep us out.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat
import time
from collections.abc import Callable
from pathlib import Path

from popauthd import file_marks
from popauthd.errors import Stopped, StoreError, in_the_way
from popauthd.file_marks import Mark

WAIT_SECONDS = 4.0  # a process of `run` that was killed goes on for up to 3 s: it looks each second, and drains for two
LOOK_SECONDS = 0.05


def hold(path: Path, refusal: str, stopped: Callable[[], bool]) -> int:
    """Take the lock, waiting a little for one that is just ending; returns the descriptor that holds it.

    Raises StoreError with `refusal` if another process has it, ForbiddenError if the file is not ours to open, and
    Stopped as soon as `stopped()`.
    """
    until = time.monotonic() + WAIT_SECONDS
    while True:
        descriptor = _open(path)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if file_marks.at(path) == file_marks.of(os.fstat(descriptor)):
                return descriptor
        except BlockingIOError as error:
            if time.monotonic() >= until:
                os.close(descriptor)
                raise StoreError(refusal) from error
        except OSError as error:
            os.close(descriptor)
            raise in_the_way(f"{path}: cannot be locked", error) from error
        os.close(descriptor)
        if stopped():
            raise Stopped
        time.sleep(LOOK_SECONDS)


def _open(path: Path) -> int:
    flags = os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags | os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        try:  # the sandbox of popauthd-lookup.service shows the directory read-only, and that is enough for a lock
            return os.open(path, flags | os.O_RDONLY)
        except OSError:
            raise in_the_way(f"{path}: cannot be opened", error) from error
    if stat.S_IMODE(os.fstat(descriptor).st_mode) != 0o600:
        with contextlib.suppress(OSError):
            os.fchmod(descriptor, 0o600)
    return descriptor


class Places:
    """Files that are ours as long as we run: our locks and sockets. Others may take them from us.

    every_seconds: how often `lost` looks at all; in between it says "".
    """

    def __init__(self, every_seconds: float) -> None:
        self._mine: dict[str, Mark | None] = {}
        self._every_seconds = every_seconds
        self._look_at = 0.0

    def add(self, path: str) -> None:
        """What is at `path` now is ours."""
        self._mine[path] = file_marks.at(path)

    def give_up(self, path: str) -> None:
        """What is at `path` is not ours any more."""
        self._mine.pop(path, None)

    def lost(self) -> str:
        """The first path where something else or nothing is now, or ""."""
        now = time.monotonic()
        if now < self._look_at:
            return ""
        self._look_at = now + self._every_seconds
        return next((path for path, mine in self._mine.items() if file_marks.difference(mine, file_marks.at(path))), "")


def listens(path: str) -> bool:
    """Whether a process listens on the unix socket at `path`. Raises OSError if that cannot be told."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.setblocking(False)
        try:
            client.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        except BlockingIOError:  # its queue is full
            return True
    return True
