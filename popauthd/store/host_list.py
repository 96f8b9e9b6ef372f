"""The generated host list, for Exim's iplsearch: a line `address: expiry` for each address that may relay.

IPv6 keys (addresses and /64s) stand in quotes, because a colon would end the key. Exim takes the first line that fits.
The file is written under another name and renamed, so a reader sees the whole old list or the whole new one. It is
empty if no address may relay. Exim compares the expiry with its own clock, so the list of a dead watcher runs out too.
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
from popauthd.store.block import Block

FILE_MODE = 0o640
DUTY = 10  # writing a long list may take at most a tenth of the time
LONG_BYTES = 1 << 18  # some 10,000 addresses; a longer list is written once in LONG_SECONDS at most
LONG_SECONDS = 1.0


def lines(block: Block) -> bytes:
    """The lines for some addresses, each with its line feed."""
    text = b"\n".join(map(b": ".join, block))
    if text.count(b":") == len(block):  # no address of IPv6
        return text + b"\n" if block else b""
    return b"".join([(b'"%s": %s\n' if b":" in row[0] else b"%s: %s\n") % row for row in block])


def write(path: str, blocks: Iterable[Block]) -> Mark:
    """Replace the list at `path`; returns the mark of the new file. On StoreError the old list is still there."""
    return write_text(path, map(lines, blocks))


def write_text(path: str, pieces: Iterable[bytes]) -> Mark:
    """The same, from the text of the list in pieces.

    The file is always a new one. A process whose watcher has died may still be writing the one that is there
    (host_list_writer.py); what it writes must not get into this list.
    """
    fresh = Path(f"{path}.new")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, FILE_MODE)
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            file.flush()
            written = file_marks.of(os.fstat(file.fileno()))
        ours = file_marks.at(fresh) == written
        if ours:
            fresh.rename(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            fresh.unlink()
        raise StoreError(f"host list {path}: cannot be written: {error.strerror}") from error
    if not ours:
        raise StoreError(f"host list {path}: another process writes it")
    return written


def leave_nobody(path: str) -> None:
    """Empty a list that is kept no longer; nothing is made where there is none.

    LIMIT: where that cannot be done, it runs out by itself, but a revocation does not reach it.
    """
    if os.path.lexists(path):
        with contextlib.suppress(StoreError):
            write(path, ())


class HostList:
    """Keeps the list at `path`. `stale`: the list must be written. `due`: it must, and it may be written now."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.stale = True
        self._written: Mark | None = None
        self._not_before = 0.0
        self._began = 0.0

    def lost(self) -> str:
        """What somebody else did to the list that we wrote; "" for nothing. A lost list may be written at once."""
        what = file_marks.difference(self._written, file_marks.at(self.path)) if self._written else ""
        if what:
            self.stale, self._not_before = True, 0.0
        return what

    def due(self) -> bool:
        """Whether the list must be written now."""
        return self.stale and time.monotonic() >= self._not_before

    def wait(self, at_most_seconds: float) -> float:
        """How long to wait before the list is looked at again; not less for one that could not be written."""
        if not self.stale or not self._not_before:
            return at_most_seconds
        return min(at_most_seconds, max(0.0, self._not_before - time.monotonic()))

    @property
    def size(self) -> int:
        """How many bytes the list had when it was written last."""
        return self._written.size if self._written is not None else 0

    def write(self, blocks: Iterable[Block]) -> None:
        """Write the list. After a StoreError it is still due."""
        self.asked()
        try:
            written = write(self.path, blocks)
        except StoreError:
            self.stale = True
            raise
        self.was_written(written, time.monotonic() - self._began)

    def asked(self) -> None:
        """Note that the list is being written, as the books are now."""
        self.stale, self._began, self._not_before = False, time.monotonic(), 0.0

    def was_written(self, mark: Mark, seconds: float) -> None:
        """Note that the list has been written since `asked`, in so many seconds of this or the other process."""
        self._written = mark
        least = LONG_SECONDS if mark.size > LONG_BYTES else 0.0
        self._not_before = self._began + max(least, (1 + DUTY) * seconds)
