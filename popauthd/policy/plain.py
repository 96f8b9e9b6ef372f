"""Which of many logins plainly grant, and what: the same as `decide` gives, worked out once for many of them. Pure.

Logins come in few kinds: what a line says beside address, user and time is the same for most. Of each kind `decide`'s
own rules (order.py) are asked once, with a login that stands for all. What follows from an IPv4 address is that of its
cell (cells.py), so a new address costs next to nothing.

A login that is not plain is left to `decide`: one that is refused for whatever reason, one whose stamp lies ahead of
the clock, one that has run out, one without a user, one whose user name is so long that it may have been cut, and in a
cluster one whose user name may be a pseudonym.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from popauthd.model import Login
from popauthd.policy.address_facts import facts_of, key
from popauthd.policy.cells import Cells
from popauthd.policy.cut_names import SHORTEST
from popauthd.policy.decide import user_grants
from popauthd.policy.limits import AddressFacts, Limits
from popauthd.policy.order import against
from popauthd.policy.peer_names import MARK

REMEMBERED = 32768  # IPv6 addresses, and users where there are lists
KINDS = 1024
_PEER = MARK.encode("ascii")

Asked = tuple[str, str, bool, bytes]  # protocol, method, TLS, and the address that the login came in on
KindOf = Callable[[str, str, bool], bytes]


class _Six(NamedTuple):
    """What follows from an IPv6 address, as from a cell; its key, its canonical text, and its /64 or ""."""

    grants: bool
    always: bool
    lifetime_seconds: int
    granted: bytes
    address: bytes
    site: str


class _Ask(NamedTuple):
    """A kind of logins. plain: whether such a login grants from an address that is not in `always`, and from one.

    kind: what is kept of it. local, site: the address that it came in on, canonical, and its /64 or "".
    """

    plain: tuple[bool, bool]
    kind: bytes
    local: bytes
    site: str


class _Asks(dict[Asked, _Ask]):
    """Every kind that was seen, by what its lines say. limits: without the lists of users."""

    def __init__(self, limits: Limits, kind_of: KindOf) -> None:
        self._limits = limits
        self._kind_of = kind_of

    def __missing__(self, asked: Asked) -> _Ask:
        if len(self) >= KINDS:
            self.clear()
        protocol, method, tls, at = asked
        local = facts_of(at.decode("ascii", "replace"), self._limits)
        canonical = local.address.encode("ascii", "replace")
        plain = self._grants(asked, always=False), self._grants(asked, always=True)
        self[asked] = ask = _Ask(plain, self._kind_of(protocol, method, tls), canonical, local.site)
        return ask

    def _grants(self, asked: Asked, *, always: bool) -> bool:
        one = ipaddress.IPv4Address(0)
        facts = AddressFacts(one, str(one), "", always, 1, "", whole_site=False)
        protocol, method, tls, _local = asked
        login = Login(0, facts.address, "anybody", protocol, method, tls)
        return not against(login, facts, self._limits, 0, from_here=False)


class _Users(dict[bytes, bool]):
    """Whether the lists let a user through."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def __missing__(self, user: bytes) -> bool:
        if len(self) >= REMEMBERED:
            self.clear()
        self[user] = good = user_grants(user.decode(), self._limits)
        return good


@dataclass(slots=True)
class Plain:
    """What is granted to each login of a column: its key and lifetime; b"" and 0 to one that is not plain.

    left: the numbers of those that are not. expired: those of them against which nothing is but that they have run out,
    with their address in canonical text.
    """

    granted: list[bytes] = field(default_factory=list)
    lifetime_seconds: list[int] = field(default_factory=list)
    kind: list[bytes] = field(default_factory=list)
    left: list[int] = field(default_factory=list)
    expired: list[tuple[int, bytes]] = field(default_factory=list)


class PlainJudge:
    """Judges by limits that stay the same; other limits need another judge.

    kind_of: what is kept of a protocol, a method and TLS; it is asked once of each kind.
    """

    def __init__(self, limits: Limits, kind_of: KindOf) -> None:
        self.limits = limits
        listed = limits.users is not None or limits.denied is not None
        self._users = _Users(limits) if listed else None
        self._asks = _Asks(replace(limits, users=None, denied=None), kind_of)
        self._cells = Cells(limits)
        self._six: dict[bytes, _Six] = {}

    def judge(
        self,
        at: Sequence[int],
        addresses: Sequence[bytes],
        users: Sequence[bytes],
        asked: Iterable[Asked],
        now: int,
        *,
        peers: bool = False,
    ) -> Plain:
        """Judge logins that are given in columns of one length. peers: other nodes have told of them.

        at: epoch seconds. addresses: each exactly one address. users: UTF-8. asked: what else the lines say.
        """
        found, cell_of, six, asks, lists = Plain(), self._cells.of, self._six, self._asks, self._users
        any_name = peers or not self.limits.peer_names
        granted, lifetimes, kinds, left = found.granted, found.lifetime_seconds, found.kind, found.left
        for number, (stamp, text, user, one) in enumerate(zip(at, addresses, users, asked, strict=True)):
            ask = asks[one]
            plain, kind, local, site = ask
            if b":" in text:
                grants, always, lifetime, where, address, its_site = six.get(text) or self._learn(text)
                grants = grants and address != local and (not its_site or its_site != site)
            else:
                grants, always, lifetime = cell_of(text.decode())
                address = where = text
                grants = grants and text != local
            if (
                grants
                and plain[always]
                and stamp <= now
                and 0 < len(user) < SHORTEST
                and (any_name or user[:1] != _PEER)
                and (lists is None or always or lists[user])
            ):
                if now - lifetime < stamp:
                    granted.append(where)
                    lifetimes.append(lifetime)
                    kinds.append(kind)
                    continue
                found.expired.append((number, address))
            granted.append(b"")
            lifetimes.append(0)
            left.append(number)
            kinds.append(kind)
        return found

    def _learn(self, text: bytes) -> _Six:
        """What follows from an IPv6 address, written in any way."""
        if len(self._six) >= REMEMBERED:
            self._six.clear()
        facts = facts_of(text.decode("ascii"), self.limits)
        granted, canonical = key(facts, "", self.limits).encode("ascii"), facts.address.encode("ascii")
        found = _Six(not facts.barred, facts.always, facts.lifetime_seconds, granted, canonical, facts.site)
        self._six[text] = found
        return found
