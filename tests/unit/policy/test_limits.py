"""popauthd.policy.limits: the lifetime of a login, and when logins that stand must be judged again."""

from __future__ import annotations

from dataclasses import replace

from popauthd.config.values import lifetimes
from popauthd.model import Grant
from popauthd.policy.decide import decide
from popauthd.policy.limits import fingerprint, longest_lifetime
from popauthd.policy.user_list import parse
from tests.support.policy import LOGIN, NOW, default_limits, nets


def test_the_narrowest_network_says_the_lifetime() -> None:
    rows = lifetimes({"10.0.0.0/8": "1h", "10.1.0.0/16": "2h", "2001:db8::/32": "1m"})
    limits = default_limits(lifetime_by_network=rows)
    wanted = {"10.9.9.9": 3600, "10.1.2.3": 7200, "192.0.2.1": 900, "2001:db8::7": 60, "2001:db9::7": 900}
    for client, seconds in wanted.items():
        verdict = decide(replace(LOGIN, address=client, at=NOW), limits, NOW)
        assert isinstance(verdict, Grant)
        assert verdict.expires_at == NOW + seconds
    assert longest_lifetime(limits) == 7200
    old = replace(LOGIN, address="10.1.2.3", at=NOW - 7000)
    assert isinstance(decide(old, limits, NOW), Grant), "longer than the general lifetime"


def test_the_fingerprint_tells_lists_apart() -> None:
    prints = [fingerprint(default_limits(users=found)) for found in (None, parse(""), parse("bob"), parse("alice"))]
    assert len(set(prints)) == 4
    assert fingerprint(default_limits(users=parse("b\na"))) == fingerprint(default_limits(users=parse("a\nb")))


def test_the_fingerprint_tells_neither_the_order_nor_what_was_worked_out() -> None:
    limits = default_limits(never=nets("10.0.0.0/8", "192.0.2.64/26"))
    before = fingerprint(limits)
    decide(LOGIN, limits, NOW)
    assert limits.facts
    assert fingerprint(limits) == before == fingerprint(default_limits(never=nets("192.0.2.64/26", "10.0.0.0/8")))
