"""The first layer of changes: stores logins and publishes what follows for their addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import lmdb

from popauthd.store.books.reading import LoginRow, Reading, Shared, login_key, login_value, user_index, when
from popauthd.store.books.revocations import RevocationRecord

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

    `changes` collects what the relay map must be told: address -> expiry, or None to take it out; if `cleared`,
    everything else is taken out before. `revoked` collects the revocations that were made.
    `unread_seconds`: so far ahead of the clock may lines be stamped that are not read yet; what is revoked then ends
    their logins too. 0: every line is read.
    `newly_shared` collects the addresses that were found to be shared, for the first time in a while.
    """

    def __init__(self, txn: lmdb.Transaction, databases: dict[str, lmdb._Database], rules: Rules) -> None:
        super().__init__(txn, databases)
        self.rules = rules
        self.changes: dict[str, int | None] = {}
        self.cleared = False
        self.unread_seconds = 0
        self.revoked: list[RevocationRecord] = []
        self.more_to_forget = False
        self.newly_shared: list[Shared] = []
        self._latest, self._latest_stamp = self.latest(), self.latest_stamp()
        self._furthest_stamp = max(self._latest_stamp, self.furthest_stamp())

    @property
    def transaction(self) -> lmdb.Transaction:
        """The transaction itself, for what changes the schema."""
        return self._txn

    def note_time(self, at: int) -> None:
        """Note that the wall clock has been seen to stand at `at`, or that something is known of that time."""
        self._latest = max(self._latest, at)

    def finish(self) -> None:
        """Write down what was noted on the way; the last step of a transaction."""
        noted = ((b"latest", self._latest), (b"stamped", self._latest_stamp), (b"furthest", self._furthest_stamp))
        for name, at in noted:
            if at != int(self._get("meta", name) or 0):
                self._put("meta", name, b"%d" % at)

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
        if before is None:
            self._put("users", user_index(row.user) + key, b"")
        elif before.expires_at != row.expires_at:
            self._delete("old", when(before.expires_at, key))
        self._put("logins", key, login_value(row))
        if before is None or before.expires_at != row.expires_at:
            self._put("old", when(row.expires_at, key), b"")
        self._latest = max(self._latest, row.login_at)
        self._latest_stamp = max(self._latest_stamp, row.stamped_at)
        self._furthest_stamp = max(self._furthest_stamp, self._latest_stamp)

    def _remove(self, row: LoginRow) -> None:
        """Forget a login."""
        key = login_key(row.address, row.user)
        self._delete("old", when(row.expires_at, key))
        self._delete("users", user_index(row.user) + key)
        self._delete("logins", key)

    def _may_be_forgotten(self, row: LoginRow, now: int) -> bool:
        """Whether nothing can open a login that has run out: no open session, nor its line if that is read again.

        A stamp that lies ahead of the time when the login was first seen may also lie behind its revocation.
        """
        again_until = row.stamped_at + max(row.lifetime_seconds, self.rules.hold_seconds) if row.ahead_seconds else 0
        return again_until <= now and self._get("held", login_key(row.address, row.user)) is None

    def _publish(self, address: str, expires_at: int | None) -> None:
        self._change(address, self.expiry(address), expires_at)

    def _change(self, address: str, before: int | None, expires_at: int | None) -> None:
        """Publish an expiry, or None, in the place of the one `before`."""
        if before == expires_at:
            return
        key = address.encode("ascii")
        if before is not None:
            self._delete("due", when(before, key))
        if expires_at is None:
            self._delete("published", key)
        else:
            self._put("published", key, b"%d" % expires_at)
            self._put("due", when(expires_at, key), b"")
        self.changes[address] = expires_at

    def _stand(self, address: str, expires_at: int, now: int, *, anew: bool) -> str:
        """Publish that a login of an address stands until `expires_at`; "" or the reason why it opens nothing.

        anew: it did not stand before, so the users of the address must be counted.
        """
        before = self.expiry(address)
        if anew and self.rules.shared_users and before is not None:
            self._recompute(address, now)
            return "shared-address" if self.is_shared(address) else ""
        if self.is_shared(address):
            return "shared-address"
        if before is None or expires_at > before:
            self._change(address, before, expires_at)
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
            if self._may_be_forgotten(row, now):
                self._remove(row)
        if self._count_users(address, [row.expires_at for row in standing if row.user for _ in range(row.logins)], now):
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
