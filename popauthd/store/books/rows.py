"""How logins and the times of revocations are stored, and the keys under which they are found."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from typing import NamedTuple

from popauthd.address import keys
from popauthd.model import Grant
from popauthd.policy.cut_names import SHORTEST, may_be_cut
from popauthd.policy.user_list import lower
from popauthd.store.books.revocation_file import USER_BYTES

CUT_BYTES = 64  # every server that cuts user names leaves more bytes than this
TOGETHER_SECONDS = 3600
# The kinds of revocations, the first bytes of their keys; see `applying`.
EVERYBODY, ADDRESS, SITE, USER, CUT, WHOLE = b"*", b"a\0", b"n\0", b"u\0", b"c\0", b"w\0"
USERS = (USER, CUT, WHOLE)


class LoginRow(NamedTuple):
    """The latest login of `user` from `address`; user is "" for an administrator's grant.

    login_at: its effective time. ahead_seconds: how much later its stamp is. lifetime_seconds: the lifetime it was
    granted for; 0 if that is not known. protocol, method, tls: as the log told them; "" or False if not known.
    logins: how many logins in a row the row stands for. A user name that was cut counts as so many users.
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
        """The login's own stamp. Logins of the same user and address differ in it."""
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
        name = b"\0" + _sha256(name)
    return address.encode("ascii") + b"\0" + name


def when(at: int, rest: bytes) -> bytes:
    """The key of an entry that is due at `at`, epoch seconds. LMDB keeps such keys in the order of time."""
    return at.to_bytes(8, "big") + rest


def early(expiries: Iterable[tuple[bytes, int]], now: int) -> list[tuple[bytes, bytes]]:
    """Entries for many keys, each at its time or up to TOGETHER_SECONDS before, but after now if its time is.

    Those of one time lie side by side, so they are put faster. They come in order, with an empty value.
    """
    soon, begins, found = when(now + 1, b""), dict[int, bytes](), list[bytes]()
    for key, at in expiries:
        part = at // TOGETHER_SECONDS
        begin = begins.get(part)
        if begin is None:
            begin = begins[part] = when(part * TOGETHER_SECONDS, b"")
        if begin < soon:
            begin = soon if at > now else when(at, b"")
        found.append(begin + key)
    found.sort()
    return list(zip(found, repeat(b"")))


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


# What judging asks of a login as it is stored: address, user, login_at, expires_at, lifetime_seconds, logins, and what
# its log line told (see told_by). A plain tuple: there may be a million, and a named one takes as long as all the rest.
LightRow = tuple[bytes, bytes, int, int, int, int, bytes, bytes]


def light_row(key: bytes, value: bytes) -> LightRow:
    """A login that may not matter; `login_row` takes three times as long."""
    facts, method, user = value.split(b"\0", 2)
    login_at, expires_at, lifetime, _ahead, logins, line = facts.split(b" ", 5)
    address, _, _ = key.partition(b"\0")
    return address, user, int(login_at), int(expires_at), int(lifetime), int(logins), line, method


def told_by(line: bytes, method: bytes) -> tuple[str, str, bool]:
    """Protocol, mechanism, and whether TLS was used; "" for what is not known."""
    return read_kind(b"%b\0%b\0" % (line, method))[:3]


def login_value(row: LoginRow) -> bytes:
    """What is stored: `login_at expires_at lifetime ahead logins tls protocol format` NUL method NUL user."""
    numbers = b"%d %d %d %d %d " % (row.login_at, row.expires_at, row.lifetime_seconds, row.ahead_seconds, row.logins)
    kind = login_kind(row.protocol, row.method, row.tls, row.format)
    return numbers + kind + row.user.encode("utf-8", "backslashreplace")


def login_kind(protocol: str, method: str, tls: bool, format_name: str) -> bytes:
    """The part of a stored login between its numbers and its user."""
    plain = method.replace("\0", "")
    return f"{int(tls)} {protocol} {format_name}\0{plain}\0".encode("utf-8", "backslashreplace")


def read_kind(kind: bytes) -> tuple[str, str, bool, str]:
    """Protocol, method, TLS and format in such a part."""
    facts, method, _user = kind.split(b"\0", 2)
    tls, protocol, format_name = facts.decode("ascii").split(" ", 2)
    return protocol, method.decode("utf-8", "backslashreplace"), tls == "1", format_name


def user_index(user: str) -> bytes:
    """The first bytes of a user's keys in the index `users`.

    Users whose names begin with the same CUT_BYTES bytes share them. Upper and lower case of A to Z are the same here
    and in revocations, as in the lists of users: servers differ in which of them they log.
    """
    return head_index(_head(user))


def head_index(name: bytes) -> bytes:
    """The same for a user name in lower case, of which the first CUT_BYTES bytes count."""
    return _sha256(name[:CUT_BYTES])[:16]


def indexes_of(keys: Iterable[bytes]) -> list[bytes]:
    """The same for the users of many logins, given their keys, of which none holds a digest."""
    from hashlib import sha256  # as below

    return [sha256(key[key.index(0) + 1 :][:CUT_BYTES].lower()).digest()[:16] for key in keys]


def address_revocation(address: str) -> bytes:
    """The key of a revocation of one address, or of a /64 that was granted as a whole."""
    return ADDRESS + address.encode("ascii")


def user_revocation(user: str) -> bytes:
    """The key of a revocation of a user."""
    return USER + login_key("", lower(user))[1:]


def site_revocation(address: str) -> bytes:
    """The key of a revocation of all addresses in a /64. address: the /64, or an address in it."""
    site = address if address.endswith("/64") else keys(address)[-1]
    return SITE + site.encode("ascii")


def user_revocations(user: str) -> list[bytes]:
    """The keys to enter when a user is revoked: his own, and those for cut names that may be his."""
    found = [user_revocation(user)]
    if len(head := _head(user)) == CUT_BYTES:
        found.append(CUT + head)
        if may_be_cut(user):
            found.append(WHOLE + head)
    return found


def applying(address: str, user: str) -> list[bytes]:
    """The keys of every revocation that applies to a login."""
    found = [EVERYBODY, address_revocation(address), user_revocation(user)]
    if len(head := _head(user)) == CUT_BYTES:
        found.append((CUT if may_be_cut(user) else WHOLE) + head)
    if ":" in address:
        found.append(site_revocation(address))
    return found


def name_is_known(key: bytes) -> bool:
    """Whether the key of a login holds the user's whole name: no digest of it, and no name that may have been cut."""
    begin = key.index(0) + 1
    return len(key) - begin < SHORTEST and key[begin : begin + 1] != b"\0"


def applying_to(key: bytes) -> list[bytes]:
    """The same for the key of a login. The user's name in it is no digest, and was not cut."""
    address, _, name = key.partition(b"\0")
    found = [EVERYBODY, ADDRESS + address, USER + name.lower()]
    if len(name) >= CUT_BYTES:
        found.append(WHOLE + name[:CUT_BYTES].lower())
    if b":" in address:
        found.append(site_revocation(address.decode("ascii")))
    return found


def _sha256(data: bytes) -> bytes:
    from hashlib import sha256  # OpenSSL is slow to load, and popauthctl seldom needs it

    return sha256(data).digest()


def _head(user: str) -> bytes:
    return lower(user).encode("utf-8", "backslashreplace")[:CUT_BYTES]


class Times(NamedTuple):
    """The times of a revocation, which ends every login at or before `at`.

    first_at: the same time by the clock of the day when it was made; the wall clock may have been set back since.
    ahead_seconds: how much later than first_at the latest login that it ended was stamped. It is kept in the file, for
    new books. stamped_until: no login with this stamp or an earlier one counts; for books that do not know which logins
    the revocation ended.
    """

    at: int = 0
    first_at: int = 0
    ahead_seconds: int = 0
    stamped_until: int = 0

    def value(self) -> bytes:
        """The bytes that are stored."""
        return b"%d %d %d %d" % self


def read_times(value: bytes | None) -> Times:
    """The times from the stored bytes. Before schema 3 only one time was stored."""
    times = [int(part) for part in (value or b"").split()]
    return Times(times[0], times[0]) if len(times) == 1 else Times(*times)
