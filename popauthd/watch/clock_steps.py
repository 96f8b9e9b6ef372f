"""Sees when the wall clock was set, and brings the books in line with it.

The wall clock minus the boot clock is a constant until somebody sets the wall clock. It is kept in the books, with
the id of this boot: so a step is also seen that happened while the watcher was stopped.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from popauthd import clock
from popauthd.store.books import Writing
from popauthd.watch.ledger import Ledger

log = logging.getLogger("popauthd.watch")

DOUBT_SECONDS = 600.0  # after a boot, or when the clock was set forward: it may be wrong, and set back soon


class ClockSteps:
    """`start` within the first transaction, then `tend` before anything is entered."""

    def __init__(self, ledger: Ledger, offset: Callable[[], int] = clock.offset) -> None:
        self._ledger = ledger
        self._offset_now = offset
        self._offset = 0
        self._doubt_until = 0.0

    @property
    def booted_at(self) -> int:
        """When the machine was started, by the wall clock."""
        return self._offset

    @property
    def doubtful(self) -> bool:
        """Whether the clock may be wrong, so that nothing should be forgotten yet."""
        return time.monotonic() < self._doubt_until

    def start(self, writing: Writing, now: int, future_seconds: int) -> None:
        """Bring the books in line with the clock as it is now. future_seconds: see `Limits`."""
        boot = clock.boot_id()
        self._offset = self._offset_now()
        before = writing.meta.clock()
        same_boot = before is not None and before[0] == boot
        # Another boot's clock may be behind for want of a battery: then the books know of a later time than now.
        back = max(writing.meta.latest_at - now, before[1] - self._offset if before is not None and same_boot else 0)
        if back >= clock.STEP_SECONDS:
            writing.clock_was_set_back(back, now)
        if not same_boot or before is None or before[1] != self._offset:
            writing.times.settle(now, future_seconds)
        if before is not None and not same_boot:
            self._doubt_until = time.monotonic() + DOUBT_SECONDS
        # No session outlives the machine. Of a session that is not held now, nobody would notice the end.
        if (before is not None and not same_boot) or not self._ledger.rules.hold_seconds:
            writing.sessions.forget_all()
        writing.meta.set_clock(boot, self._offset)

    def tend(self, now: int, future_seconds: int, settle: Callable[[int], None]) -> bool:
        """Bring the books in line with the wall clock if it was set; True if it was. Raises StoreError.

        settle: enters first what was judged by the clock from before.
        """
        step = self._offset_now() - self._offset
        if abs(step) < clock.STEP_SECONDS:
            return False
        log.warning("the wall clock was set by seconds=%+d; grants end when they would have ended", step)
        settle(now)
        with self._ledger.change() as writing:
            if step < 0:
                writing.clock_was_set_back(-step, now)
            else:
                self._doubt_until = time.monotonic() + DOUBT_SECONDS
            writing.times.settle(now, future_seconds)
            writing.meta.set_clock(clock.boot_id(), self._offset + step)
        self._offset += step
        return True
