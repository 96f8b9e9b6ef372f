"""Decides whether a login grants. Pure: the clock is an argument.

Addresses that must never be granted, whatever the configuration says, are rows of NEVER: a client
can't have them, or granting them would open the relay to everyone on this host.

What an address alone decides is worked out once and kept with the Limits, as logins come from few addresses.

LIMIT: the server's own IPv6 address in a client's /64 is known only if logins come in on it, or own_addresses
lists it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from hashlib import sha256
from typing import NamedTuple

from popauthd import address
from popauthd.model import Grant, Login, Refusal
from popauthd.policy.cut_names import may_be_cut
from popauthd.policy.user_list import UserList

NEVER: tuple[tuple[str, str], ...] = (
    ("127.0.0.0/8", "loopback"),
    ("::1/128", "loopback"),
    ("0.0.0.0/8", "unspecified"),
    ("::/128", "unspecified"),
    ("224.0.0.0/4", "multicast"),
    ("ff00::/8", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
    ("::/96", "reserved"),  # IPv4-compatible: never routed, and written in two ways
    ("169.254.0.0/16", "link-local"),
    ("fe80::/10", "link-local"),
)
_NEVER = tuple((ipaddress.ip_network(net), reason) for net, reason in NEVER)


REMEMBERED = 32768  # addresses, some 13 MiB


class Standing(NamedTuple):
    """What an address alone decides. client: None if it is not exactly one address.

    address: its canonical text. barred: why nobody may have it granted, or "". site: its /64, if the limits grant
    such. whole_site: whether all of that may be granted.
    """

    client: address.Address | None
    address: str
    barred: str
    always: bool
    lifetime_seconds: int
    site: str
    whole_site: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What policy needs of the configuration. lifetime_by_network: the narrowest network first."""

    lifetime_seconds: int = 900
    future_seconds: int = 120
    never: tuple[address.Network, ...] = ()
    own_addresses: tuple[address.Network, ...] = ()
    grant_loopback: bool = False
    lifetime_by_network: tuple[tuple[address.Network, int], ...] = ()
    proxies: tuple[address.Network, ...] = ()
    always: tuple[address.Network, ...] = ()
    protocols: tuple[str, ...] = ("pop3", "imap")
    require_tls: bool = False
    refuse_mechanisms: tuple[str, ...] = ()
    users: UserList | None = None
    denied: UserList | None = None
    ipv6_prefix: int = 128
    standings: dict[str, Standing] = field(default_factory=dict, init=False, compare=False, repr=False)


class Rule(NamedTuple):
    """What a login must not be; in the order in which they are asked. Clients in `always` are not."""

    reason: str
    refuses: Callable[[Login, Limits], bool]
    sentence: str
    of_user: bool = False


RULES = (
    Rule(
        "protocol", lambda login, limits: login.protocol not in limits.protocols,
        "The login's protocol is not among `protocols`.",
    ),
    Rule(  # a login that does not name its mechanism may have used any
        "mechanism", lambda login, limits: bool(limits.refuse_mechanisms)
        and _method(login) in ("", *limits.refuse_mechanisms),
        "The login's mechanism is listed under `refuse_mechanisms`, or not known.",
    ),
    Rule(
        "no-tls", lambda login, limits: limits.require_tls and not login.tls,
        "The log does not say that the login came under TLS (`require_tls`).",
    ),
    Rule(
        "user-denied", lambda login, limits: limits.denied is not None and _may_be_in(limits.denied, login.user),
        "The user is listed in `deny_users`, or may be: the log has only the beginning of a long name.", of_user=True,
    ),
    Rule(
        "user-not-listed", lambda login, limits: limits.users is not None and not _is_in(limits.users, login.user),
        "The user is not listed in `users_file`, or the log has only the beginning of his name.", of_user=True,
    ),
)  # fmt: skip

REASONS = {
    "bad-address": "The address in the line is not one address.",
    "loopback": "Loopback: a webmail or script on this host; granting it would open the relay to all of them.",
    "unspecified": "The unspecified address; no client has it.",
    "multicast": "A multicast address; no client has it.",
    "broadcast": "The broadcast address; no client has it.",
    "reserved": "A reserved address; no client has it.",
    "link-local": "A link-local address means another machine on every link.",
    "own-address": "The server's own address: a webmail or a hairpin through NAT.",
    "never": "The address is in a network listed under `never`.",
    "proxy": "The address is listed under `proxies`: many users share it.",
    "anonymous": "An ANONYMOUS login proves nothing.",
    "no-user": "The login names no user, and what names none is a grant by hand.",
    **{rule.reason: rule.sentence for rule in RULES},
    "future": "The login lies further in the future than `future` allows: a clock or time zone is wrong.",
    "expired": "The login is older than the lifetime; it can grant nothing.",
    "revoked": "The address or the user was revoked at or after this login; a newer login opens it again.",
    "shared-address": "More than `shared_users` users logged in from the address within the lifetime.",
}


def decide(login: Login, limits: Limits, now: int) -> Grant | Refusal:
    """Turn a login into a grant, or say why not.

    now: epoch seconds; compared with login.at, which comes from a log and may lie.
    The grant runs from login.at, so reading a line twice changes nothing; from now if the stamp lies ahead of
    the clock, as it may by `future_seconds`. "expired" is said only of a login that nothing else is against.
    Never raises.
    """
    here = standing(login.address, limits)
    if here.client is None:
        return _refuse("bad-address", login, login.address)
    reason = _barred(here, login.local_address, limits) or _ruled_out(here, login, limits)
    if not reason and login.at > now + limits.future_seconds:
        reason = "future"
    login_at = min(login.at, now)
    if not reason and login_at + here.lifetime_seconds <= now:
        reason = "expired"
    if reason:
        return _refuse(reason, login, here.address)
    return grant(login, _key(here, login.local_address, limits), login_at, here.lifetime_seconds)


def grant(login: Login, key: str, login_at: int, lifetime_seconds: int) -> Grant:
    """The grant of `key` to a login whose effective time is `login_at`."""
    return Grant(
        key,
        login.user,
        login_at,
        login_at + lifetime_seconds,
        login.format,
        login.at - login_at,
        login.protocol,
        login.method,
        login.tls,
    )


def never_reason(client: address.Address, limits: Limits) -> str:
    """The reason word why an address may not be granted by anyone, an administrator included; "" if it may."""
    return standing(str(client), limits).barred


def still_grants(granted: str, user: str, limits: Limits, login: Login | None = None) -> bool:
    """Whether a key that was granted to a user ("": by hand) would be by these limits, as far as can be told now.

    login: what it was granted for; None if nothing is known of that but the user.
    """
    client = address.parse(granted.partition("/")[0])
    if client is None or never_reason(client, limits) or ("/" in granted and key(client, "", limits) != granted):
        return False
    if not user or address.inside(client, limits.always):
        return True
    asked = RULES if login is not None else [rule for rule in RULES if rule.of_user]
    return not any(rule.refuses(login or Login(0, granted, user, ""), limits) for rule in asked)


def fingerprint(limits: Limits) -> str:
    """Changes when limits change that standing logins must be judged by again: any of them, but for the order."""
    text = repr([_print(getattr(limits, row.name)) for row in fields(limits) if row.compare])
    return sha256(text.encode("utf-8", "backslashreplace")).hexdigest()


def asked_of_a_line(limits: Limits) -> str:
    """Changes when another protocol, mechanism or TLS is asked for: what a login's line says, and nothing else does."""
    asked = [_print(value) for value in (limits.protocols, limits.refuse_mechanisms, limits.require_tls)]
    return sha256(repr(asked).encode("utf-8", "backslashreplace")).hexdigest()


def _print(value: object) -> str:
    if isinstance(value, UserList):
        return repr(value.entries())
    return repr(sorted(map(str, value))) if isinstance(value, tuple) else repr(value)


def lifetime(client: address.Address, limits: Limits) -> int:
    """How long a login from an address lasts, in seconds."""
    for net, seconds in limits.lifetime_by_network:
        if net.version == client.version and client in net:
            return seconds
    return limits.lifetime_seconds


def longest_lifetime(limits: Limits) -> int:
    """The longest of all lifetimes, in seconds: no older login can grant."""
    return max([limits.lifetime_seconds, *(seconds for _net, seconds in limits.lifetime_by_network)])


def key(client: address.Address, local_address: str, limits: Limits) -> str:
    """What is granted for a client: its address, or its /64.

    Never a /64 that holds an address which must not be granted, as readers ask for one address; nor one
    of which `always` or a lifetime names a part, as that was meant for the part alone.
    """
    return _key(standing(str(client), limits), local_address, limits)


def standing(text: str, limits: Limits) -> Standing:
    """What an address, written in any way, alone decides; remembered."""
    found = limits.standings.get(text)
    if found is None:
        client = address.parse(text)
        if client is None:  # not remembered: it may be any text
            return Standing(None, text, "", False, 0, "", False)
        if len(limits.standings) >= REMEMBERED:
            limits.standings.clear()
        found = limits.standings[text] = _stand(client, limits)
    return found


def _stand(client: address.Address, limits: Limits) -> Standing:
    site, whole = "", False
    if limits.ipv6_prefix == 64 and isinstance(client, ipaddress.IPv6Address):
        net = address.net64(client)
        site, whole = str(net), not _splits(net, limits)
    always = address.inside(client, limits.always)
    return Standing(client, str(client), _nobodys(client, limits), always, lifetime(client, limits), site, whole)


def _splits(site: ipaddress.IPv6Network, limits: Limits) -> bool:
    """Whether a network named anywhere is a part of this /64, or all of it if it is barred."""
    barred = (*(net for net, _reason in _NEVER), *limits.never, *limits.own_addresses, *limits.proxies)
    meant = (*limits.always, *(net for net, _seconds in limits.lifetime_by_network))
    return any(isinstance(net, ipaddress.IPv6Network) and net.subnet_of(site) for net in barred) or any(
        isinstance(net, ipaddress.IPv6Network) and net != site and net.subnet_of(site) for net in meant
    )


def _key(here: Standing, local_address: str, limits: Limits) -> str:
    if here.whole_site and not (local_address and standing(local_address, limits).site == here.site):
        return here.site
    return here.address


def _may_be_in(users: UserList, user: str) -> bool:
    """Whether a user is in a list, or may be, as his name was cut."""
    return users.holds(user) or (may_be_cut(user) and users.may_hold(user.removesuffix("...")))


def _is_in(users: UserList, user: str) -> bool:
    """Whether a user is in a list, whatever was cut from his name."""
    return users.surely_holds(user.removesuffix("...")) if may_be_cut(user) else users.holds(user)


def _method(login: Login) -> str:
    return login.method.strip().upper()


def _ruled_out(here: Standing, login: Login, limits: Limits) -> str:
    if _method(login) == "ANONYMOUS":
        return "anonymous"
    if not login.user:
        return "no-user"
    if here.always:
        return ""
    return next((rule.reason for rule in RULES if rule.refuses(login, limits)), "")


def _nobodys(client: address.Address, limits: Limits) -> str:
    """Why nobody may have an address granted, by itself."""
    for net, reason in _NEVER:
        if net.version == client.version and client in net:
            if limits.grant_loopback and client.is_loopback:
                break
            return reason
    for reason, networks in (
        ("own-address", limits.own_addresses), ("never", limits.never), ("proxy", limits.proxies)
    ):  # fmt: skip
        if address.inside(client, networks):
            return reason
    return ""


def _barred(here: Standing, local_address: str, limits: Limits) -> str:
    """Why nobody may have the client's address granted, the login's own side looked at as well."""
    if here.barred or not local_address or standing(local_address, limits).address != here.address:
        return here.barred
    lifted = limits.grant_loopback and here.client is not None and here.client.is_loopback
    return "" if lifted else "own-address"


def _refuse(reason: str, login: Login, client: str) -> Refusal:
    return Refusal(reason, login.at, client, login.user, login.format)
