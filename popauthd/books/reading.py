"""Questions to the books, and the shape of their keys and values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import lmdb

from popauthd.address import keys
from popauthd.model import Refusal

USER_BYTES = 200  # LMDB keys hold 511 bytes


@dataclass(frozen=True, slots=True)
class LoginRow:
    """The latest login of `user` from `address`; user is "" for an administrator's grant."""

    address: str
    user: str
    login_at: int
    expires_at: int
    format: str


@dataclass(frozen=True, slots=True)
class Shared:
    """An address that many users log in from. It is not granted before `until`; 0: it was shared, and is no more."""

    address: str
    since: int
    until: int
    users: int


def login_key(address: str, user: str) -> bytes:
    """The key of a login; a user name too long for a key is replaced by its digest."""
    name = user.encode("utf-8", "backslashreplace")
    if len(name) > USER_BYTES:
        name = b"\0" + hashlib.sha256(name).digest()
    return address.encode("ascii") + b"\0" + name


def when(at: int, rest: bytes) -> bytes:
    return at.to_bytes(8, "big") + rest


def login_row(key: bytes, value: bytes) -> LoginRow:
    facts, _, user = value.partition(b"\0")
    login_at, expires_at, format_name = facts.split(b" ", 2)
    address = key.partition(b"\0")[0].decode("ascii")
    return LoginRow(
        address, user.decode("utf-8", "backslashreplace"), int(login_at), int(expires_at), format_name.decode("ascii")
    )


def user_revocation(user: str) -> bytes:
    return b"u\0" + login_key("", user)[1:]


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

    def host_list(self) -> Iterator[tuple[str, int]]:
        """What `published` gives, in an order for a reader that takes the first line that fits.

        Networks come last, and an address in one of them has the later of the two expiries.
        """
        networks = []
        for key, expires_at in self.published():
            if key.endswith("/64"):
                networks.append(key)
            else:
                others = (self.expiry(other) or 0 for other in keys(key)[1:])
                yield key, max(expires_at, *others, 0)
        for key in networks:
            yield key, self.expiry(key) or 0

    def expiry(self, address: str) -> int | None:
        """The published expiry of an address."""
        value = self._get("published", address.encode("ascii"))
        return None if value is None else int(value)

    def published_count(self) -> int:
        """How many addresses may relay, those included that have run out since the last sweep."""
        return int(self._txn.stat(self._db["published"])["entries"])

    def shared(self, address: str) -> Shared | None:
        """What is known of an address as a shared one."""
        value = self._get("shared", address.encode("ascii"))
        return None if value is None else Shared(address, *map(int, value.split(b" ")))

    def is_shared(self, address: str) -> bool:
        """Whether an address is not granted because too many users log in from it."""
        found = self.shared(address)
        return found is not None and found.until > 0

    def all_shared(self) -> Iterator[Shared]:
        """Every address that is shared, or was until lately."""
        for key, value in self._scan("shared"):
            yield Shared(key.decode("ascii"), *map(int, value.split(b" ")))

    def open_sessions(self, address: str = "") -> Iterator[tuple[str, str, int]]:
        """Address, user and login time of each open session from an address, or of all."""
        for key, value in self._scan("held", address.encode("ascii") + b"\0" if address else b""):
            row = self._login(key)
            for line in value.split(b"\n")[1:]:
                if row is not None:
                    yield row.address, row.user, int(line.split(b" ")[1])

    def held_count(self) -> int:
        """How many logins (address and user) are held by open sessions."""
        return int(self._txn.stat(self._db["held"])["entries"])

    def recount_due(self, now: int) -> bool:
        """Whether a shared address may be one no more."""
        return any(0 < shared.until <= now for shared in self.all_shared())

    def _login(self, key: bytes) -> LoginRow | None:
        value = self._get("logins", key)
        return None if value is None else login_row(key, value)

    def renewal_due(self, now: int) -> bool:
        """Whether an open session must have its grant renewed."""
        return next((int.from_bytes(key[:8], "big") <= now for key, _ in self._scan("renew")), False)

    def anything_due(self, now: int) -> bool:
        """Whether an address has run out and must be taken out of the map."""
        return next((int.from_bytes(key[:8], "big") <= now for key, _ in self._scan("due")), False)

    def logins(self, address: str = "") -> Iterator[LoginRow]:
        """The remembered logins from an address, or all of them; expired ones included."""
        for key, value in self._scan("logins", address.encode("ascii") + b"\0" if address else b""):
            yield login_row(key, value)

    def revoked_at(self, address: str, user: str) -> int:
        """The latest revocation that applies to a login of `user` from `address`; 0 if there is none."""
        keys = (b"*", b"a\0" + address.encode("ascii"), user_revocation(user))
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

    def longest_silence(self, source: str) -> int:
        """The longest time, in seconds, that a source is known to have gone without a login."""
        return int(self._get("meta", b"silence\0" + source.encode()) or 0)
