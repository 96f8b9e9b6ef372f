"""What follows from an address and the limits, worked out once: whether it is barred, its lifetime, its key. Pure.

LIMIT: the server's own IPv6 address in a client's /64 is known only if logins come in on it, or own_addresses
lists it.
"""

from __future__ import annotations

import ipaddress

from popauthd import address
from popauthd.policy.limits import AddressFacts, Limits, lifetime
from popauthd.policy.order import NEVER, against_address

REMEMBERED = 32768  # addresses, some 13 MiB


def facts_of(text: str, limits: Limits) -> AddressFacts:
    """The facts of an address, written in any way; remembered with the limits."""
    found = limits.facts.get(text)
    if found is None:
        client = address.parse(text)
        if client is None:  # not remembered: it may be any text
            return AddressFacts(None, text, "", False, 0, "", False)
        if len(limits.facts) >= REMEMBERED:
            limits.facts.clear()
        found = limits.facts[text] = work_out(client, limits)
    return found


def never_reason(client: address.Address, limits: Limits) -> str:
    """The reason why an address may not be granted by anyone, an administrator included; "" if it may."""
    return facts_of(str(client), limits).barred


def key(facts: AddressFacts, local_address: str, limits: Limits) -> str:
    """What is granted for a client: its address, or its /64. local_address: the one that its login came in on, or "".

    Never a /64 that holds an address which must not be granted, as readers ask for one address; nor one
    of which `always` or a lifetime names a part, as that was meant for the part alone.
    """
    if facts.whole_site and not (local_address and facts_of(local_address, limits).site == facts.site):
        return facts.site
    return facts.address


def work_out(client: address.Address, limits: Limits) -> AddressFacts:
    """The facts of an address; `facts_of` remembers them."""
    site, whole = "", False
    if limits.ipv6_prefix == 64 and isinstance(client, ipaddress.IPv6Address):
        net = address.net64(client)
        site, whole = str(net), not _split(net, limits)
    always = address.inside(client, limits.always)
    barred = against_address(client, limits)
    return AddressFacts(client, str(client), barred, always, lifetime(client, limits), site, whole)


def _split(site: ipaddress.IPv6Network, limits: Limits) -> bool:
    """Whether a network named anywhere is a part of this /64, or all of it if it is barred."""
    barred = (*(net for net, _reason in NEVER), *limits.never, *limits.own_addresses, *limits.proxies)
    meant = (*limits.always, *(net for net, _seconds in limits.lifetime_by_network))
    return any(isinstance(net, ipaddress.IPv6Network) and net.subnet_of(site) for net in barred) or any(
        isinstance(net, ipaddress.IPv6Network) and net != site and net.subnet_of(site) for net in meant
    )
