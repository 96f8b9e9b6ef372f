"""What the watcher does by the clock: renews, sweeps, forgets, minds the clock, the lists of users and the readers.

Owns the limits that are in force, as lists of users change, and the notes for the administrator. Every step may
raise StoreError and is then due again at the next turn.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

from popauthd import address
from popauthd import clock as clocks
from popauthd.errors import StoreError, StoreFullError
from popauthd.model import Login
from popauthd.policy import Limits, asked_of_a_line, fingerprint, lifetime, still_grants
from popauthd.policy.user_files import UserFiles
from popauthd.store.books import Books, LoginRow, Writing
from popauthd.store.books.sessions import RENEW_AT_MOST
from popauthd.store.books.writing import SWEEP_AT_MOST
from popauthd.store.publisher import Publisher
from popauthd.text import stamp
from popauthd.watch.lost_sessions import LostEnds

log = logging.getLogger("popauthd.watch")

FORGET_EVERY_SECONDS = 60
DOUBT_SECONDS = 600.0  # after a boot, or when the clock was set forward: it may be wrong, and set back soon
READER_CHECK_SECONDS = 60
COUNT_EVERY_SECONDS = 5.0
NOTES = 20  # kept for status
ROOM_AT_ONCE = (500, 50, 5, 1)  # entries that are forgotten when the books are full
OWN_AT_MOST = 512  # of this machine's addresses that are remembered


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
        self._plain = self.limits = user_files.applied(limits) if user_files is not None else limits
        self.degraded = ""  # what of this is in trouble, though the watcher goes on
        self.notes = list(notes)  # what an administrator should know since the start, newest last
        self.uncounted: Counter[str] = Counter()  # waits for the next transaction
        self._books = books
        self._publisher = publisher
        self._history_seconds = history_seconds
        self._user_files = user_files
        self._lost_ends = lost_ends
        self._clock_offset = clock_offset
        self._offset = 0
        self._own: tuple[str, ...] = ()
        self._judge_due = False
        self._ends_missed = False
        self._forget_at = 0
        self._doubt_until = 0.0
        self._count_at = 0.0
        self._readers_at = 0.0

    def start(self, writing: Writing, now: int) -> None:
        """Bring the books in line with the clock and the limits."""
        boot = clocks.boot_id()
        self._offset = self._clock_offset()
        before = writing.clock()
        same_boot = before is not None and before[0] == boot
        # Another boot's clock may be behind for want of a battery: then the books know of a later time than now.
        back = max(writing.latest() - now, before[1] - self._offset if before is not None and same_boot else 0)
        if back >= clocks.STEP_SECONDS:
            writing.clock_was_set_back(back, now)
        if not same_boot or before is None or before[1] != self._offset:
            writing.settle_revocations(now, self.limits.future_seconds)
        if before is not None and not same_boot:
            self._doubt_until = time.monotonic() + DOUBT_SECONDS
        # No session outlives the machine, and of one that is not held now nobody would notice the end.
        if (before is not None and not same_boot) or not self._books.rules.hold_seconds:
            writing.forget_sessions()
        writing.set_clock(boot, self._offset)
        self._own = writing.own_addresses()
        self._apply_own()
        self._judge_again(writing, now)
        while writing.sweep(now):
            pass

    @property
    def booted_at(self) -> int:
        """When the machine was started, by the wall clock."""
        return self._offset

    def note(self, text: str, at: int) -> None:
        """Tell the administrator: in the log, and in status."""
        log.warning("%s", text)
        self.notes = [*self.notes[1 - NOTES :], f"{stamp(at)} {text}"]

    def count(self, names: Mapping[str, int]) -> None:
        """Count what was heard and led to no login; entered with the next batch, or before long."""
        self.uncounted.update(names)

    def tend(self, now: int, *, caught_up: bool) -> bool:
        """Do what is due; True if there is more of it to do at once. caught_up: every log is read to its end."""
        self._mind_the_undone()
        self._mind_the_users(now)
        more = self._mind_the_expiries(now, caught_up=caught_up)
        if time.monotonic() >= self._readers_at:
            self._readers_at = time.monotonic() + READER_CHECK_SECONDS
            self._books.check_readers()
            self._publisher.check_readers()
        if self.uncounted and time.monotonic() >= self._count_at:
            self._count_at = time.monotonic() + COUNT_EVERY_SECONDS
            with self._books.writing() as writing:
                writing.count(dict(self.uncounted), now)
            self.uncounted.clear()
        forgetting = now >= self._forget_at and time.monotonic() >= self._doubt_until
        more = (forgetting and self.forget(now)) or more
        if self._lost_ends is not None and caught_up:
            self._lost_ends.tend(self._books, now, lambda writing: self._publisher.apply(writing))
        for name, text in self._publisher.tend(self._books):
            self.note(text, now)
            self.count({name: 1})
        self._mind_the_revocations(now)
        self.degraded = self._books.revocations.trouble or self._books.lost()
        return more

    def forget(self, now: int) -> bool:
        """Forget some of what no longer matters, in one bounded transaction; True if there is more."""
        with self._books.writing() as writing:
            writing.forget(now, self._history_seconds)
        if not writing.more_to_forget:
            self._forget_at = now + FORGET_EVERY_SECONDS
        return writing.more_to_forget

    def make_room(self, now: int) -> None:
        """The books are full: forget what may be forgotten or, if that is nothing, give them more address space.

        Raises StoreFullError if neither helps.
        """
        self._books.check_readers()  # a reader that died keeps what was forgotten from being used again
        for at_most in ROOM_AT_ONCE:  # to take something out needs room as well, and less for less
            with contextlib.suppress(StoreFullError), self._books.writing() as writing:
                logins = writing.forget(now, self._history_seconds, at_most)
                if not logins and not writing.more_to_forget:
                    break
                self.count({"books.full": 1})
                return
        before = self._books.map_bytes
        if not self._books.grow():
            raise StoreFullError(
                f"books {self._books.path}: full at {before >> 20} MiB, which is all that this machine can address, "
                "and nothing in them has run out; a shorter `history` makes room"
            )
        self.count({"books.grown": 1})
        self.note(f"the books were full; they may now take {self._books.map_bytes >> 20} MiB of disk", now)

    def learn_own(self, addresses: Iterable[str]) -> None:
        """Take in addresses of this machine, as logins came in on them or popauthctl told them: none is granted.

        Loopback ones are left out: no client has them, and `grant_loopback` is for those who try popauthd.
        """
        found = [client for text in addresses if (client := address.parse(text)) and not client.is_loopback]
        fresh = dict.fromkeys(str(client) for client in found if str(client) not in self._own)
        if fresh:
            self._own = (*self._own, *fresh)[-OWN_AT_MOST:]
            self._apply_own()
            self._judge_due = True

    def _apply_own(self) -> None:
        networks = tuple(address.network(text) for text in self._own)
        self.limits = replace(self._plain, own_addresses=(*self._plain.own_addresses, *networks))

    def _mind_the_expiries(self, now: int, *, caught_up: bool) -> bool:
        """Renew what is held and take out what has run out; True if there is more than one transaction takes."""
        with self._books.reading() as reading:
            renewal_due = reading.renewal_due(now if caught_up else now - self._books.rules.hold_seconds)
            if not (renewal_due or reading.anything_due(now) or reading.recount_due(now)):
                return False
        with self._books.writing() as writing:
            # Before sweeping: what is held must not blink.
            renewed = writing.renew(now, unread=not caught_up) if renewal_due else 0
            if renewal_due and caught_up:
                self._mind_the_ends(logged=writing.ends_are_logged(now), now=now)
            swept = writing.sweep(now)
            writing.recount(now)
            self._publisher.apply(writing)
        return renewed >= RENEW_AT_MOST or swept >= SWEEP_AT_MOST

    def _mind_the_revocations(self, now: int) -> None:
        """Take in what somebody else did to the file of revocations, and write it anew where that is due."""
        file = self._books.revocations
        touched = "" if file.trouble else file.touched()
        if touched:
            with self._books.writing() as writing:
                with contextlib.suppress(StoreError):  # what cannot be read is in the way, as writing it will tell
                    self._books.take_in_revocations(writing)
                self._publisher.apply(writing)
                mine = list(writing.revocations())
            file.write(mine)
            self.note(f"revocations {file.path} {touched}; what it tells was taken in, and it was written again", now)
        self._books.tend_revocations()

    def _mind_the_undone(self) -> None:
        """The map is written before the books: take back there what they could not take in."""
        if self._books.undone:
            with self._books.writing() as writing:
                self._publisher.apply(writing)
            self._books.undone_is_told()

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
            self._plain = self._user_files.applied(self._plain)
            self._apply_own()
            self._judge_due = True
        if self._judge_due:
            with self._books.writing() as writing:
                self._judge_again(writing, now)
                self._publisher.apply(writing)
            self._judge_due = False  # not before: a full disk must not leave excluded users what stands

    def _judge_again(self, writing: Writing, now: int) -> None:
        """A login that stands is judged by the limits of today, if they have changed since it was judged."""
        writing.set_own_addresses(self._own)
        rules = self._books.rules
        print_of_all = fingerprint(self.limits) + f" {rules.shared_users} {rules.hold_seconds}"
        unjudged = writing.judged_by_an_older_version(asked_of_a_line(self.limits))
        ended = writing.judge_again(
            print_of_all,
            lambda row, held: _judged(row, held, self.limits, rules.hold_seconds, now, unjudged=unjudged),
            now,
        )
        if ended:
            log.info("the limits have changed: logins that ended by it: %d", ended)

    def mind_the_clock(self, now: int) -> None:
        """Bring the books in line with the wall clock if it was set; before anything is entered."""
        step = self._clock_offset() - self._offset
        if abs(step) < clocks.STEP_SECONDS:
            return
        log.warning("the wall clock was set by seconds=%+d; grants end when they would have ended", step)
        with self._books.writing() as writing:
            if step < 0:
                writing.clock_was_set_back(-step, now)
            else:
                self._doubt_until = time.monotonic() + DOUBT_SECONDS
            writing.settle_revocations(now, self.limits.future_seconds)
            writing.set_clock(clocks.boot_id(), self._offset + step)
            self._publisher.apply(writing)
        self._offset += step
        self._forget_at = now

    def close(self) -> None:
        """Ask nobody any more."""
        if self._lost_ends is not None:
            self._lost_ends.close()


def _judged(
    row: LoginRow, held: bool, limits: Limits, hold_seconds: int, now: int, *, unjudged: bool
) -> tuple[int, int]:
    """How long a login may stand by these limits, epoch seconds, and its lifetime; (0, 0) if they would not grant it.

    unjudged: what is not known of a login was judged by an older version, and counts as good.
    """
    known = row.protocol or not unjudged
    login = Login(row.login_at, row.address, row.user, row.protocol, row.method, row.tls) if known else None
    if not still_grants(row.address, row.user, limits, login):
        return 0, 0
    client = address.parse(row.address.partition("/")[0])
    if not row.user or client is None:
        return row.expires_at, row.lifetime_seconds
    seconds = lifetime(client, limits)
    plain = row.login_at + seconds
    lifted = held or row.expires_at > row.login_at + (row.lifetime_seconds or seconds)  # by a session
    return max(plain, min(now + seconds, row.login_at + hold_seconds)) if lifted else plain, seconds
