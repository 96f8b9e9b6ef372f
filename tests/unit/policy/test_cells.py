"""popauthd.policy.cells: a key's cell says of it what its own facts say, whatever the limits name."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd import address
from popauthd.policy.address_facts import facts_of, key
from popauthd.policy.cells import Cell, Cells
from popauthd.policy.limits import Limits
from tests.support.policy import default_limits, nets

EDGES = [
    "127.0.0.1/32", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "0.0.0.0/0", "255.255.255.255/32",
    "192.0.2.0/25", "192.0.2.128/25", "::/0", "2001:db8::/32", "2001:db8:1:2::/64", "2001:db8:1:2:8000::/65",
    "2001:db8:1:2::7/128", "2001:db8:1:3::/64", "::fffe:0:0/96", "ffff:ffff:ffff:ffff::/64",
]  # fmt: skip
some = st.lists(st.sampled_from(EDGES), max_size=3).map(lambda texts: nets(*texts))


def near(text: str) -> st.SearchStrategy[str]:
    """Addresses at the edges of a network, and just outside of it."""
    net = address.network(text)
    edges = (int(net.network_address), int(net.broadcast_address))
    numbers = {number + step for number in edges for step in (-1, 0, 1)}
    return st.sampled_from(
        [str(net[0] + (number - edges[0])) for number in numbers if 0 <= number < 1 << net.max_prefixlen]
    )


clients = st.one_of(st.ip_addresses().map(str), *map(near, EDGES)).map(address.canonical)


@given(
    st.fixed_dictionaries(
        {
            "never": some,
            "own_addresses": some,
            "proxies": some,
            "always": some,
            "lifetime_by_network": some.map(
                lambda found: tuple((net, 60 + number) for number, net in enumerate(found))
            ),
            "ipv6_prefix": st.sampled_from([64, 128]),
            "grant_loopback": st.booleans(),
        }
    ),
    st.lists(clients, min_size=1, max_size=8),
)
def test_a_cell_says_what_an_address_s_own_facts_say(changes: dict[str, object], texts: list[str]) -> None:
    limits = default_limits(**changes)
    cells = Cells(limits)
    for text in texts:
        assert cells.of(text) == alone(text, limits), text
        if ":" in text:
            site = str(address.net64(ipaddress.IPv6Address(text)))
            assert cells.of(site) == alone(site, limits), site


def alone(granted: str, limits: Limits) -> Cell:
    """The same of one key, by the facts of its own address."""
    facts = facts_of(granted.partition("/")[0], limits)
    good = not facts.barred and ("/" not in granted or key(facts, "", limits) == granted)
    return Cell(good, facts.always, facts.lifetime_seconds)


@pytest.mark.parametrize(
    ("granted", "grants"),
    [("203.0.112.255", True), ("203.0.113.0", False), ("203.0.113.255", False), ("203.0.114.0", True)],
)
def test_a_network_begins_and_ends_where_it_says(granted: str, grants: bool) -> None:
    assert Cells(default_limits(never=nets("203.0.113.0/24"))).of(granted).grants is grants
