"""The order in which policy judges a login. The first thing against it is the reason that is told. Pure.

1. The address: not one address; never granted, whatever is configured (NEVER); one of this server's own; in `never`;
   in `proxies`; the one that the login came in on. An address that is barred stays so for every user, and `always`
   does not lift that. (`grant_loopback`, for demo and tests, lifts loopback alone.)
2. What any login needs: it is not ANONYMOUS, and it names a user, in a cluster by no name that is a peer's user's.
   `always` does not lift these either.
3. What the administrator asks for: RULES, from top to bottom. A client in `always` is not asked.
4. The time: too far in the future; expired. "expired" comes last, so it is said only of a login that nothing else is
   against: the session of such a login may still hold its address.
5. What only the books know, asked after all of these when the login is entered: revoked; shared-address.

LOGINS in popauthd/reasons.py has the same order, with a sentence for the administrator each.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from typing import NamedTuple

from popauthd import address
from popauthd.model import PEER_FORMAT, Login
from popauthd.policy.cut_names import MARK, may_be_cut
from popauthd.policy.limits import AddressFacts, Limits
from popauthd.policy.peer_names import is_peer_name
from popauthd.policy.user_list import UserList

# A client cannot have these addresses, or granting them would open the relay to everyone on this host.
NEVER: tuple[tuple[address.Network, str], ...] = tuple(
    (ipaddress.ip_network(network), reason)
    for network, reason in (
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
)


class Rule(NamedTuple):
    """One rule of the administrator. of_user: it asks for the user alone, so it can be asked without the log's line.

    reason: its word in popauthd/reasons.py, where its sentence is.
    """

    reason: str
    refuses: Callable[[Login, Limits], bool]
    of_user: bool = False


RULES = (
    Rule("protocol", lambda login, limits: login.protocol not in limits.protocols),
    # a login that does not name its mechanism may have used any
    Rule("mechanism", lambda login, limits: bool(limits.refuse_mechanisms)
         and _method(login) in ("", *limits.refuse_mechanisms)),
    Rule("no-tls", lambda login, limits: limits.require_tls and not login.tls),
    Rule("user-denied", lambda login, limits: limits.denied is not None and _may_be_in(limits.denied, login.user),
         of_user=True),
    Rule("user-not-listed", lambda login, limits: limits.users is not None and not _is_in(limits.users, login.user),
         of_user=True),
)  # fmt: skip


def against_address(client: address.Address, limits: Limits) -> str:
    """The reason why nobody can have an address granted, or ""."""
    if not _lifted(client, limits):
        for net, reason in NEVER:
            if net.version == client.version and client in net:
                return reason
    for reason, networks in (
        ("own-address", limits.own_addresses), ("never", limits.never), ("proxy", limits.proxies)
    ):  # fmt: skip
        if address.inside(client, networks):
            return reason
    return ""


def against(login: Login, facts: AddressFacts, limits: Limits, now: int, *, from_here: bool) -> str:
    """The reason why a login does not grant, or "".

    facts: of the login's address. from_here: it came in on that same address, so it comes from this machine.
    """
    if facts.parsed is None:
        return "bad-address"
    if facts.barred:
        return facts.barred
    if from_here and not _lifted(facts.parsed, limits):
        return "own-address"
    if _method(login) == "ANONYMOUS":
        return "anonymous"
    if not login.user:
        return "no-user"
    if limits.peer_names and login.format != PEER_FORMAT and is_peer_name(login.user):
        return "peer-name"
    if not facts.always:
        for rule in RULES:
            if rule.refuses(login, limits):
                return rule.reason
    if login.at > now + limits.future_seconds:
        return "future"
    return "expired" if login.at + facts.lifetime_seconds <= now else ""


def _lifted(client: address.Address, limits: Limits) -> bool:
    """Whether this is a loopback address, and the setting for demo and tests allows it."""
    return limits.grant_loopback and client.is_loopback


def _method(login: Login) -> str:
    return login.method.strip().upper()


def _may_be_in(users: UserList, user: str) -> bool:
    """Whether a user is in a list, or may be, as his name was cut."""
    return users.holds(user) or (may_be_cut(user) and users.may_hold(user.removesuffix(MARK)))


def _is_in(users: UserList, user: str) -> bool:
    """Whether a user is in a list, whatever was cut from his name."""
    return users.surely_holds(user.removesuffix(MARK)) if may_be_cut(user) else users.holds(user)
