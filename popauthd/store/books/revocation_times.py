"""The times of revocations: what is revoked, and merging two times by maximum. Database `revocations`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from popauthd.model import Grant
from popauthd.policy.peer_names import MARK
from popauthd.store.books.revocation_file import RevocationRecord, later
from popauthd.store.books.rows import USER, LoginRow, Times, applying, applying_to, read_times, user_revocation
from popauthd.store.books.rules import Rules
from popauthd.store.books.transaction import Transaction

REMEMBERED_SECONDS = 9 * 86400  # longer than the longest lifetime plus every tolerance: no older login can grant
CATCH_UP_SECONDS = 60  # new books have read the logs again within this time


class RevocationTimes:
    """The latest revocation of each key (see rows.applying)."""

    def __init__(self, transaction: Transaction, rules: Rules) -> None:
        self._transaction = transaction
        self._rules = rules
        self._of_peers: bool | None = None  # whether any revocation is of a pseudonym

    def latest_at(self, address: str, user: str) -> int:
        """The latest revocation that applies to a login of `user` from `address`; 0 if there is none."""
        return max((times.at for times in self._applying(address, user)), default=0)

    def any(self) -> bool:
        """Whether there is any revocation."""
        return self._transaction.count("revocations") > 0

    def until(self, keys: Iterable[bytes]) -> dict[bytes, int]:
        """For the keys of logins (see rows.applying_to) to which a revocation applies: it ends no login that is later.

        Neither by its time nor by its stamp, and whether the books know it or not.
        """
        found = {key: applying_to(key) for key in keys}
        if self._peers_revoked():
            for key, keys_of in found.items():
                keys_of += self._by_pseudonym(key.partition(b"\0")[2].decode())
        stored = self._transaction.get_many("revocations", set(chain.from_iterable(found.values())))
        latest = {key: max(read_times(value)) for key, value in stored.items()}
        times = ((key, [latest[one] for one in applying if one in latest]) for key, applying in found.items())
        return {key: max(some) for key, some in times if some}

    def end(self, row: LoginRow) -> bool:
        """Whether a login that the books know has been revoked."""
        return row.login_at <= self.latest_at(row.address, row.user)

    def end_unknown(self, grant: Grant, now: int) -> bool:
        """Whether a revocation applies to a login that the books do not know yet.

        If a login's stamp lies ahead of the wall clock, the clock may have been set back and the login may be old. So
        its stamp must be later than the revocation by the clock of that time.
        """
        return any(
            grant.login_at <= times.at
            or grant.stamped_at <= times.stamped_until
            or now < grant.stamped_at <= times.first_at
            for times in self._applying(grant.address, grant.user)
        )

    def _applying(self, address: str, user: str) -> Iterator[Times]:
        if self._transaction.count("revocations"):
            for key in (*applying(address, user), *self._by_pseudonym(user)):
                if (value := self._transaction.get("revocations", key)) is not None:
                    yield read_times(value)

    def _by_pseudonym(self, user: str) -> list[bytes]:
        """The keys of the revocations of a user by the names that other nodes know him by."""
        return [user_revocation(name) for name in self._rules.pseudonyms(user)] if self._peers_revoked() else []

    def _peers_revoked(self) -> bool:
        """Whether there may be a revocation of a user by such a name."""
        if self._of_peers is None:
            self._of_peers = next(self._transaction.scan("revocations", USER + MARK.encode("ascii")), None) is not None
        return self._of_peers

    def all(self) -> Iterator[RevocationRecord]:
        """Every revocation, with its time by the clock of the day when it was made."""
        for key, value in self._transaction.scan("revocations"):
            times = read_times(value)
            yield RevocationRecord(key, times.first_at, times.ahead_seconds)

    def told(self) -> Iterator[RevocationRecord]:
        """Every revocation, with its time by the clock of now."""
        for key, value in self._transaction.scan("revocations"):
            times = read_times(value)
            yield RevocationRecord(key, times.at, times.ahead_seconds)

    def merge(self, record: RevocationRecord) -> bool:
        """Enter a revocation that may be known already. The latest one counts; True if it was not known.

        If it was not known, the books are new or an older copy, or it was made elsewhere. So they may not know the
        logins that it ended, and no login counts that may be one of them. What is published is not changed here.
        """
        known = read_times(self._transaction.get("revocations", record.key))
        if record.at <= known.first_at:  # compared by first_at, as the clock may have been set back since
            return False
        self._put(record, known, at=record.at, strict=True)
        return True

    def merge_from_peer(self, record: RevocationRecord) -> bool:
        """Enter a revocation that another node tells of, maybe again; True if it ends more than was known to be ended.

        It may be our own, which another node has merged and tells again.
        """
        known = read_times(self._transaction.get("revocations", record.key))
        if record.at + record.ahead_seconds <= max(known.at, known.first_at):
            return False
        self._put(record, known, at=record.at, strict=True)
        return True

    def enter(self, record: RevocationRecord, at: int, *, strict: bool) -> None:
        """Enter a revocation that ends logins at or before `at`. strict: also logins that are not known yet."""
        known = read_times(self._transaction.get("revocations", record.key))
        self._put(record, known, at=at, strict=strict)

    def _put(self, record: RevocationRecord, known: Times, *, at: int, strict: bool) -> None:
        both = later(RevocationRecord(record.key, known.first_at, known.ahead_seconds), record)
        until = both.at + both.ahead_seconds if strict else known.stamped_until
        times = Times(max(known.at, at), both.at, both.ahead_seconds, until)
        if times != known:
            self._transaction.put("revocations", record.key, times.value())
            self._of_peers = None

    def settle(self, now: int, future_seconds: int = 120) -> None:
        """Adjust the revocations to the wall clock, when it may have been set.

        A revocation must not lie ahead of the clock, or nobody could log in again. If it once did and no longer does,
        it gets back the time when it was made, so that old logins of that time stay revoked. future_seconds: how far
        ahead of the clock a login may be stamped; policy refuses logins that are stamped further ahead.
        """
        for key, value in list(self._transaction.scan("revocations")):
            times = read_times(value)
            at = times.first_at if times.first_at <= now else min(times.at, now)
            until = min(times.stamped_until, now + future_seconds + CATCH_UP_SECONDS)
            settled = times._replace(at=at, stamped_until=until)
            if settled != times:
                self._transaction.put("revocations", key, settled.value())

    def move(self, seconds: int, now: int) -> None:
        """Move the revocations after the wall clock was set back by `seconds`, to `now`."""
        for key, value in list(self._transaction.scan("revocations")):
            times = read_times(value)
            if max(times.at, times.stamped_until) > now:
                at = min(times.at - seconds, now) if times.at > now else times.at
                moved = times._replace(at=at, stamped_until=max(0, times.stamped_until - seconds))
                self._transaction.put("revocations", key, moved.value())


def is_over(value: bytes, now: int) -> bool:
    """Whether a revocation is so old that every login that it ended has expired anyway."""
    return max(read_times(value)[:2]) < now - REMEMBERED_SECONDS
