"""When the watcher takes its next turn.

A turn has a price of its own, whatever it reads: looks at files, a commit, a sync to disk. So lines that come close
after each other share one: two turns begin APART_SECONDS apart or more. The first line after a pause is read at once.

While nearly each turn finds something (`busy`), nobody needs to be woken: the turns come by themselves. What would wake
the watcher, an event for each line, costs more than they do.

journald tells of a record up to half a second late, though it can be read at once. So a journal is asked in between,
which costs a few microseconds and no turn: often while records come, seldom when none came for a while.
"""

from __future__ import annotations

import selectors
import time
from collections.abc import Callable, Sequence

from popauthd.serving.turns import call_ready
from popauthd.sources import Waking

APART_SECONDS = 0.002  # a line waits half of it while many come; twice as many turns take twice the processor
TICK_SECONDS = 0.001  # a selector waits in whole ones, and rounds up
ASK_OFTEN_SECONDS = 0.005
ASK_SELDOM_SECONDS = 0.025
OFTEN_FOR_SECONDS = 60.0  # after a record
WINDOW_SECONDS = 1.0
BUSY_TURNS = 300  # that found something in a window, of some 500
QUIET_TURNS = 100


class Pace:
    """Waits between the turns, and calls what is ready in `selector` meanwhile.

    busy: the turns come by themselves. clock: seconds that only grow. sleep: waits so many of them.
    """

    def __init__(
        self,
        selector: selectors.BaseSelector,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._selector = selector
        self._clock = clock
        self._sleep = sleep
        self._not_before = 0.0
        self._often_until = 0.0
        self.busy = False
        self._found = 0  # turns of this window that found something
        self._window_until = 0.0

    def wait(self, seconds: float, asked: Sequence[Waking], stopped: Callable[[], bool]) -> None:
        """Wait for something to do, `seconds` at most, and then until the next turn may begin.

        seconds: 0 if there is more to do at once. asked: what may have something to read without telling.
        """
        until = self._clock() + (0 if self.busy else seconds)
        while not call_ready(self._selector, max(0.0, self._step(until, asked))):
            if self._clock() >= until or self._unread(asked):
                break
        while seconds and (left := self._not_before - self._clock()) > 0 and not stopped():
            if left > TICK_SECONDS:
                call_ready(self._selector, left // TICK_SECONDS * TICK_SECONDS)
            else:
                self._sleep(left)
        self._not_before = self._clock() + APART_SECONDS

    def _step(self, until: float, asked: Sequence[Waking]) -> float:
        now = self._clock()
        often = now < self._often_until
        return min(until - now, ASK_OFTEN_SECONDS if often else ASK_SELDOM_SECONDS) if asked else until - now

    def turned(self, *, found: bool) -> None:
        """A turn has ended. found: it found something to read."""
        now = self._clock()
        if now >= self._window_until:
            self.busy = self._found >= (QUIET_TURNS if self.busy else BUSY_TURNS)
            self._found, self._window_until = 0, now + WINDOW_SECONDS
        self._found += found

    def _unread(self, asked: Sequence[Waking]) -> bool:
        if not any(source.unread() for source in asked):
            return False
        self._often_until = self._clock() + OFTEN_FOR_SECONDS
        return True
