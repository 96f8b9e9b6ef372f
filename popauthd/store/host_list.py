"""The generated host list: one `address: expiry` line each, for Exim's iplsearch.

IPv6 keys, a /64 among them, stand in quotes, as a colon would end the key; Exim takes the first line that
fits. The file is written to a new name and renamed, so a reader sees the old list or the new one, whole. It
is empty when nothing is allowed. Exim compares the expiry with its own clock, so the list of a dead watcher
runs out too.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable
from pathlib import Path

from popauthd import file_marks
from popauthd.errors import StoreError
from popauthd.file_marks import Mark

FILE_MODE = 0o640
DUTY = 10  # writing a long list may take at most a tenth of the time


def line(address: str, expires_at: int) -> str:
    """The line for one address, with its line feed."""
    key = f'"{address}"' if ":" in address else address
    return f"{key}: {expires_at}\n"


def write(path: str, entries: Iterable[tuple[str, int]]) -> Mark:
    """Replace the list at `path`; returns what is there then. Raises StoreError, the old list left in place."""
    fresh = f"{path}.new"
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, FILE_MODE)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.writelines(line(address, expires_at) for address, expires_at in entries)
            file.flush()
            written = file_marks.of(os.fstat(file.fileno()))
        Path(fresh).rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(fresh).unlink()
        raise StoreError(f"host list {path}: cannot be written: {error.strerror}") from error
    return written


class HostList:
    """Keeps the list at `path`: `stale` says that it must be written, `due` that it may be by now."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.stale = True
        self._written: Mark | None = None
        self._not_before = 0.0

    def lost(self) -> str:
        """What somebody else did to the list that we wrote, or ""; what is lost is due at once."""
        what = file_marks.difference(self._written, file_marks.at(self.path)) if self._written else ""
        if what:
            self.stale, self._not_before = True, 0.0
        return what

    def due(self) -> bool:
        """Whether to write it now."""
        return self.stale and time.monotonic() >= self._not_before

    def write(self, entries: Iterable[tuple[str, int]]) -> None:
        """Write it. Raises StoreError, and is still due then."""
        began = time.monotonic()
        self._written = write(self.path, entries)
        ended = time.monotonic()
        self.stale = False
        self._not_before = ended + DUTY * (ended - began)
