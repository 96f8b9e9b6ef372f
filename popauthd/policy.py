"""Decides whether a login grants. Pure: the clock is an argument, nothing is remembered.

Addresses that must never be granted, whatever the configuration says, are rows of NEVER: a client
can't have them, or granting them would open the relay to everyone on this host.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from popauthd import address
from popauthd.model import Grant, Login, Refusal

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
    "expired": "The login is older than the lifetime; it can grant nothing.",
    "future": "The login lies further in the future than `future` allows: a clock or time zone is wrong.",
    "revoked": "The address or the user was revoked at or after this login; a newer login opens it again.",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What policy needs of the configuration."""

    lifetime_seconds: int = 900
    future_seconds: int = 120
    never: tuple[address.Network, ...] = ()
    own_addresses: tuple[address.Network, ...] = ()
    grant_loopback: bool = False


def decide(login: Login, limits: Limits, now: int) -> Grant | Refusal:
    """Turn a login into a grant, or say why not.

    now: epoch seconds; compared with login.at, which comes from a log and may lie.
    The grant runs from login.at, not from now, so reading a line twice changes nothing.
    Never raises.
    """
    client = address.parse(login.address)
    if client is None:
        return _refuse("bad-address", login, login.address)
    reason = _never(client, login.local_address, limits)
    if not reason and login.at > now + limits.future_seconds:
        reason = "future"
    expires_at = login.at + limits.lifetime_seconds
    if not reason and expires_at <= now:
        reason = "expired"
    if reason:
        return _refuse(reason, login, str(client))
    return Grant(str(client), login.user, login.at, expires_at, login.format)


def never_reason(client: address.Address, limits: Limits) -> str:
    """The reason word why an address may not be granted by anyone, an administrator included; "" if it may."""
    return _never(client, "", limits)


def _never(client: address.Address, local_address: str, limits: Limits) -> str:
    for net, reason in _NEVER:
        if net.version == client.version and client in net:
            if reason == "loopback" and limits.grant_loopback:
                break
            return reason
    own = address.parse(local_address) if local_address else None
    if (client == own and not (limits.grant_loopback and client.is_loopback)) or address.inside(
        client, limits.own_addresses
    ):
        return "own-address"
    return "never" if address.inside(client, limits.never) else ""


def _refuse(reason: str, login: Login, client: str) -> Refusal:
    return Refusal(reason, login.at, client, login.user, login.format)
