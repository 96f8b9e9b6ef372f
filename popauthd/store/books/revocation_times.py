"""Asking what is revoked, and merging the times of revocations by maximum. Database `revocations`."""

from __future__ import annotations

from collections.abc import Iterator

from popauthd.model import Grant
from popauthd.store.books.revocation_file import RevocationRecord, later
from popauthd.store.books.rows import LoginRow, Times, applying, read_times
from popauthd.store.books.transaction import Transaction

REMEMBERED_SECONDS = 9 * 86400  # longer than the longest lifetime plus every tolerance: nothing older can grant
CATCH_UP_SECONDS = 60  # within which logs are read again for new books


class RevocationTimes:
    """The latest revocation of each key (see rows.applying)."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def latest_at(self, address: str, user: str) -> int:
        """The latest revocation that applies to a login of `user` from `address`; 0 if there is none."""
        return max((times.at for times in self._applying(address, user)), default=0)

    def end(self, row: LoginRow) -> bool:
        """Whether a login that is known has been revoked."""
        return row.login_at <= self.latest_at(row.address, row.user)

    def end_unknown(self, grant: Grant, now: int) -> bool:
        """Whether a revocation applies to a login that is not known yet.

        A stamp that lies ahead of the wall clock may be an old one, as the clock may have been set back: it must be
        later than everything that was revoked.
        """
        return any(
            grant.login_at <= times.at
            or grant.stamped_at <= times.stamped_until
            or now < grant.stamped_at <= times.first_at
            for times in self._applying(grant.address, grant.user)
        )

    def _applying(self, address: str, user: str) -> Iterator[Times]:
        if self._transaction.count("revocations"):
            for key in applying(address, user):
                if (value := self._transaction.get("revocations", key)) is not None:
                    yield read_times(value)

    def all(self) -> Iterator[RevocationRecord]:
        """Every revocation, by the clock of the time when it was made."""
        for key, value in self._transaction.scan("revocations"):
            times = read_times(value)
            yield RevocationRecord(key, times.first_at, times.ahead_seconds)

    def merge(self, record: RevocationRecord) -> bool:
        """Enter a revocation that may be known already: the latest counts; True if it was not known.

        The books are new then, or an older copy, or it was made elsewhere: they may not know what it ended, and no
        login counts that may be one of these. What is published stays as it is.
        """
        known = read_times(self._transaction.get("revocations", record.key))
        if record.at <= known.first_at:  # the clock may have been set back since
            return False
        self._put(record, known, at=record.at, strict=True)
        return True

    def enter(self, record: RevocationRecord, at: int, *, strict: bool) -> None:
        """Enter a revocation that ends what is known at or before `at`; strict: and what may not be known yet."""
        known = read_times(self._transaction.get("revocations", record.key))
        self._put(record, known, at=at, strict=strict)

    def _put(self, record: RevocationRecord, known: Times, *, at: int, strict: bool) -> None:
        both = later(RevocationRecord(record.key, known.first_at, known.ahead_seconds), record)
        until = both.at + both.ahead_seconds if strict else known.stamped_until
        times = Times(max(known.at, at), both.at, both.ahead_seconds, until)
        if times != known:
            self._transaction.put("revocations", record.key, times.value())

    def settle(self, now: int, future_seconds: int = 120) -> None:
        """Bring revocations in line with the wall clock, when it may have been set.

        None may lie ahead of it, or nobody could log in again. One that did, and does no more, counts as made when
        it was made: what is read of that time must not open it. future_seconds: how far ahead of the clock a login
        may be stamped; what is stamped further is refused by that.
        """
        for key, value in list(self._transaction.scan("revocations")):
            times = read_times(value)
            at = times.first_at if times.first_at <= now else min(times.at, now)
            until = min(times.stamped_until, now + future_seconds + CATCH_UP_SECONDS)
            settled = times._replace(at=at, stamped_until=until)
            if settled != times:
                self._transaction.put("revocations", key, settled.value())

    def move(self, seconds: int, now: int) -> None:
        """The wall clock was set back by `seconds`, to `now`."""
        for key, value in list(self._transaction.scan("revocations")):
            times = read_times(value)
            if max(times.at, times.stamped_until) > now:
                at = min(times.at - seconds, now) if times.at > now else times.at
                moved = times._replace(at=at, stamped_until=max(0, times.stamped_until - seconds))
                self._transaction.put("revocations", key, moved.value())


def is_over(value: bytes, now: int) -> bool:
    """Whether a revocation is so old that no login it could end can grant any more."""
    return max(read_times(value)[:2]) < now - REMEMBERED_SECONDS
