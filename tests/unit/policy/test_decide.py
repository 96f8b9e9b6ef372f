"""popauthd.policy.decide: which login grants, until when, and which grant still stands."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd import address
from popauthd.model import Grant, Login, Refusal
from popauthd.policy.cells import Cells
from popauthd.policy.decide import decide, user_grants
from popauthd.policy.user_list import parse
from popauthd.reasons import LOGINS
from tests.support.policy import LOGIN, NOW, default_limits, nets

LIMITS = default_limits(never=nets("203.0.113.0/24"), own_addresses=nets("198.51.100.9"))
LISTED = parse("alice\n@example.org\n")


@given(
    st.builds(
        Login,
        st.integers(-(1 << 40), 1 << 40),
        st.one_of(st.text(max_size=50), st.ip_addresses().map(str)),
        st.text(max_size=20),
        st.sampled_from(["imap", "pop3", "smtp", ""]),
        st.one_of(st.text(max_size=12), st.sampled_from(["PLAIN", "ANONYMOUS", " anonymous\t"])),
        st.booleans(),
        local_address=st.one_of(st.text(max_size=50), st.ip_addresses().map(str)),
    ),
    st.sampled_from([64, 128]),
    st.booleans(),
)
def test_whatever_a_login_says_it_is_judged(login: Login, prefix: int, strict: bool) -> None:
    limits = default_limits(ipv6_prefix=prefix, require_tls=strict, refuse_mechanisms=("LOGIN",) if strict else ())
    verdict = decide(login, limits, NOW)
    if isinstance(verdict, Refusal):
        assert verdict.reason in LOGINS
        return
    client = address.parse(login.address)
    assert client is not None
    assert client.is_loopback is client.is_multicast is client.is_link_local is False
    assert verdict.address in address.keys(str(client))
    assert verdict.address != str(address.parse(login.local_address))
    assert verdict.user
    assert login.method.strip().upper() != "ANONYMOUS"
    assert verdict.expires_at == login.at + 900 > NOW
    assert login.tls or not strict


STANDING = [
    ("nothing against it", {}, "192.0.2.10", "bob", True),
    ("never since", {"never": nets("192.0.2.0/24")}, "192.0.2.10", "bob", False),
    ("never since, by hand", {"never": nets("192.0.2.0/24")}, "192.0.2.10", "", False),
    ("the user is not listed", {"users": LISTED}, "192.0.2.10", "bob", False),
    ("the user is denied", {"denied": LISTED}, "192.0.2.10", "alice", False),
    ("the user is not denied", {"denied": LISTED}, "192.0.2.10", "bob", True),
    ("by hand, no user", {"users": LISTED}, "192.0.2.10", "", True),
    ("spared", {"users": LISTED, "always": nets("192.0.2.10")}, "192.0.2.10", "bob", True),
    ("protocols cannot be told", {"protocols": ("pop3",), "require_tls": True}, "192.0.2.10", "bob", True),
    ("a /64 that is none any more", {}, "2001:db8:1:2::/64", "bob", False),
    ("an address, where its /64 would be granted now", {"ipv6_prefix": 64}, "2001:db8:1:2::7", "bob", True),
    ("a /64", {"ipv6_prefix": 64}, "2001:db8:1:2::/64", "bob", True),
    (
        "a /64 with a proxy in it",
        {"ipv6_prefix": 64, "proxies": nets("2001:db8:1:2::9")},
        "2001:db8:1:2::/64",
        "bob",
        False,
    ),
]


@pytest.mark.parametrize(
    ("limits", "granted", "user", "stands"), [row[1:] for row in STANDING], ids=[row[0] for row in STANDING]
)
def test_what_stands_can_be_judged_again(limits: dict[str, object], granted: str, user: str, stands: bool) -> None:
    now = default_limits(**limits)
    grants, always, _lifetime = Cells(now).of(granted)
    assert (grants and (not user or always or user_grants(user, now))) is stands


@pytest.mark.parametrize("at", [NOW, NOW - 899, NOW + 120])
def test_a_grant_runs_from_the_logins_own_time_but_never_from_the_future(at: int) -> None:
    from_then = min(at, NOW)
    found = decide(replace(LOGIN, at=at), LIMITS, NOW)
    assert found == Grant(
        "192.0.2.10", "alice", from_then, from_then + 900, "dovecot", at - from_then, "imap", LOGIN.method, LOGIN.tls
    )
    assert isinstance(found, Grant)
    assert found.stamped_at == at


@pytest.mark.parametrize("client", ["10.1.2.3", "100.64.3.4", "2001:db8::7", "192.168.1.1"])
def test_private_and_shared_clients_are_granted_unless_listed(client: str) -> None:
    assert isinstance(decide(replace(LOGIN, address=client), LIMITS, NOW), Grant)
