"""The first layer of changes: stores logins and publishes what follows for their addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import lmdb

from popauthd.books.reading import LoginRow, Reading, Shared, login_key, when

CROWD_HISTORY = 200  # expired logins that are kept for an address when its users are counted


@dataclass(frozen=True, slots=True)
class Rules:
    """What the books must know of the configuration; the defaults switch everything off.

    shared_users: more standing users than this make a shared address; 0 for any number.
    spared: addresses for which that does not count. hold_seconds: how long after its login an open
    session may keep its address allowed; 0 for the plain rule.
    """

    shared_users: int = 0
    spared: Callable[[str], bool] = lambda _address: False
    hold_seconds: int = 0


class Entries(Reading):
    """Stores logins, publishes addresses, and keeps count of their users.

    `changes` collects what the relay map must be told: address -> expiry, or None to take it out.
    `newly_shared` collects the addresses that were found to be shared, for the first time in a while.
    """

    def __init__(self, txn: lmdb.Transaction, databases: dict[str, lmdb._Database], rules: Rules) -> None:
        super().__init__(txn, databases)
        self.rules = rules
        self.changes: dict[str, int | None] = {}
        self.newly_shared: list[Shared] = []

    def _put(self, database: str, key: bytes, value: bytes) -> None:
        self._txn.put(key, value, db=self._db[database])

    def _delete(self, database: str, key: bytes) -> None:
        self._txn.delete(key, db=self._db[database])

    def _due(self, database: str, until: int, at_most: int) -> list[bytes]:
        """The keys of a database in the order of time that lie at or before `until`."""
        keys: list[bytes] = []
        for key, _ in self._scan(database):
            if int.from_bytes(key[:8], "big") > until or len(keys) == at_most:
                break
            keys.append(key)
        return keys

    def _store(self, row: LoginRow, before: LoginRow | None) -> None:
        """Store a login in the place of the one `before`."""
        key = login_key(row.address, row.user)
        if before is not None:
            self._delete("old", when(before.expires_at, key))
        facts = f"{row.login_at} {row.expires_at} {row.format}".encode("ascii")
        self._put("logins", key, facts + b"\0" + row.user.encode("utf-8", "backslashreplace"))
        self._put("old", when(row.expires_at, key), b"")

    def _publish(self, address: str, expires_at: int | None) -> None:
        key = address.encode("ascii")
        before = self.expiry(address)
        if before == expires_at:
            return
        if before is not None:
            self._delete("due", when(before, key))
        if expires_at is None:
            self._delete("published", key)
        else:
            self._put("published", key, b"%d" % expires_at)
            self._put("due", when(expires_at, key), b"")
        self.changes[address] = expires_at

    def _lift(self, address: str, expires_at: int) -> str:
        """Publish an expiry if it is later than what stands; "" or the reason why the address has none."""
        if self.is_shared(address):
            return "shared-address"
        if expires_at > (self.expiry(address) or 0):
            self._publish(address, expires_at)
        return ""

    def _recompute(self, address: str, now: int) -> None:
        """Publish what follows from all logins of an address that stand at `now`."""
        standing, expired = [], []
        for row in self.logins(address):
            if row.expires_at <= now:
                expired.append(row)
            elif row.login_at > self.revoked_at(address, row.user):
                standing.append(row)
        for row in sorted(expired, key=lambda row: -row.expires_at)[CROWD_HISTORY:]:
            key = login_key(row.address, row.user)
            self._delete("old", when(row.expires_at, key))
            self._delete("logins", key)
        if self._count_users(address, [row.expires_at for row in standing if row.user], now):
            standing = [row for row in standing if not row.user]  # an administrator's own word stays
        self._publish(address, max((row.expires_at for row in standing), default=None))

    def _count_users(self, address: str, expiries: list[int], now: int) -> bool:
        """Note whether an address is shared, given when the logins of its users end."""
        limit = self.rules.shared_users
        before = self.shared(address)
        if not limit or len(expiries) <= limit or self.rules.spared(address):
            if before is not None and before.until:
                self._put_shared(Shared(address, before.since, 0, len(expiries)))
            return False
        until = sorted(expiries, reverse=True)[limit]  # with no further login, too many users stand until then
        found = Shared(address, before.since if before else now, until, len(expiries))
        if before is None:
            self.newly_shared.append(found)
        self._put_shared(found)
        return True

    def _put_shared(self, shared: Shared) -> None:
        facts = f"{shared.since} {shared.until} {shared.users}".encode("ascii")
        self._put("shared", shared.address.encode("ascii"), facts)

    def recount(self, now: int) -> None:
        """Count again the users of shared addresses whose time has come."""
        for shared in list(self.all_shared()):
            if 0 < shared.until <= now:
                self._recompute(shared.address, now)
