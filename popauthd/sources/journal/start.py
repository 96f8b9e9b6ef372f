"""Where reading begins: at the saved place, else with the window of time in which a login can still grant.

LIMIT: a start without a place looks for the window by time, and the library bisects each file as if
its times only grew: logins logged just before the wall clock was set back may be missed then.
"""

from __future__ import annotations

from collections.abc import Callable

from popauthd.sources.journal.place import MICRO, LastRecord
from popauthd.sources.journal.reader import Reader
from popauthd.sources.journal.vacuumed import Vacuumed


class Window:
    """The window of time in which a login can still grant. It moves on with the clock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.set(0)

    def set(self, oldest: int) -> None:
        """Let it begin at `oldest`, in epoch seconds, as of now."""
        self._oldest, self._set_at = oldest, int(self._clock())

    def begins(self, now: int) -> int:
        """Microseconds: what is older can grant nothing any more."""
        return max(0, self._oldest + max(0, now - self._set_at)) * MICRO


def seek(reader: Reader, last: LastRecord | None, window_begins: int, vacuumed: Vacuumed) -> None:
    """Go to the first record to be read; tell a gap if records before it are gone. Raises OSError.

    last: the last record that was handed out. window_begins: microseconds.
    """
    if last is None:
        reader.seek_realtime(window_begins)
    elif not _stands_at(reader, last.cursor):
        vacuumed.check(last.at, max(last.at, window_begins))
        # Not the place alone: its time may be one that the wall clock was set back from since.
        reader.seek_realtime(min(last.at, window_begins))
    vacuumed.read_until = max(0 if last is None else last.at, window_begins)


def _stands_at(reader: Reader, cursor: str) -> bool:
    """Go to the record of the cursor; False, and nowhere in particular, if it is not there any more."""
    try:
        reader.seek_cursor(cursor)
        # A cursor whose record was vacuumed lands on the next one, which is new.
        return bool(reader.get_next()) and reader.test_cursor(cursor)
    except ValueError:
        return False
