"""LMDB's lock file beside the relay map, as the responder takes part in it.

With a place in it, a reader's pages are not given to others while it looks. Without one, a look beside a writer at full
speed can miss a key, and on a small map even end the process. Only the writer makes the file, together with the map: a
lock file that is older than its map tells readers of commits that the map does not have. So a reader takes no part in a
file that is missing, or not its own to write.
"""

from __future__ import annotations

import contextlib
import os
import stat

PLACES = 16  # readers at the same time; the writer makes so many


class ReaderLock:
    """A lock file, open as long as LMDB has it open, so that we see when it is cut short.

    LMDB reads it through memory, and the first page that is gone would end the process (SIGBUS). LIMIT: that can still
    happen between the look at its size and the look into the map.
    """

    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._bytes = size

    def cut_short(self) -> bool:
        """Whether it is smaller than it was."""
        return os.lseek(self._descriptor, 0, os.SEEK_END) < self._bytes

    def mend(self) -> None:
        """Give it its old size again: LMDB writes to it when it closes the map."""
        if self.cut_short():
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._bytes)

    def close(self) -> None:
        """Close it, after LMDB has: closing any descriptor of a file gives up all of the process's locks in it."""
        os.close(self._descriptor)


def part_in(path: str) -> ReaderLock | None:
    """The lock file at `path`, if a reader can take part in it."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
    except OSError:
        return None
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode) or not status.st_size:
        os.close(descriptor)
        return None
    return ReaderLock(descriptor, status.st_size)
