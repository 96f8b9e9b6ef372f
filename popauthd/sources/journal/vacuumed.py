"""Tells when records were removed before they were read: the journal was vacuumed, or replaced by another.

Either shows by the time at which the journal begins: if that is later than the time up to which everything was
read, what was logged in between is gone.
"""

from __future__ import annotations

from popauthd.sources.journal import reader as opening
from popauthd.sources.journal.gaps import Gaps
from popauthd.sources.journal.place import MICRO, utc


class Vacuumed:
    """Compares where the journal begins with how far it was read, and tells a gap.

    read_until: microseconds; everything older was read, or can grant nothing any more.
    """

    def __init__(self, path: str, title: str, gaps: Gaps) -> None:
        self.read_until = 0
        self._path = path
        self._title = title
        self._gaps = gaps
        self._files: frozenset[int] = frozenset()

    def look_at_files(self) -> frozenset[int]:
        """Remember which files there are; the ones that are gone since the last call."""
        before, self._files = self._files, opening.files(self._path)
        return before - self._files

    def after_change(self, change: int) -> None:
        """Look for files that are gone. change: what the reader's process() returned, not NOP."""
        # Vacuuming empties a file even while it is open (unlinkat_deallocate in systemd), and the library
        # passes it over without a word. Either sign may be missing: process() does not count a file that
        # was dropped while reading, and an inode may be used again at once.
        gone = self.look_at_files()
        if gone or change == opening.INVALIDATE:
            self.check(self.read_until, self.read_until)

    def check(self, read_until: int, needed_from: int) -> None:
        """Tell a gap if the journal begins later than `needed_from`. Both in microseconds. Raises OSError.

        read_until: the time that the gap is told to begin at.
        """
        begins = opening.begins_at(self._path)
        if begins is None:
            # No record is left: all that was written after `needed_from` is gone.
            begins = max(self._gaps.now * MICRO, needed_from + 1)
        if begins > needed_from:
            self._gaps.note(
                f"the {self._title} was vacuumed or replaced: what was logged after {utc(read_until)} and before "
                f"{utc(begins)} may be lost"
            )
