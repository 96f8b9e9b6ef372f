"""Cells of addresses: within one, an address's facts do not depend on which of its addresses it is. Pure.

The networks that the limits name cut the addresses into cells: between the beginning of one network and the next
beginning or end nothing changes. So a million addresses are judged as a few. Keys are those of the relay map: the
canonical text of an address, or of an IPv6 /64. `decide` judges one login, by itself; the tests hold both together.
"""

from __future__ import annotations

import ipaddress
from bisect import bisect_right
from typing import NamedTuple

from popauthd import address
from popauthd.policy.address_facts import facts_of, key, work_out
from popauthd.policy.limits import Limits
from popauthd.policy.order import NEVER

_MAPPED = ipaddress.ip_network("::ffff:0:0/96")  # such an address is an IPv4 address, and no key of the relay map


class Cell(NamedTuple):
    """What is the same for all keys in a cell.

    grants: whether anybody may have such a key granted. always: whether a network of `always` holds it.
    """

    grants: bool
    always: bool
    lifetime_seconds: int


class Cells:
    """The cells of all addresses by these limits; each is worked out when a key in it is asked about."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._four = _Space(ipaddress.IPv4Address, 4, limits)
        self._six = _Space(ipaddress.IPv6Address, 16, limits)

    def of(self, text: str) -> Cell:
        """The cell of a key."""
        if ":" not in text:
            space = self._four
            at = bisect_right(space.begins, address.packed(text)) - 1
            return space.cells[at] or space.work_out(at)
        space = self._six
        if not text.endswith("/64"):
            at = bisect_right(space.begins, address.packed(text)) - 1
            return space.cells[at] or space.work_out(at)
        first = address.packed(text[:-3])
        at = bisect_right(space.begins, first) - 1
        if at == bisect_right(space.begins, first[:8] + b"\xff" * 8) - 1:
            found = space.cells[at] or space.work_out(at)
            return found if self._limits.ipv6_prefix == 64 else found._replace(grants=False)
        facts = facts_of(text[:-3], self._limits)  # a network that the limits name is a part of it
        return Cell(not facts.barred and key(facts, "", self._limits) == text, facts.always, facts.lifetime_seconds)


class _Space:
    """The cells of IPv4 or of IPv6: where each begins, and what is the same in it, None if that was not asked yet."""

    def __init__(
        self, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address], length: int, limits: Limits
    ) -> None:
        begins = {bytes(length)}
        for net in _networks(limits):
            if isinstance(net.network_address, kind):
                begins.add(net.network_address.packed)
                if (after := int(net.broadcast_address) + 1) < 1 << 8 * length:
                    begins.add(after.to_bytes(length, "big"))
        self._kind = kind
        self._limits = limits
        self.begins = sorted(begins)
        self.cells: list[Cell | None] = [None] * len(begins)

    def work_out(self, at: int) -> Cell:
        """The cell of this number, by its first address; it is kept."""
        facts = work_out(self._kind(self.begins[at]), self._limits)
        found = Cell(not facts.barred, facts.always, facts.lifetime_seconds)
        self.cells[at] = found
        return found


def _networks(limits: Limits) -> list[address.Network]:
    """Every network that makes a difference."""
    named = (*limits.own_addresses, *limits.never, *limits.proxies, *limits.always)
    timed = (net for net, _seconds in limits.lifetime_by_network)
    return [*(net for net, _reason in NEVER), *named, *timed, _MAPPED]
