"""The last window of time: which lines of a log are young enough to be read when no place says where to begin."""

from __future__ import annotations

from collections.abc import Callable

MARGIN_SECONDS = 60  # how far the lines of a log may be out of order


class Window:
    """Begins at a time that the caller names, and moves on with the clock, never back.

    stamp: see `LogFile`. now: epoch seconds, set by each read.
    """

    def __init__(self, stamp: Callable[[bytes, int], int | None], clock: Callable[[], float]) -> None:
        self._stamp = stamp
        self._clock = clock
        self.now = int(clock())
        self._oldest = 0
        self._set_at = self.now

    def set(self, oldest: int) -> None:
        """From now on: the lines stamped `oldest` or later."""
        self.now = self._set_at = int(self._clock())
        self._oldest = oldest

    @property
    def begins_at(self) -> int:
        """The earliest stamp that is young enough, with a margin for lines that are out of order."""
        return self._oldest + max(0, self.now - self._set_at) - MARGIN_SECONDS

    def stamp(self, line: bytes) -> int | None:
        """The time of a line, or None if it has none."""
        return self._stamp(line, self.now)
