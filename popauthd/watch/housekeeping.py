"""What the watcher does by the clock: renews held sessions, sweeps, forgets, and mends what was lost or touched.

Every step may raise StoreError, and is then due again at the next turn.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable

from popauthd.errors import StoreFullError
from popauthd.store.books import Writing
from popauthd.store.books.published import SWEEP_AT_MOST
from popauthd.store.books.sessions import RENEW_AT_MOST
from popauthd.watch.clock_steps import ClockSteps
from popauthd.watch.ledger import Ledger
from popauthd.watch.limits_in_force import LimitsInForce
from popauthd.watch.lost_sessions import LostSessions
from popauthd.watch.notes import Notes

FORGET_EVERY_SECONDS = 60
READER_CHECK_SECONDS = 60
COUNT_EVERY_SECONDS = 5.0
ROOM_AT_ONCE = (500, 50, 5, 1)  # entries that are forgotten when the books are full


class Housekeeping:
    """Keeps books and map in order. `prepare`, `start` within the first transaction, then `tend` at every turn.

    `degraded` says what of this is in trouble, though the watcher goes on; "" if nothing is. `settle` enters what was
    judged already and waits; it is called before the clock or the limits are changed in the books.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: ClockSteps,
        limits: LimitsInForce,
        notes: Notes,
        *,
        history_seconds: int = 86400,
        lost_sessions: LostSessions | None = None,
    ) -> None:
        self.clock = clock
        self.limits = limits
        self.notes = notes
        self.degraded = ""
        self.settle: Callable[[int], None] = lambda _now: None
        self._ledger = ledger
        self._history_seconds = history_seconds
        self.lost_sessions = lost_sessions
        self._ends_missed = False
        self._forget_at = 0
        self._recounted_at = 0
        self._count_at = 0.0
        self._readers_at = 0.0

    def prepare(self, now: int) -> None:
        """What may change too much for one transaction, before `start`: nothing of it is published yet."""
        with self._ledger.preparing() as writing:
            self.clock.start(writing, now, self.limits.now.future_seconds)
        self.limits.prepare(now)

    def start(self, writing: Writing, now: int) -> None:
        """Bring the books in line with the clock and the limits."""
        self.clock.start(writing, now, self.limits.now.future_seconds)
        self.limits.start(writing, now)
        while writing.published.sweep(now):
            pass

    def tend_clock(self, now: int) -> None:
        """Bring the books in line with the wall clock if it was set; before anything is entered."""
        if self.clock.tend(now, self.limits.now.future_seconds, self.settle):
            self._forget_at = now

    def tend(self, now: int, *, caught_up: bool) -> bool:
        """Do what is due; True if there is more of it to do at once. caught_up: every log is read to its end."""
        self._ledger.take_back()
        more = self.limits.tend(now, self.settle)
        more = self._tend_expiries(now, caught_up=caught_up) or more
        self._tend_readers_and_counts(now)
        if now >= self._forget_at and not self.clock.doubtful:
            more = self.forget(now) or more
        if self.lost_sessions is not None and caught_up:
            self.lost_sessions.tend(self._ledger, now)
        self._tell(self._ledger.publish_due(), now)
        if told := self._ledger.take_in_revocations():
            self.notes.add(told, now)
        self._ledger.rewrite_revocations()
        self.degraded = self._ledger.trouble
        return more

    def _tend_readers_and_counts(self, now: int) -> None:
        if time.monotonic() >= self._readers_at:
            self._readers_at = time.monotonic() + READER_CHECK_SECONDS
            self._ledger.check_readers()
        if self.notes.uncounted and time.monotonic() >= self._count_at:
            self._count_at = time.monotonic() + COUNT_EVERY_SECONDS
            with self._ledger.change() as writing:
                writing.counters.add(dict(self.notes.uncounted), now)
            self.notes.take_counts()

    def _tell(self, news: Iterable[tuple[str, str]], now: int) -> None:
        for name, text in news:
            self.notes.add(text, now)
            self.notes.count({name: 1})

    def forget(self, now: int) -> bool:
        """Forget some of what no longer matters, in one bounded transaction; True if there is more."""
        with self._ledger.change() as writing:
            writing.forget(now, self._history_seconds)
        if not writing.more_to_forget:
            self._forget_at = now + FORGET_EVERY_SECONDS
        return writing.more_to_forget

    def make_room(self, now: int) -> None:
        """The books are full: forget what may be forgotten or, if that is nothing, give them more address space.

        Raises StoreFullError if neither helps.
        """
        self._ledger.check_readers()  # a reader that died keeps what was forgotten from being used again
        for at_most in ROOM_AT_ONCE:  # to take something out needs room as well, and less for less
            with contextlib.suppress(StoreFullError), self._ledger.change() as writing:
                logins = writing.forget(now, self._history_seconds, at_most)
                if not logins and not writing.more_to_forget:
                    break
                self.notes.count({"books.full": 1})
                return
        before = self._ledger.book_bytes
        if not self._ledger.grow():
            raise StoreFullError(
                f"books {self._ledger.path}: full at {before >> 20} MiB, which is all that this machine can address, "
                "and nothing in them has run out; a shorter `history` makes room"
            )
        self.notes.count({"books.grown": 1})
        self.notes.add(f"the books were full; they may now take {self._ledger.book_bytes >> 20} MiB of disk", now)

    def _tend_expiries(self, now: int, *, caught_up: bool) -> bool:
        """Renew what is held and take out what has run out; True if there is more than one transaction takes."""
        with self._ledger.reading() as reading:
            renewal_due = reading.sessions.renewal_due(now if caught_up else now - self._ledger.rules.hold_seconds)
            # Once counted, no address is due again within the same second; to ask, all shared ones are read.
            recount_due = now != self._recounted_at and bool(reading.shared.due(now))
            if not (renewal_due or recount_due or reading.published.anything_due(now)):
                self._recounted_at = now
                return False
        with self._ledger.change() as writing:
            # Before sweeping: what is held must not blink.
            renewed = writing.sessions.renew(now, unread=not caught_up) if renewal_due else 0
            if renewal_due and caught_up:
                self._tell_whether_ends_are_logged(logged=writing.sessions.ends_are_logged(now), now=now)
            swept = writing.published.sweep(now)
            writing.recount(now)
        self._recounted_at = now
        return renewed >= RENEW_AT_MOST or swept >= SWEEP_AT_MOST

    def _tell_whether_ends_are_logged(self, *, logged: bool, now: int) -> None:
        if not logged and not self._ends_missed:
            self.notes.add(
                "sessions are not held: the log has not yet told of the end of one (Dovecot 2.2 never does, nor one "
                "whose mail_log_prefix lacks the session)",
                now,
            )
        self._ends_missed = not logged

    def go_by(self, limits: LimitsInForce, history_seconds: int, lost_sessions: LostSessions | None) -> None:
        """From now on by other limits, another history, and whoever is asked for lost sessions."""
        if self.lost_sessions is not None and lost_sessions is None:
            self.lost_sessions.close()
        self.limits, self._history_seconds, self.lost_sessions = limits, history_seconds, lost_sessions

    def close(self) -> None:
        """Ask nobody any more."""
        if self.lost_sessions is not None:
            self.lost_sessions.close()
