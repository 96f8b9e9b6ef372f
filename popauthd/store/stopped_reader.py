"""A reader of the relay map that stands still in the middle of a look: it pins pages, and the map grows without end.

A look takes microseconds. A reader that stays at the same older commit for STILL_SECONDS was stopped: by SIGSTOP, by a
debugger, with a frozen container. The map is then made anew as another file. The old one is freed when the reader goes
on or ends.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

STILL_SECONDS = 2.0
STOPPED = "Tt"  # proc(5): by a signal, by a debugger


class StoppedReader:
    """Watches who reads the map. oldest: the process that reads an older commit than the newest, and which one; (0, 0)
    if nobody does.
    """

    def __init__(self, oldest: Callable[[], tuple[int, int]]) -> None:
        self._oldest = oldest
        self._seen = (0, 0)
        self._since = 0.0
        self._stopped = 0

    def found(self) -> str:
        """What is wrong with the map because a reader stands still, "" if nothing is."""
        reader = self._oldest()
        now = time.monotonic()
        if reader != self._seen:
            self._seen, self._since = reader, now
        if not reader[0] or now - self._since < STILL_SECONDS:
            return ""
        self._stopped = reader[0]
        return f"could not free its pages, as process {reader[0]} stands still while it reads"

    @property
    def standing(self) -> str:
        """Who was found and is stopped still; "" for nobody."""
        if self._stopped and _state(self._stopped) not in STOPPED:
            self._stopped = 0
        return f"process {self._stopped} was stopped while it read the relay map" if self._stopped else ""


def _state(process: int) -> str:
    """The state of a process, by its letter; "?" if it is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="latin-1").rpartition(")")[2].split()[0]
    except OSError:
        return "?"
