"""Changes to the books: grants, revocations, places, counters, and what has run out."""

from __future__ import annotations

import time

import lmdb

from popauthd.books.reading import USER_BYTES, LoginRow, Reading, login_key, login_row, user_revocation, when
from popauthd.model import Grant, Refusal

REVOCATION_SECONDS = 9 * 86400  # longer than the longest lifetime plus every tolerance: nothing older can grant
COUNTER_DAYS = 35
SWEEP_AT_MOST = 5000  # entries a transaction, so that one sweep never holds up reading for long


class Writing(Reading):
    """Changes to the books, within one LMDB write transaction.

    `changes` collects what the relay map must be told: address -> expiry, or None to take it out.
    """

    def __init__(self, txn: lmdb.Transaction, databases: dict[str, lmdb._Database]) -> None:
        super().__init__(txn, databases)
        self.changes: dict[str, int | None] = {}

    def _put(self, database: str, key: bytes, value: bytes) -> None:
        self._txn.put(key, value, db=self._db[database])

    def _delete(self, database: str, key: bytes) -> None:
        self._txn.delete(key, db=self._db[database])

    def grant(self, grant: Grant) -> bool:
        """Enter a grant; False if a revocation at or after the login stands against it.

        Entering the same grant twice, or an older one after a newer one, changes nothing.
        """
        if grant.login_at <= self.revoked_at(grant.address, grant.user):
            return False
        key = login_key(grant.address, grant.user)
        before = self._get("logins", key)
        if before is not None:
            row = login_row(key, before)
            if row.login_at >= grant.login_at:
                return True
            self._delete("old", when(row.expires_at, key))
        self._store(key, LoginRow(grant.address, grant.user, grant.login_at, grant.expires_at, grant.format))
        if grant.expires_at > (self.expiry(grant.address) or 0):
            self._publish(grant.address, grant.expires_at)
        return True

    def grant_by_hand(self, address: str, now: int, expires_at: int) -> Grant:
        """Enter an administrator's grant; it stands above every revocation made so far."""
        login_at = max(now, self.revoked_at(address, "") + 1)
        key = login_key(address, "")
        before = self._get("logins", key)
        if before is not None:
            self._delete("old", when(login_row(key, before).expires_at, key))
        self._store(key, LoginRow(address, "", login_at, expires_at, "by-hand"))
        self._recompute(address, now)
        return Grant(address, "", login_at, expires_at, "by-hand")

    def _store(self, key: bytes, row: LoginRow) -> None:
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

    def _recompute(self, address: str, now: int) -> None:
        standing = [
            row.expires_at
            for row in self.logins(address)
            if row.expires_at > now and row.login_at > self.revoked_at(address, row.user)
        ]
        self._publish(address, max(standing, default=None))

    def revoke_address(self, address: str, now: int) -> bool:
        """Revoke every login from an address up to now; True if it could relay until then."""
        self._put("revocations", b"a\0" + address.encode("ascii"), b"%d" % now)
        stood = self.expiry(address) is not None
        self._recompute(address, now)
        return stood

    def revoke_user(self, user: str, now: int) -> int:
        """Revoke every login of a user up to now, leaving other users' logins from the same addresses.

        Returns the number of addresses that this user had opened. LIMIT: reads all logins once.
        """
        self._put("revocations", user_revocation(user), b"%d" % now)
        addresses = {row.address for row in self.logins() if row.user == user and row.expires_at > now}
        for address in addresses:
            self._recompute(address, now)
        return len(addresses)

    def revoke_all(self, now: int) -> int:
        """Revoke every login up to now; returns the number of addresses that could relay."""
        self._put("revocations", b"*", b"%d" % now)
        addresses = [address for address, _expiry in self.published()]
        for address in addresses:
            self._recompute(address, now)
        return len(addresses)

    def refuse(self, refusal: Refusal) -> None:
        """Remember the latest refusal for an address, so that it can be explained."""
        if refusal.address and refusal.at is not None:
            facts = f"{refusal.at} {refusal.reason}".encode("ascii")
            user = refusal.user.encode("utf-8", "backslashreplace")[:USER_BYTES]
            self._put("refusals", refusal.address.encode("ascii"), facts + b"\0" + user)

    def set_place(self, source: str, place: bytes) -> None:
        """Save the place in a log, together with what was learnt up to it."""
        self._put("places", source.encode(), place)

    def count(self, names: dict[str, int], now: int) -> None:
        """Add to the counters of today (UTC)."""
        day = time.strftime("%Y-%m-%d", time.gmtime(now))
        for name, number in names.items():
            key = f"{day}\0{name}".encode("ascii")
            self._put("counters", key, b"%d" % (int(self._get("counters", key) or 0) + number))

    def sweep(self, now: int) -> int:
        """Take out what has run out, at most SWEEP_AT_MOST entries; returns how many were."""
        keys = self._due("due", now)
        for key in keys:
            self._publish(key[8:].decode("ascii"), None)
        return len(keys)

    def forget(self, now: int, history_seconds: int) -> int:
        """Forget logins, refusals, revocations and counters that no longer matter; returns how many logins."""
        keys = self._due("old", now - history_seconds)
        for key in keys:
            self._delete("old", key)
            self._delete("logins", key[8:])
        day = time.strftime("%Y-%m-%d", time.gmtime(now - COUNTER_DAYS * 86400)).encode("ascii")
        stale = [("counters", key) for key, _ in self._scan("counters") if key < day]
        before = now - max(history_seconds, 3600)
        stale += [("refusals", key) for key, value in self._scan("refusals") if int(value.split(b" ", 1)[0]) < before]
        before = now - REVOCATION_SECONDS
        stale += [("revocations", key) for key, value in self._scan("revocations") if int(value) < before]
        for database, key in stale:
            self._delete(database, key)
        return len(keys)

    def _due(self, database: str, until: int) -> list[bytes]:
        keys: list[bytes] = []
        for key, _ in self._scan(database):
            if int.from_bytes(key[:8], "big") > until or len(keys) == SWEEP_AT_MOST:
                break
            keys.append(key)
        return keys

    def set_clock(self, boot_id: str, offset: int) -> None:
        """Note the boot and the clock offset that the times belong to."""
        self._put("meta", b"clock", f"{boot_id} {offset}".encode("ascii"))

    def set_longest_silence(self, source: str, seconds: int) -> None:
        """Note how long a source has gone without a login."""
        self._put("meta", b"silence\0" + source.encode(), b"%d" % seconds)

    def clock_was_set_back(self, seconds: int, now: int) -> None:
        """Move every time that would now lie too late: no grant outlives its lifetime in real time.

        now: the wall clock after the step. Times already past stay; the rest move by the whole step, so
        what had run out before the step does not come back.
        """
        for row in [row for row in self.logins() if row.expires_at > now]:
            key = login_key(row.address, row.user)
            self._delete("old", when(row.expires_at, key))
            moved = LoginRow(row.address, row.user, row.login_at - seconds, row.expires_at - seconds, row.format)
            self._store(key, moved)
        for key, value in list(self._scan("revocations")):
            if int(value) > now:
                self._put("revocations", key, b"%d" % now)
        for address, _expiry in list(self.published()):
            self._recompute(address, now)
