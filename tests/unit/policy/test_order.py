"""popauthd.policy.order: what is against a login, in which order, and by which word it is told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from popauthd.model import Grant, Refusal
from popauthd.policy.decide import decide
from popauthd.policy.user_list import parse
from popauthd.reasons import LOGINS
from tests.support.policy import LOGIN, NOW, default_limits, nets

LIMITS = default_limits(never=nets("203.0.113.0/24"), own_addresses=nets("198.51.100.9"))
LISTED = parse("alice\n@example.org\n")
LONG, CUT = "x" * 90, "x" * 77 + "..."
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
    verdict = decide(replace(LOGIN, **change), default_limits(**limits), NOW)  # type: ignore[arg-type]
    assert (verdict.reason if isinstance(verdict, Refusal) else "") == reason
    assert not reason or reason in LOGINS


# All that can be against a login, in the order of the policy: the reason, then the limits and the login that cause it.
STEPS: list[tuple[str, dict[str, object], dict[str, object]]] = [
    ("bad-address", {}, {"address": "127.0.0.256"}),
    ("loopback", {}, {"address": "127.0.0.1"}),
    ("own-address", {"own_addresses": nets("192.0.2.10")}, {}),
    ("never", {"never": nets("192.0.2.10")}, {}),
    ("proxy", {"proxies": nets("192.0.2.10")}, {}),
    ("own-address", {}, {"local_address": "192.0.2.10"}),
    ("anonymous", {}, {"method": "ANONYMOUS"}),
    ("no-user", {}, {"user": ""}),
    ("protocol", {"protocols": ("pop3",)}, {}),
    ("mechanism", {"refuse_mechanisms": ("LOGIN",)}, {"method": "LOGIN"}),
    ("no-tls", {"require_tls": True}, {}),
    ("user-denied", {"denied": parse("*")}, {}),
    ("user-not-listed", {"users": parse("")}, {}),
    ("future", {}, {"at": NOW + 121}),
    ("expired", {}, {"at": NOW - 900}),
]


@pytest.mark.parametrize("number", range(len(STEPS)), ids=[f"{n}-{row[0]}" for n, row in enumerate(STEPS, 1)])
def test_the_first_of_all_that_is_against_a_login_is_told(number: int) -> None:
    limits: dict[str, object] = {}
    login: dict[str, object] = {}
    for _reason, of_limits, of_login in reversed(STEPS[number:]):
        limits |= of_limits
        login |= of_login
    verdict = decide(replace(LOGIN, **login), default_limits(**limits), NOW)  # type: ignore[arg-type]
    assert isinstance(verdict, Refusal)
    assert verdict.reason == STEPS[number][0]


def test_reasons_are_listed_in_the_order_of_the_policy() -> None:
    steps = list(dict.fromkeys(reason for reason, _limits, _login in STEPS))
    assert [reason for reason in LOGINS if reason in steps] == steps
    assert list(LOGINS)[-2:] == ["revoked", "shared-address"], "asked of the books, after all others"


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
    assert reason in LOGINS


@pytest.mark.parametrize("client", ["127.0.0.2", "::1"])
def test_the_demo_setting_lifts_the_loopback_rule_alone(client: str) -> None:
    lifted = default_limits(grant_loopback=True)
    assert isinstance(decide(replace(LOGIN, address=client, local_address=client), lifted, NOW), Grant)
    assert isinstance(decide(replace(LOGIN, address="0.0.0.0"), lifted, NOW), Refusal)


def test_each_reason_is_explained_in_a_sentence_of_its_own() -> None:
    sentences = list(LOGINS.values())
    assert [text for text in sentences if not (text[:1].isupper() and text.endswith("."))] == []
    assert len(set(sentences) - {"A reserved address; no client has it."}) == len(sentences) - 1
