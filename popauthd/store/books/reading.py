"""Questions to the books, and the shape of their keys and values."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address
from typing import NamedTuple

import lmdb

from popauthd.address import keys
from popauthd.model import Grant, Refusal
from popauthd.policy.cut_names import may_be_cut
from popauthd.policy.user_list import lower
from popauthd.store.books.revocations import USER_BYTES, RevocationRecord

CUT_BYTES = 64  # fewer bytes than any server leaves of a user name that it cuts


class LoginRow(NamedTuple):
    """The latest login of `user` from `address`; user is "" for an administrator's grant.

    login_at: its effective time; ahead_seconds: how much later its stamp is. lifetime_seconds: what it was
    granted for, 0 if that is not known. protocol, method, tls: as the log told them, "" if not known.
    logins: how many logins in a row it stands for, which is what a user name that was cut counts as.
    """

    address: str
    user: str
    login_at: int
    expires_at: int
    format: str
    lifetime_seconds: int = 0
    ahead_seconds: int = 0
    protocol: str = ""
    method: str = ""
    tls: bool = False
    logins: int = 1

    @property
    def stamped_at(self) -> int:
        """The login's own stamp, which tells it from others of the same user and address."""
        return self.login_at + self.ahead_seconds


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
    facts, method, user = value.split(b"\0", 2)
    login_at, expires_at, lifetime, ahead, logins, tls, protocol, format_name = facts.decode("ascii").split(" ", 7)
    return LoginRow(
        key.partition(b"\0")[0].decode("ascii"),
        user.decode("utf-8", "backslashreplace"),
        int(login_at),
        int(expires_at),
        format_name,
        int(lifetime),
        int(ahead),
        protocol,
        method.decode("utf-8", "backslashreplace"),
        tls == "1",
        int(logins),
    )


def login_value(row: LoginRow) -> bytes:
    facts = (row.login_at, row.expires_at, row.lifetime_seconds, row.ahead_seconds, row.logins, int(row.tls))
    head = " ".join(map(str, facts)) + f" {row.protocol} {row.format}"
    return "\0".join((head, row.method.replace("\0", ""), row.user)).encode("utf-8", "backslashreplace")


def user_index(user: str) -> bytes:
    """What the keys of the index `users` begin with for a user, and for nobody else but longer names like his.

    A to Z and a to z are the same here and in revocations, as in the lists of users: servers differ in which they log.
    """
    return hashlib.sha256(_head(user)).digest()[:16]


def user_revocation(user: str) -> bytes:
    return b"u\0" + login_key("", lower(user))[1:]


def site_revocation(address: str) -> bytes:
    """The key of a revocation of all addresses in a /64, given that or one of them."""
    site = address if address.endswith("/64") else keys(address)[-1]
    return b"n\0" + site.encode("ascii")


def revocation_keys(user: str) -> list[bytes]:
    """The keys to enter when a user is revoked: his own, and those of names that may be his, as one of them was cut."""
    keys = [user_revocation(user)]
    if len(head := _head(user)) == CUT_BYTES:
        keys.append(b"c\0" + head)
        if may_be_cut(user):
            keys.append(b"w\0" + head)
    return keys


def _applying(address: str, user: str) -> list[bytes]:
    """The keys of every revocation that applies to a login."""
    found = [b"*", b"a\0" + address.encode("ascii"), user_revocation(user)]
    if len(head := _head(user)) == CUT_BYTES:
        found.append((b"c\0" if may_be_cut(user) else b"w\0") + head)
    if ":" in address:
        found.append(site_revocation(address))
    return found


def _head(user: str) -> bytes:
    return lower(user).encode("utf-8", "backslashreplace")[:CUT_BYTES]


class Times(NamedTuple):
    """A revocation: every login at or before `at` has ended.

    first_at: the same by the clock of the time when it was made, if the wall clock was set back since.
    ahead_seconds: how much later than that the latest login it ended was stamped; in the file, for new books.
    stamped_until: no login counts that is stamped so or earlier; for books that do not know what it ended.
    """

    at: int = 0
    first_at: int = 0
    ahead_seconds: int = 0
    stamped_until: int = 0

    def value(self) -> bytes:
        """As it is stored."""
        return b"%d %d %d %d" % self


def read_times(value: bytes | None) -> Times:
    """What is stored of a revocation. Before schema 3 it was the time alone."""
    times = [int(part) for part in (value or b"").split()]
    return Times(times[0], times[0]) if len(times) == 1 else Times(*times)


def _groups(net: IPv6Network) -> list[int]:
    packed = net.network_address.packed[:8]
    return [int.from_bytes(packed[index : index + 2], "big") for index in range(0, 8, 2)]


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
            if ":" not in key:  # most of them, and there may be a million
                yield key, expires_at
            elif key.endswith("/64"):
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

    def logins_in(self, net: IPv6Network) -> Iterator[LoginRow]:
        """The remembered logins from the addresses within an IPv6 /64, its own key not among them."""
        groups = itertools.takewhile(lambda group: group != "0", (f"{part:x}" for part in _groups(net)))
        for key, value in self._scan("logins", "".join(f"{group}:" for group in groups).encode("ascii")):
            text = key.partition(b"\0")[0].decode("ascii")
            if ":" in text and "/" not in text and ip_address(text) in net:
                yield login_row(key, value)

    def logins_of(self, user: str) -> Iterator[LoginRow]:
        """The remembered logins that revoking a user concerns, from any address; expired ones included."""
        mine = set(revocation_keys(user))
        index = user_index(user)
        for key, _ in self._scan("users", index):
            row = self._login(key[len(index) :])
            if row is not None and not mine.isdisjoint(_applying(row.address, row.user)):
                yield row

    def revoked_at(self, address: str, user: str) -> int:
        """The latest revocation that applies to a login of `user` from `address`; 0 if there is none."""
        return max((times.at for times in self._revoked(address, user)), default=0)

    def is_revoked(self, grant: Grant, now: int) -> bool:
        """Whether a revocation applies to a login that is not known yet.

        A stamp that lies ahead of the wall clock may be an old one, as the clock may have been set back: it must be
        later than everything that was revoked.
        """
        return any(
            grant.login_at <= times.at
            or grant.stamped_at <= times.stamped_until
            or now < grant.stamped_at <= times.first_at
            for times in self._revoked(grant.address, grant.user)
        )

    def _revoked(self, address: str, user: str) -> Iterator[Times]:
        if self._txn.stat(self._db["revocations"])["entries"]:
            for key in _applying(address, user):
                if (value := self._get("revocations", key)) is not None:
                    yield read_times(value)

    def revocations(self) -> Iterator[RevocationRecord]:
        """Every revocation, by the clock of the time when it was made."""
        for key, value in self._scan("revocations"):
            times = read_times(value)
            yield RevocationRecord(key, times.first_at, times.ahead_seconds)

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

    def latest(self) -> int:
        """The latest moment that the books know of: no clock that was right since stood before it."""
        return int(self._get("meta", b"latest") or 0)

    def latest_stamp(self) -> int:
        """The latest stamp of a login that the books have known; set back with the clock."""
        return int(self._get("meta", b"stamped") or 0)

    def furthest_stamp(self) -> int:
        """The same, as the log has it, however the clock was set since."""
        return int(self._get("meta", b"furthest") or 0)

    def own_addresses(self) -> tuple[str, ...]:
        """The addresses of this machine that are known from logins and from popauthctl, the oldest first."""
        return tuple((self._get("meta", b"own") or b"").decode("ascii").split())

    def longest_silence(self, source: str) -> int:
        """The longest time, in seconds, that a source is known to have gone without a login."""
        return int(self._get("meta", b"silence\0" + source.encode()) or 0)
