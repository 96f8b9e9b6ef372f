"""Enters revocations: which logins they end, and what is published afterwards.

A revocation that is made here ends every login that stands, at once. Its time is now, or the effective time of the
latest login that it must end if that is later. A revocation that was made elsewhere ends the logins at or before its
own time. Of each key the latest revocation counts, so the same one may come twice, late, or after a newer one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from ipaddress import IPv6Network

from popauthd.address import keys as address_keys
from popauthd.cluster.events import PeerRevocation
from popauthd.model import Revocation
from popauthd.policy.peer_names import MARK
from popauthd.store.books.login_rows import LoginRows
from popauthd.store.books.logins import Logins
from popauthd.store.books.meta import Meta
from popauthd.store.books.outbox import SKEW_SECONDS
from popauthd.store.books.published import Published
from popauthd.store.books.revocation_file import RevocationRecord
from popauthd.store.books.revocation_times import RevocationTimes
from popauthd.store.books.rows import (
    EVERYBODY,
    USER,
    LoginRow,
    address_revocation,
    site_revocation,
    user_revocation,
    user_revocations,
)
from popauthd.store.books.rules import Rules


class Revocations:
    """Enters revocations. `made` collects them, for their file.

    unread_seconds: how far ahead of the clock lines may be stamped that have not been read yet; a revocation ends
    their logins too. 0 if every line has been read.
    """

    def __init__(
        self,
        rows: LoginRows,
        times: RevocationTimes,
        published: Published,
        logins: Logins,
        meta: Meta,
        rules: Rules,
    ) -> None:
        self._rows = rows
        self._times = times
        self._published = published
        self._logins = logins
        self._meta = meta
        self._rules = rules
        self.made: list[RevocationRecord] = []
        self.unread_seconds = 0

    def all(self) -> Iterator[RevocationRecord]:
        """Every revocation, by the clock of the time when it was made."""
        return self._times.all()

    def enter(self, revocation: Revocation, now: int) -> int:
        """Enter a revocation; returns how many addresses it has closed."""
        if not revocation.made_here:
            return self._enter_at(revocation, now)
        if revocation.user:
            return self.revoke_user(revocation.user, now)
        if not revocation.address:
            return self.revoke_all(now)
        if not revocation.address.endswith("/64"):
            return sum([self.revoke_address(one, now) for one in address_keys(revocation.address)])
        inside = {row.address for row in self._rows.within(IPv6Network(revocation.address))} - {revocation.address}
        closed = [self.revoke_address(revocation.address, now, inside=True)]
        return sum([*closed, *(self.revoke_address(one, now) for one in inside)])

    def _enter_at(self, revocation: Revocation, now: int) -> int:
        records = [RevocationRecord(key, revocation.at) for key in _keys_of(revocation)]
        return self._entered([record for record in records if self._times.merge(record)], revocation, now)

    def enter_from_peer(self, told: PeerRevocation, now: int) -> int:
        """Enter a revocation that another node tells of; returns how many addresses it has closed.

        The clocks of nodes differ a little. One that lies ahead of ours ends what was until now, and what is stamped up
        to its own time; by SKEW_SECONDS at most, or nobody could log in until then.
        """
        at = min(told.at, now)
        ahead_seconds = min(told.at - at, SKEW_SECONDS)
        revocation = Revocation(at, told.address, told.user)
        records = [RevocationRecord(key, at, ahead_seconds) for key in _keys_of(revocation)]
        return self._entered([record for record in records if self._times.merge_from_peer(record)], revocation, now)

    def name_peers(self, now: int) -> None:
        """Enter the revocations of users by the names that other nodes know them by, too.

        They are not there yet for those that were made before this node was in the cluster, or had its key.
        """
        for record in list(self._times.all()):
            name = record.key[len(USER) :]
            if not record.key.startswith(USER) or name.startswith((b"\0", MARK.encode("ascii"))):
                continue
            for user in self._rules.pseudonyms(name.decode("utf-8", "backslashreplace")):
                named = record._replace(key=user_revocation(user))
                fresh = [named] if self._times.merge_from_peer(named) else []
                self._entered(fresh, Revocation(record.at, user=user), now)

    def _entered(self, fresh: list[RevocationRecord], revocation: Revocation, now: int) -> int:
        """Publish what follows from what was new of a revocation; returns how many addresses it has closed."""
        if not fresh:
            return 0
        self.made += fresh
        stood = {row.address for row in self._rows_of(revocation) if self._published.expiry(row.address) is not None}
        self._published.recompute_all(stood, now)
        return sum(self._published.expiry(address) is None for address in stood)

    def _rows_of(self, revocation: Revocation) -> Iterable[LoginRow]:
        """The known logins that a revocation may end."""
        if revocation.user:
            return self._rows.of_user(revocation.user)
        if not revocation.address:
            return self._rows.of()
        known = [row for key in _address_keys(revocation.address) for row in self._rows.of(key)]
        if revocation.address.endswith("/64"):
            known += self._rows.within(IPv6Network(revocation.address))
        return known

    def revoke_address(self, address: str, now: int, *, inside: bool = False) -> bool:
        """Revoke every login from an address up to now; True if it could relay until then.

        inside: `address` is a /64, and logins from addresses within it that are read later are revoked as well. The
        addresses within it whose logins are known must be revoked one by one.
        """
        stood = self._published.expiry(address) is not None
        keys = [address_revocation(address), *([site_revocation(address)] if inside else [])]
        self._end(keys, list(self._rows.of(address)), now)
        self._published.recompute(address, now)
        return stood

    def revoke_user(self, user: str, now: int) -> int:
        """Revoke every login of a user up to now, leaving other users' logins from the same addresses.

        A user name that was cut stands for every user that it may have been. Returns the number of addresses from
        which a login of this user stood.
        """
        rows = list(self._rows.of_user(user))
        opened = {row.address for row in rows if self._logins.stands(row, now)}
        peers = [user_revocation(name) for name in self._rules.pseudonyms(user)]
        self._end(list(dict.fromkeys([*user_revocations(user), *peers])), rows, now)
        self._published.recompute_all(opened, now)
        return len(opened)

    def revoke_all(self, now: int) -> int:
        """Revoke every login up to now; returns the number of addresses that could relay."""
        at = max(now, self._meta.latest_at)
        self._enter(EVERYBODY, at, max(0, self._meta.latest_stamp - at))
        return self._published.clear()

    def _end(self, keys: list[bytes], rows: list[LoginRow], now: int) -> None:
        """Enter a revocation. Its time is now, or the time of the latest login that it must end if that is later."""
        at = max([now, *(row.login_at for row in rows)])
        ahead_seconds = max([0, *(row.stamped_at - at for row in rows)])
        for key in keys:
            self._enter(key, at, ahead_seconds)

    def _enter(self, key: bytes, at: int, ahead_seconds: int) -> None:
        """Enter a new revocation. If the clock was set back, the logins that it ends may have later stamps than now."""
        record = RevocationRecord(key, at, max(ahead_seconds, self.unread_seconds))
        if self._meta.furthest_stamp > max(at, self._meta.latest_stamp):
            record = RevocationRecord(key, self._meta.furthest_stamp)
        self._times.enter(record, at, strict=self.unread_seconds > 0)
        self.made.append(record)

    def merge(self, record: RevocationRecord) -> bool:
        """Enter a revocation from the file, which may be known already; True if it was not. `close` must follow."""
        return self._times.merge(record)

    def close(self, records: Iterable[RevocationRecord], now: int) -> None:
        """Take out the addresses whose logins these merged revocations have ended."""
        concerned: set[str] = set()
        for record in records:
            if record.key == EVERYBODY and record.at > self._meta.latest_at:
                self._published.clear()
                return
            found = self._rows.concerned(record.key)
            concerned.update(key.partition(b"\0")[0].decode("ascii") for key in found)
        for address in concerned:
            stands = self._published.expiry(address) is not None
            if stands and any(self._times.end(row) for row in self._rows.of(address)):
                self._published.recompute(address, now)


def _keys_of(revocation: Revocation) -> list[bytes]:
    if revocation.user:
        return user_revocations(revocation.user)
    if not revocation.address:
        return [EVERYBODY]
    inside = [site_revocation(revocation.address)] if revocation.address.endswith("/64") else []
    return [*(address_revocation(key) for key in _address_keys(revocation.address)), *inside]


def _address_keys(address: str) -> Sequence[str]:
    """The keys that a revocation of an address, or of a /64, ends."""
    return [address] if address.endswith("/64") else address_keys(address)
