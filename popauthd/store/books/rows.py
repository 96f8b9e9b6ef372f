"""The shapes of keys and values: a login, a revocation's times, and the keys by which they are found."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

from popauthd.address import keys
from popauthd.model import Grant
from popauthd.policy.cut_names import may_be_cut
from popauthd.policy.user_list import lower
from popauthd.store.books.revocation_file import USER_BYTES

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


def row_of(grant: Grant) -> LoginRow:
    """The row that a grant is stored as."""
    return LoginRow(
        grant.address,
        grant.user,
        grant.login_at,
        grant.expires_at,
        grant.format,
        grant.expires_at - grant.login_at,
        grant.ahead_seconds,
        grant.protocol,
        grant.method,
        grant.tls,
    )


def login_key(address: str, user: str) -> bytes:
    """The key of a login; a user name too long for a key is replaced by its digest."""
    name = user.encode("utf-8", "backslashreplace")
    if len(name) > USER_BYTES:
        name = b"\0" + hashlib.sha256(name).digest()
    return address.encode("ascii") + b"\0" + name


def when(at: int, rest: bytes) -> bytes:
    """The key of something that is due at `at`, epoch seconds; such keys are in the order of time."""
    return at.to_bytes(8, "big") + rest


def login_row(key: bytes, value: bytes) -> LoginRow:
    """A login as it is stored."""
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
    """What is stored: `login_at expires_at lifetime ahead logins tls protocol format` NUL method NUL user."""
    facts = (row.login_at, row.expires_at, row.lifetime_seconds, row.ahead_seconds, row.logins, int(row.tls))
    head = " ".join(map(str, facts)) + f" {row.protocol} {row.format}"
    return "\0".join((head, row.method.replace("\0", ""), row.user)).encode("utf-8", "backslashreplace")


def user_index(user: str) -> bytes:
    """What the keys of the index `users` begin with for a user, and for nobody else but longer names like his.

    A to Z and a to z are the same here and in revocations, as in the lists of users: servers differ in which they log.
    """
    return hashlib.sha256(_head(user)).digest()[:16]


def address_revocation(address: str) -> bytes:
    """The key of a revocation of one address, or of a /64 that was granted as a whole."""
    return b"a\0" + address.encode("ascii")


def user_revocation(user: str) -> bytes:
    """The key of a revocation of a user."""
    return b"u\0" + login_key("", lower(user))[1:]


def site_revocation(address: str) -> bytes:
    """The key of a revocation of all addresses in a /64, given that or one of them."""
    site = address if address.endswith("/64") else keys(address)[-1]
    return b"n\0" + site.encode("ascii")


def user_revocations(user: str) -> list[bytes]:
    """The keys to enter when a user is revoked: his own, and those of names that may be his, as one of them was cut."""
    found = [user_revocation(user)]
    if len(head := _head(user)) == CUT_BYTES:
        found.append(b"c\0" + head)
        if may_be_cut(user):
            found.append(b"w\0" + head)
    return found


def applying(address: str, user: str) -> list[bytes]:
    """The keys of every revocation that applies to a login."""
    found = [b"*", address_revocation(address), user_revocation(user)]
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
