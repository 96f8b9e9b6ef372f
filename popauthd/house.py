"""What the watcher does by the clock: renews, sweeps, forgets, minds the clock, the lists of users and the readers.

Owns the limits that are in force, as lists of users change, and the notes for the administrator. Every step may
raise StoreError and is then due again at the next turn.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from popauthd import clock as clocks
from popauthd.books import Books, Writing
from popauthd.lostends import LostEnds
from popauthd.policy import Limits, fingerprint, still_grants
from popauthd.publisher import Publisher
from popauthd.text import stamp
from popauthd.userfile import UserFiles

log = logging.getLogger("popauthd.watch")

FORGET_EVERY_SECONDS = 600
READER_CHECK_SECONDS = 60
COUNT_EVERY_SECONDS = 5.0
NOTES = 20  # kept for status


class House:
    """Keeps books and map in order. `start` within the first transaction, then `tend` at every turn."""

    def __init__(
        self,
        books: Books,
        publisher: Publisher,
        limits: Limits,
        *,
        history_seconds: int = 86400,
        notes: Sequence[str] = (),
        user_files: UserFiles | None = None,
        lost_ends: LostEnds | None = None,
        clock_offset: Callable[[], int] = clocks.offset,
    ) -> None:
        self.limits = user_files.applied(limits) if user_files is not None else limits
        self.notes = list(notes)  # what an administrator should know since the start, newest last
        self.uncounted: Counter[str] = Counter()  # waits for the next transaction
        self._books = books
        self._publisher = publisher
        self._history_seconds = history_seconds
        self._user_files = user_files
        self._lost_ends = lost_ends
        self._clock_offset = clock_offset
        self._offset = 0
        self._judge_due = False
        self._ends_missed = False
        self._forget_at = 0
        self._count_at = 0.0
        self._readers_at = 0.0

    def start(self, writing: Writing, now: int) -> None:
        """Bring the books in line with the clock and the limits."""
        boot = clocks.boot_id()
        self._offset = self._clock_offset()
        before = writing.clock()
        if before is not None and before[0] == boot and before[1] - self._offset >= clocks.STEP_SECONDS:
            writing.clock_was_set_back(before[1] - self._offset, now)
        if before is not None and before[0] != boot:  # no session outlives the machine
            writing.forget_sessions()
        writing.set_clock(boot, self._offset)
        self._judge_again(writing, now)
        while writing.sweep(now):
            pass

    def note(self, text: str, at: int) -> None:
        """Tell the administrator: in the log, and in status."""
        log.warning("%s", text)
        self.notes = [*self.notes[1 - NOTES :], f"{stamp(at)} {text}"]

    def count(self, names: Mapping[str, int]) -> None:
        """Count what was heard and led to no login; entered with the next batch, or before long."""
        self.uncounted.update(names)

    def tend(self, now: int, *, caught_up: bool) -> None:
        """Do what is due. caught_up: every log is read to its end."""
        self._mind_the_clock(now)
        self._mind_the_users(now)
        self._mind_the_expiries(now, caught_up=caught_up)
        if time.monotonic() >= self._readers_at:
            self._readers_at = time.monotonic() + READER_CHECK_SECONDS
            self._books.check_readers()
            self._publisher.check_readers()
        if self.uncounted and time.monotonic() >= self._count_at:
            self._count_at = time.monotonic() + COUNT_EVERY_SECONDS
            with self._books.writing() as writing:
                writing.count(dict(self.uncounted), now)
            self.uncounted.clear()
        if now >= self._forget_at:
            self._forget_at = now + FORGET_EVERY_SECONDS
            with self._books.writing() as writing:
                writing.forget(now, self._history_seconds)
        if self._lost_ends is not None and caught_up:
            self._lost_ends.tend(self._books, now, lambda writing: self._publisher.apply(writing.changes))
        self._publisher.tend(self._books)

    def _mind_the_expiries(self, now: int, *, caught_up: bool) -> None:
        with self._books.reading() as reading:
            renewal_due = caught_up and reading.renewal_due(now)
            if not (renewal_due or reading.anything_due(now) or reading.recount_due(now)):
                return
        with self._books.writing() as writing:
            if renewal_due:  # before sweeping, so that what is held does not blink
                writing.renew(now)
                self._mind_the_ends(logged=writing.ends_are_logged(now), now=now)
            writing.sweep(now)
            writing.recount(now)
            self._publisher.apply(writing.changes)

    def _mind_the_ends(self, *, logged: bool, now: int) -> None:
        if not logged and not self._ends_missed:
            self.note(
                "sessions are not held: the log has not yet told of the end of one (Dovecot 2.2 never does, nor one "
                "whose mail_log_prefix lacks the session)",
                now,
            )
        self._ends_missed = not logged

    def _mind_the_users(self, now: int) -> None:
        notes = self._user_files.refresh() if self._user_files is not None else []
        for note in notes:
            self.note(note, now)
        if notes and self._user_files is not None:
            self.limits = self._user_files.applied(self.limits)
            self._judge_due = True
        if self._judge_due:
            with self._books.writing() as writing:
                self._judge_again(writing, now)
                self._publisher.apply(writing.changes)
            self._judge_due = False  # not before: a full disk must not leave excluded users what stands

    def _judge_again(self, writing: Writing, now: int) -> None:
        """A login that stands ends when the administrator has excluded its user or its address since."""
        limits = self.limits
        ended = writing.judge_again(fingerprint(limits), lambda key, user: still_grants(key, user, limits), now)
        if ended:
            log.info("the limits have changed: logins that ended by it: %d", ended)

    def _mind_the_clock(self, now: int) -> None:
        step = self._clock_offset() - self._offset
        if abs(step) < clocks.STEP_SECONDS:
            return
        log.warning("the wall clock was set by seconds=%+d; grants end when they would have ended", step)
        with self._books.writing() as writing:
            if step < 0:
                writing.clock_was_set_back(-step, now)
            writing.set_clock(clocks.boot_id(), self._offset + step)
            self._publisher.apply(writing.changes)
        self._offset += step
        self._forget_at = now

    def close(self) -> None:
        """Ask nobody any more."""
        if self._lost_ends is not None:
            self._lost_ends.close()
