"""The limits by which policy judges: its settings and the lists of users. Pure.

What follows from an address and the limits alone is worked out once and kept with them (`AddressFacts`), as logins
come from few addresses. Two fingerprints say whether what was granted must be judged again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import NamedTuple

from popauthd import address
from popauthd.policy.user_list import UserList


class AddressFacts(NamedTuple):
    """What follows from an address alone, whoever logs in from it.

    parsed: None if the text is not exactly one address. address: its canonical text. barred: the reason why it can
    never be granted, or "". always: whether it is in a network of `always`. site: its /64, if the limits grant
    such, or "". whole_site: whether all of that /64 may be granted.
    """

    parsed: address.Address | None
    address: str
    barred: str
    always: bool
    lifetime_seconds: int
    site: str
    whole_site: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What policy needs of the configuration, and the lists of users; None for no list. The defaults are settings.

    peer_names: names of the form of a pseudonym are users of other nodes (peer_names.py), so no log may bring one.
    lifetime_by_network: the narrowest network first. facts: by the text of an address (see address_facts.py).
    """

    lifetime_seconds: int
    future_seconds: int
    never: tuple[address.Network, ...]
    own_addresses: tuple[address.Network, ...]
    grant_loopback: bool
    lifetime_by_network: tuple[tuple[address.Network, int], ...]
    proxies: tuple[address.Network, ...]
    always: tuple[address.Network, ...]
    protocols: tuple[str, ...]
    require_tls: bool
    refuse_mechanisms: tuple[str, ...]
    users: UserList | None = None
    denied: UserList | None = None
    ipv6_prefix: int
    peer_names: bool = False
    facts: dict[str, AddressFacts] = field(default_factory=dict, init=False, compare=False)


def lifetime(client: address.Address, limits: Limits) -> int:
    """How long a login from an address lasts, in seconds."""
    for net, seconds in limits.lifetime_by_network:
        if net.version == client.version and client in net:
            return seconds
    return limits.lifetime_seconds


def longest_lifetime(limits: Limits) -> int:
    """The longest of all lifetimes, in seconds: no older login can grant."""
    return max([limits.lifetime_seconds, *(seconds for _net, seconds in limits.lifetime_by_network)])


def fingerprint(limits: Limits) -> str:
    """A text that changes when any limit changes, and not with the order in a list: then judge all logins again."""
    return _digest([getattr(limits, row.name) for row in fields(limits) if row.compare])


def asked_of_a_line(limits: Limits) -> str:
    """A text that changes when another protocol, mechanism or TLS is asked for, which only a login's line tells."""
    return _digest([limits.protocols, limits.refuse_mechanisms, limits.require_tls])


def _digest(values: list[object]) -> str:
    from hashlib import sha256  # OpenSSL is slow to load, and popauthctl asks for no fingerprint

    text = repr([_unordered(value) for value in values])
    return sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def _unordered(value: object) -> str:
    if isinstance(value, UserList):
        return repr(value.entries())
    return repr(sorted(map(str, value))) if isinstance(value, tuple) else repr(value)
