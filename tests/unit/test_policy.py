"""popauthd.policy: which login grants, until when, and why not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from popauthd import address, policy
from popauthd.model import Grant, Login, Refusal
from popauthd.policy import Limits, decide

NOW = 1_795_467_610
LOGIN = Login(NOW - 10, "192.0.2.10", "alice", "imap", local_address="198.51.100.5", format="dovecot")
LIMITS = Limits(never=(address.network("203.0.113.0/24"),), own_addresses=(address.network("198.51.100.9"),))

REFUSED = [
    ("loopback", {"address": "127.0.0.1"}, "loopback"),
    ("loopback, another one", {"address": "127.8.8.8"}, "loopback"),
    ("loopback, mapped", {"address": "::ffff:127.0.0.1"}, "loopback"),
    ("loopback, IPv6", {"address": "::1"}, "loopback"),
    ("unspecified", {"address": "0.0.0.0"}, "unspecified"),
    ("unspecified, IPv6", {"address": "::"}, "unspecified"),
    ("multicast", {"address": "224.0.0.1"}, "multicast"),
    ("multicast, IPv6", {"address": "ff02::1"}, "multicast"),
    ("broadcast", {"address": "255.255.255.255"}, "broadcast"),
    ("reserved", {"address": "250.1.1.1"}, "reserved"),
    ("IPv4-compatible", {"address": "::192.0.2.1"}, "reserved"),
    ("link-local", {"address": "169.254.1.1"}, "link-local"),
    ("link-local, IPv6", {"address": "fe80::1"}, "link-local"),
    ("rip = lip", {"address": "198.51.100.5"}, "own-address"),
    (
        "rip = lip, written in two ways",
        {"address": "198.51.100.5", "local_address": "::ffff:198.51.100.5"},
        "own-address",
    ),
    ("own by configuration", {"address": "198.51.100.9"}, "own-address"),
    ("never", {"address": "203.0.113.77"}, "never"),
    ("never, mapped", {"address": "::ffff:203.0.113.77"}, "never"),
    ("not an address", {"address": "192.0.2.256"}, "bad-address"),
    ("expired this second", {"at": NOW - 900}, "expired"),
    ("future", {"at": NOW + 121}, "future"),
]


@pytest.mark.parametrize(("change", "reason"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_a_refused_login_carries_its_reason(change: dict[str, object], reason: str) -> None:
    verdict = decide(replace(LOGIN, **change), LIMITS, NOW)  # type: ignore[arg-type]
    assert isinstance(verdict, Refusal)
    assert verdict.reason == reason
    assert reason in policy.REASONS


@pytest.mark.parametrize("at", [NOW, NOW - 899, NOW + 120])
def test_a_grant_runs_from_the_logins_own_time(at: int) -> None:
    assert decide(replace(LOGIN, at=at), LIMITS, NOW) == Grant("192.0.2.10", "alice", at, at + 900, "dovecot")


@pytest.mark.parametrize("client", ["10.1.2.3", "100.64.3.4", "2001:db8::7", "192.168.1.1"])
def test_private_and_shared_clients_are_granted_unless_listed(client: str) -> None:
    assert isinstance(decide(replace(LOGIN, address=client), LIMITS, NOW), Grant)


@pytest.mark.parametrize("client", ["127.0.0.2", "::1"])
def test_the_demo_setting_lifts_the_loopback_rule_alone(client: str) -> None:
    lifted = Limits(grant_loopback=True)
    assert isinstance(decide(replace(LOGIN, address=client, local_address=client), lifted, NOW), Grant)
    assert isinstance(decide(replace(LOGIN, address="0.0.0.0"), lifted, NOW), Refusal)
