"""popauthd.policy.address_facts: what is granted for an address, and which address nobody can have granted."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd import address
from popauthd.config.values import lifetimes
from popauthd.model import Grant
from popauthd.policy import address_facts
from popauthd.policy.decide import decide
from tests.support.policy import LOGIN, NOW, default_limits, nets

PREFIXES = [
    ("an address", {}, "2001:db8:1:2:3::7", "2001:db8:1:2::/64"),
    ("IPv4", {}, "192.0.2.10", "192.0.2.10"),
    ("a never network inside", {"never": nets("2001:db8:1:2:ffff::/80")}, "2001:db8:1:2:3::7", "2001:db8:1:2:3::7"),
    ("a proxy inside", {"proxies": nets("2001:db8:1:2::1")}, "2001:db8:1:2:3::7", "2001:db8:1:2:3::7"),
    ("an own address inside", {"own_addresses": nets("2001:db8:1:2::5")}, "2001:db8:1:2::7", "2001:db8:1:2::7"),
    ("always for one address", {"always": nets("2001:db8:1:2::7")}, "2001:db8:1:2::7", "2001:db8:1:2::7"),
    ("always for all of it", {"always": nets("2001:db8:1:2::/64")}, "2001:db8:1:2::7", "2001:db8:1:2::/64"),
    ("always for more", {"always": nets("2001:db8::/32")}, "2001:db8:1:2::7", "2001:db8:1:2::/64"),
    (
        "a lifetime for a part of it",
        {"lifetime_by_network": lifetimes({"2001:db8:1:2::/80": "1h"})},
        "2001:db8:1:2::7",
        "2001:db8:1:2::7",
    ),
    ("lip inside", {}, "2001:db8:1:5::7", "2001:db8:1:5::7"),
    ("a never network elsewhere", {"never": nets("2001:db8:1:3::/64")}, "2001:db8:1:2::7", "2001:db8:1:2::/64"),
]


@pytest.mark.parametrize(("limits", "client", "key"), [row[1:] for row in PREFIXES], ids=[row[0] for row in PREFIXES])
def test_a_64_is_granted_only_if_all_of_it_may_be(limits: dict[str, object], client: str, key: str) -> None:
    login = replace(LOGIN, address=client, local_address="2001:db8:1:5::1")
    verdict = decide(login, default_limits(ipv6_prefix=64, **limits), NOW)
    assert isinstance(verdict, Grant)
    assert verdict.address == key


NAMED = st.lists(
    st.builds(
        lambda part, length: nets("2001:db8::/" + str(length) if length < 65 else f"2001:db8::{part:x}")[0],
        st.integers(1, 6),
        st.sampled_from([60, 64, 128]),
    ),
    max_size=3,
).map(tuple)


@given(NAMED, NAMED, NAMED, st.integers(1, 6), st.integers(1, 6))
def test_a_64_never_opens_an_address_that_its_own_login_would_not(
    never: tuple[address.Network, ...],
    proxies: tuple[address.Network, ...],
    always: tuple[address.Network, ...],
    mine: int,
    other: int,
) -> None:
    limits = default_limits(ipv6_prefix=64, never=never, proxies=proxies, always=always, require_tls=True)
    verdict = decide(replace(LOGIN, address=f"2001:db8::{mine:x}"), limits, NOW)
    neighbour = decide(replace(LOGIN, address=f"2001:db8::{other:x}"), limits, NOW)
    if isinstance(verdict, Grant) and verdict.address.endswith("/64"):
        assert isinstance(neighbour, Grant)
        assert neighbour.address == verdict.address


def test_what_follows_from_an_address_is_worked_out_once() -> None:
    limits = default_limits()
    found = [address_facts.facts_of(text, limits) for text in ("192.0.2.1", "192.0.2.2")]
    assert address_facts.facts_of("192.0.2.1", limits) is found[0]
    assert address_facts.facts_of("192.0.2.2", limits) is found[1]


def test_what_is_remembered_of_an_address_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(address_facts, "REMEMBERED", 3)
    limits = default_limits()
    for number in range(10):
        assert isinstance(decide(replace(LOGIN, address=f"192.0.2.{number}"), limits, NOW), Grant)
        decide(replace(LOGIN, address="x" * number), limits, NOW)
        assert len(limits.facts) <= 3


def test_why_nobody_may_have_an_address_is_a_word_or_nothing() -> None:
    limits = default_limits(never=nets("203.0.113.0/24"))
    reasons = [address_facts.never_reason(ipaddress.ip_address(text), limits) for text in ("192.0.2.10", "203.0.113.1")]
    assert reasons == ["", "never"]
