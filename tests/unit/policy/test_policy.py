"""popauthd.policy: which login grants, until when, and why not."""

from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd import address, policy
from popauthd.config.values import lifetimes
from popauthd.model import Grant, Login, Refusal
from popauthd.policy import Limits, decide
from popauthd.policy.user_list import parse

NOW = 1_795_467_610
LOGIN = Login(NOW - 10, "192.0.2.10", "alice", "imap", local_address="198.51.100.5", format="dovecot")
LIMITS = Limits(never=(address.network("203.0.113.0/24"),), own_addresses=(address.network("198.51.100.9"),))


def nets(*texts: str) -> tuple[address.Network, ...]:
    return tuple(address.network(text) for text in texts)


LONG, CUT = "x" * 90, "x" * 77 + "..."
LISTED = parse("alice\n@example.org\n")
RULED: list[tuple[str, dict[str, object], dict[str, object], str]] = [
    # label, limits, login, reason ("" for a grant)
    ("a proxy", {"proxies": nets("192.0.2.0/28")}, {}, "proxy"),
    ("another protocol", {"protocols": ("pop3",)}, {}, "protocol"),
    ("this protocol", {"protocols": ("imap",)}, {}, ""),
    ("without TLS", {"require_tls": True}, {}, "no-tls"),
    ("with TLS", {"require_tls": True}, {"tls": True}, ""),
    ("a refused mechanism", {"refuse_mechanisms": ("LOGIN",)}, {"method": "LOGIN"}, "mechanism"),
    ("another mechanism", {"refuse_mechanisms": ("LOGIN",)}, {"method": "PLAIN"}, ""),
    ("an unknown mechanism", {"refuse_mechanisms": ("LOGIN",)}, {"method": ""}, "mechanism"),
    ("a refused mechanism in small letters", {"refuse_mechanisms": ("LOGIN",)}, {"method": "login"}, "mechanism"),
    ("anonymous", {}, {"method": "ANONYMOUS"}, "anonymous"),
    ("anonymous in small letters", {}, {"method": "anonymous"}, "anonymous"),
    ("no user, which would be a grant by hand", {}, {"user": ""}, "no-user"),
    ("no user, always", {"always": nets("192.0.2.10")}, {"user": ""}, "no-user"),
    ("anonymous, always", {"always": nets("192.0.2.10")}, {"method": "ANONYMOUS"}, "anonymous"),
    ("a listed user", {"users": LISTED}, {}, ""),
    ("a user of a listed domain", {"users": LISTED}, {"user": "X@Example.Org"}, ""),
    ("a user not listed", {"users": LISTED}, {"user": "bob"}, "user-not-listed"),
    ("an empty list", {"users": parse("")}, {}, "user-not-listed"),
    ("a denied user", {"denied": LISTED}, {}, "user-denied"),
    ("denied and listed", {"denied": LISTED, "users": LISTED}, {}, "user-denied"),
    ("not denied", {"denied": LISTED}, {"user": "bob"}, ""),
    (
        "always spares all of these",
        {
            "always": nets("192.0.2.0/24"),
            "protocols": ("pop3",),
            "require_tls": True,
            "refuse_mechanisms": ("PLAIN",),
            "denied": LISTED,
        },
        {"method": "PLAIN"},
        "",
    ),
    ("never wins over always", {"always": nets("192.0.2.0/24"), "never": nets("192.0.2.10")}, {}, "never"),
    ("a proxy wins over always", {"always": nets("192.0.2.0/24"), "proxies": nets("192.0.2.10")}, {}, "proxy"),
    ("expired comes last", {"users": LISTED}, {"user": "bob", "at": NOW - 5000}, "user-not-listed"),
    ("expired", {"users": LISTED}, {"at": NOW - 5000}, "expired"),
    ("a name that was cut may be denied", {"denied": parse(LONG + "@example.org")}, {"user": CUT}, "user-denied"),
    ("a name that was cut is not this denied one", {"denied": parse("y" + LONG)}, {"user": CUT}, ""),
    ("a name that was cut may not be listed", {"users": parse(LONG)}, {"user": CUT}, "user-not-listed"),
    ("everybody is listed", {"users": parse("*")}, {"user": CUT}, ""),
    ("everybody but one who may be this", {"users": parse(f"*\n!{LONG}")}, {"user": CUT}, "user-not-listed"),
    ("everybody but another", {"users": parse(f"*\n!y{LONG}")}, {"user": CUT}, ""),
]


@pytest.mark.parametrize(("limits", "change", "reason"), [row[1:] for row in RULED], ids=[row[0] for row in RULED])
def test_the_rules(limits: dict[str, object], change: dict[str, object], reason: str) -> None:
    verdict = decide(replace(LOGIN, **change), Limits(**limits), NOW)  # type: ignore[arg-type]
    assert (verdict.reason if isinstance(verdict, Refusal) else "") == reason
    assert not reason or reason in policy.REASONS


def test_the_narrowest_network_says_the_lifetime() -> None:
    rows = lifetimes({"10.0.0.0/8": "1h", "10.1.0.0/16": "2h", "2001:db8::/32": "1m"})
    limits = Limits(lifetime_by_network=rows)
    wanted = {"10.9.9.9": 3600, "10.1.2.3": 7200, "192.0.2.1": 900, "2001:db8::7": 60, "2001:db9::7": 900}
    for client, seconds in wanted.items():
        verdict = decide(replace(LOGIN, address=client, at=NOW), limits, NOW)
        assert isinstance(verdict, Grant)
        assert verdict.expires_at == NOW + seconds
    assert policy.longest_lifetime(limits) == 7200
    old = replace(LOGIN, address="10.1.2.3", at=NOW - 7000)
    assert isinstance(decide(old, limits, NOW), Grant), "longer than the general lifetime"


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
    verdict = decide(login, Limits(ipv6_prefix=64, **limits), NOW)  # type: ignore[arg-type]
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
    limits = Limits(ipv6_prefix=64, never=never, proxies=proxies, always=always, require_tls=True)
    verdict = decide(replace(LOGIN, address=f"2001:db8::{mine:x}"), limits, NOW)
    neighbour = decide(replace(LOGIN, address=f"2001:db8::{other:x}"), limits, NOW)
    if isinstance(verdict, Grant) and verdict.address.endswith("/64"):
        assert isinstance(neighbour, Grant)
        assert neighbour.address == verdict.address


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
    limits = Limits(ipv6_prefix=prefix, require_tls=strict, refuse_mechanisms=("LOGIN",) if strict else ())
    verdict = decide(login, limits, NOW)
    if isinstance(verdict, Refusal):
        assert verdict.reason in policy.REASONS
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


def test_what_is_remembered_of_an_address_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy, "REMEMBERED", 3)
    limits = Limits()
    for number in range(10):
        assert isinstance(decide(replace(LOGIN, address=f"192.0.2.{number}"), limits, NOW), Grant)
        decide(replace(LOGIN, address="x" * number), limits, NOW)
        assert len(limits.standings) <= 3


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
    assert policy.still_grants(granted, user, Limits(**limits)) is stands  # type: ignore[arg-type]


def test_the_fingerprint_tells_lists_apart() -> None:
    prints = [policy.fingerprint(Limits(users=found)) for found in (None, parse(""), LISTED, parse("alice"))]
    assert len(set(prints)) == 4
    assert policy.fingerprint(Limits(users=parse("b\na"))) == policy.fingerprint(Limits(users=parse("a\nb")))


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


def test_why_nobody_may_have_an_address_is_a_word_or_nothing() -> None:
    reasons = [policy.never_reason(ipaddress.ip_address(text), LIMITS) for text in ("192.0.2.10", "203.0.113.1")]
    assert reasons == ["", "never"]


@pytest.mark.parametrize("client", ["127.0.0.2", "::1"])
def test_the_demo_setting_lifts_the_loopback_rule_alone(client: str) -> None:
    lifted = Limits(grant_loopback=True)
    assert isinstance(decide(replace(LOGIN, address=client, local_address=client), lifted, NOW), Grant)
    assert isinstance(decide(replace(LOGIN, address="0.0.0.0"), lifted, NOW), Refusal)


def test_each_reason_is_explained_in_a_sentence_of_its_own() -> None:
    sentences = list(policy.REASONS.values())
    assert [text for text in sentences if not (text[:1].isupper() and text.endswith("."))] == []
    assert len(set(sentences) - {"A reserved address; no client has it."}) == len(sentences) - 1
