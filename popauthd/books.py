"""The books: everything the watcher has learnt, in one private LMDB file (0600).

What was learnt from a log and the place in that log are written in ONE transaction, so a restart
neither loses nor invents. The relay map is derived from `published` and can be thrown away.

| database    | key                        | value                                                    |
| ----------- | -------------------------- | -------------------------------------------------------- |
| logins      | address NUL user           | `login_at expires_at format` NUL user: the latest login  |
| old         | expires_at (8 bytes) login key | empty: logins in the order they may be forgotten     |
| published   | address                    | expires_at: what the relay map must hold                 |
| due         | expires_at (8 bytes) address | empty: `published` in the order it runs out            |
| revocations | `a` NUL address, `u` NUL user, `*` | revoked_at                                       |
| refusals    | address                    | `at reason` NUL user: the latest, to explain a refusal   |
| places      | source name                | the place in that log, the source's own bytes            |
| counters    | day NUL name               | number                                                   |
| meta        | `schema`, `clock`          | version; the boot and clock offset the times belong to   |

An address may relay while a login on it is newer than every revocation that applies and its expiry
lies ahead. An administrator's own grant is a login with an empty user name.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import lmdb

from popauthd.errors import StoreError
from popauthd.model import Grant, Refusal

SCHEMA = b"1"
BOOKS_BYTES = 4 << 30  # address space, not disk
DATABASES = ("logins", "old", "published", "due", "revocations", "refusals", "places", "counters", "meta")
REVOCATION_SECONDS = 9 * 86400  # longer than the longest lifetime plus every tolerance: nothing older can grant
COUNTER_DAYS = 35
SWEEP_AT_MOST = 5000  # entries a transaction, so that one sweep never holds up reading for long
USER_BYTES = 200  # LMDB keys hold 511 bytes


@dataclass(frozen=True, slots=True)
class LoginRow:
    """The latest login of `user` from `address`; user is "" for an administrator's grant."""

    address: str
    user: str
    login_at: int
    expires_at: int
    format: str


def login_key(address: str, user: str) -> bytes:
    """The key of a login; a user name too long for a key is replaced by its digest."""
    name = user.encode("utf-8", "backslashreplace")
    if len(name) > USER_BYTES:
        name = b"\0" + hashlib.sha256(name).digest()
    return address.encode("ascii") + b"\0" + name


def _when(at: int, rest: bytes) -> bytes:
    return at.to_bytes(8, "big") + rest


def _login_row(key: bytes, value: bytes) -> LoginRow:
    facts, _, user = value.partition(b"\0")
    login_at, expires_at, format_name = facts.split(b" ", 2)
    address = key.partition(b"\0")[0].decode("ascii")
    return LoginRow(
        address, user.decode("utf-8", "backslashreplace"), int(login_at), int(expires_at), format_name.decode("ascii")
    )


class Reading:
    """Questions to the books, within one LMDB transaction."""

    def __init__(self, txn: lmdb.Transaction, databases: dict[str, lmdb._Database]) -> None:
        self._txn = txn
        self._db = databases

    def _get(self, database: str, key: bytes) -> bytes | None:
        value = self._txn.get(key, db=self._db[database])
        return None if value is None else bytes(value)

    def _scan(self, database: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        with self._txn.cursor(db=self._db[database]) as cursor:
            if not (cursor.set_range(prefix) if prefix else cursor.first()):
                return
            for key, value in cursor:
                if not key.startswith(prefix):
                    return
                yield bytes(key), bytes(value)

    def published(self) -> Iterator[tuple[str, int]]:
        """Every address with its expiry, as the relay map must hold them."""
        for key, value in self._scan("published"):
            yield key.decode("ascii"), int(value)

    def expiry(self, address: str) -> int | None:
        """The published expiry of an address."""
        value = self._get("published", address.encode("ascii"))
        return None if value is None else int(value)

    def published_count(self) -> int:
        """How many addresses may relay, those included that have run out since the last sweep."""
        return int(self._txn.stat(self._db["published"])["entries"])

    def anything_due(self, now: int) -> bool:
        """Whether an address has run out and must be taken out of the map."""
        return next((int.from_bytes(key[:8], "big") <= now for key, _ in self._scan("due")), False)

    def logins(self, address: str = "") -> Iterator[LoginRow]:
        """The remembered logins from an address, or all of them; expired ones included."""
        for key, value in self._scan("logins", address.encode("ascii") + b"\0" if address else b""):
            yield _login_row(key, value)

    def revoked_at(self, address: str, user: str) -> int:
        """The latest revocation that applies to a login of `user` from `address`; 0 if there is none."""
        keys = (b"*", b"a\0" + address.encode("ascii"), _user_revocation(user))
        return max(int(self._get("revocations", key) or 0) for key in keys)

    def refusal(self, address: str) -> Refusal | None:
        """The latest refusal of a login from an address."""
        value = self._get("refusals", address.encode("ascii"))
        if value is None:
            return None
        facts, _, user = value.partition(b"\0")
        at, _, reason = facts.partition(b" ")
        return Refusal(reason.decode("ascii"), int(at), address, user.decode("utf-8", "backslashreplace"))

    def place(self, source: str) -> bytes | None:
        """The place saved for a source."""
        return self._get("places", source.encode())

    def counters(self, day: str = "") -> dict[str, int]:
        """The counters of a day (`2026-11-23`, UTC), or of all days that are kept, summed."""
        sums: dict[str, int] = {}
        for key, value in self._scan("counters", day.encode("ascii") + b"\0" if day else b""):
            name = key.partition(b"\0")[2].decode("ascii")
            sums[name] = sums.get(name, 0) + int(value)
        return sums

    def clock(self) -> tuple[str, int] | None:
        """The boot id and the offset (wall clock minus boot clock, seconds) that the times belong to."""
        value = self._get("meta", b"clock")
        if value is None:
            return None
        boot_id, _, offset = value.decode("ascii").rpartition(" ")
        return boot_id, int(offset)


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
            row = _login_row(key, before)
            if row.login_at >= grant.login_at:
                return True
            self._delete("old", _when(row.expires_at, key))
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
            self._delete("old", _when(_login_row(key, before).expires_at, key))
        self._store(key, LoginRow(address, "", login_at, expires_at, "by-hand"))
        self._recompute(address, now)
        return Grant(address, "", login_at, expires_at, "by-hand")

    def _store(self, key: bytes, row: LoginRow) -> None:
        facts = f"{row.login_at} {row.expires_at} {row.format}".encode("ascii")
        self._put("logins", key, facts + b"\0" + row.user.encode("utf-8", "backslashreplace"))
        self._put("old", _when(row.expires_at, key), b"")

    def _publish(self, address: str, expires_at: int | None) -> None:
        key = address.encode("ascii")
        before = self.expiry(address)
        if before == expires_at:
            return
        if before is not None:
            self._delete("due", _when(before, key))
        if expires_at is None:
            self._delete("published", key)
        else:
            self._put("published", key, b"%d" % expires_at)
            self._put("due", _when(expires_at, key), b"")
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
        self._put("revocations", _user_revocation(user), b"%d" % now)
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

    def clock_was_set_back(self, seconds: int, now: int) -> None:
        """Move every time that would now lie too late: no grant outlives its lifetime in real time.

        now: the wall clock after the step. Times already past stay; the rest move by the whole step, so
        what had run out before the step does not come back.
        """
        for row in [row for row in self.logins() if row.expires_at > now]:
            key = login_key(row.address, row.user)
            self._delete("old", _when(row.expires_at, key))
            moved = LoginRow(row.address, row.user, row.login_at - seconds, row.expires_at - seconds, row.format)
            self._store(key, moved)
        for key, value in list(self._scan("revocations")):
            if int(value) > now:
                self._put("revocations", key, b"%d" % now)
        for address, _expiry in list(self.published()):
            self._recompute(address, now)


def _user_revocation(user: str) -> bytes:
    return b"u\0" + login_key("", user)[1:]


class Books:
    """The open file. Raises StoreError when it cannot be opened, read or written, and says why."""

    def __init__(self, path: str, *, readonly: bool = False) -> None:
        self.path = path
        try:
            self._env = lmdb.open(
                path, map_size=BOOKS_BYTES, subdir=False, mode=0o600, max_dbs=16, readonly=readonly, create=not readonly
            )
            with self._env.begin(write=not readonly) as txn:
                names = {name: name.encode("ascii") for name in DATABASES}
                self._db = {name: self._env.open_db(key, txn=txn, create=not readonly) for name, key in names.items()}
                schema = txn.get(b"schema", db=self._db["meta"])
                if schema is None and not readonly:
                    txn.put(b"schema", SCHEMA, db=self._db["meta"])
                elif schema != SCHEMA:
                    raise StoreError(f"books {path}: schema {schema!r} is not {SCHEMA!r}: written by another version")
        except (lmdb.Error, OSError) as error:
            raise StoreError(f"books {path}: cannot be opened: {error}") from error

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """A read transaction; leave it soon, as it pins pages."""
        try:
            with self._env.begin() as txn:
                yield Reading(txn, self._db)
        except lmdb.Error as error:
            raise StoreError(f"books {self.path}: cannot be read: {error}") from error

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """A write transaction: committed on leaving, undone wholly by any exception."""
        try:
            with self._env.begin(write=True) as txn:
                yield Writing(txn, self._db)
        except lmdb.Error as error:
            raise StoreError(f"books {self.path}: cannot be written: {error}") from error

    def check_readers(self) -> int:
        """Free the slots of readers that died, which would pin pages; returns how many."""
        return int(self._env.reader_check())

    def close(self) -> None:
        """Close the file."""
        self._env.close()
