"""popauthd.sources.push.messages: what Dovecot tells of logins, and nothing that a user's name could add to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd.model import Failure, Ignored, Login
from popauthd.protocol import NEED_MORE, Bad, NeedMore
from popauthd.sources.push.messages import PUSH_BYTES, read_push, read_report, sent_at
from tests.support.push_messages import ALL, NEEDED, NOW, REPORT, push

NOT_OURS = Bad("not from popauthd's script, or from another version of it")
ODD_FIELD = Bad("a field that is unknown, empty, or there twice")


def login(user: str = "anna", **changes: Any) -> Login:
    values: dict[str, Any] = {"at": NOW, "address": "192.0.2.7", "user": user, "protocol": "imap", "format": "dovecot"}
    return Login(**{**values, **changes})


PUSHES = [
    ("what is needed", push(*NEEDED), login()),
    (
        "everything",
        push(*ALL),
        login(method="PLAIN", tls=True, session="aKTnLvhgIrN/AAAB", local_address="198.51.100.5"),
    ),
    ("secured is not TLS", push(*NEEDED, b"secured=secured"), login()),
    ("IPv6", push(NEEDED[0], b"address=2001:db8::7", *NEEDED[2:]), login(address="2001:db8::7")),
    ("mapped, for policy to read", push(NEEDED[0], b"address=::ffff:192.0.2.7", *NEEDED[2:]),
     login(address="::ffff:192.0.2.7")),
    ("a name with line feeds", push(*NEEDED[:2], b"user=a\nuser=b\r\n", NEEDED[3]), login("a?user=b??")),
    ("a name that looks like fields", push(*NEEDED[:2], b"user=a address=192.0.2.8", NEEDED[3]),
     login("a address=192.0.2.8")),
    ("a name that is no UTF-8", push(*NEEDED[:2], b"user=\xff", NEEDED[3]), login("\\xff")),
    ("a name that is empty, for policy to refuse", push(*NEEDED[:2], b"user=", NEEDED[3]), login("")),
    ("no field at all: am I heard?", push(), Ignored("asked", "dovecot")),
    ("no field, and more behind it", push() + b"at=1", Bad("more than one message")),
    ("nothing yet", b"", NEED_MORE),
    ("torn in the version", b"popauthd-lo", NEED_MORE),
    ("torn in a field", push(*NEEDED)[:40], NEED_MORE),
    ("without its end", push(*NEEDED)[:-1], NEED_MORE),
    ("another version", push(*NEEDED, version=b"popauthd-login-2"), NOT_OURS),
    ("another version, torn", b"popauthd-login-2\0at=", NOT_OURS),
    ("something else", b"GET / HTTP/1.1\r\n", NOT_OURS),
    ("a field twice", push(*NEEDED, b"user=berta"), ODD_FIELD),
    ("a field nobody knows", push(*NEEDED, b"admin=yes"), ODD_FIELD),
    ("a field without a value", push(*NEEDED, b"session"), ODD_FIELD),
    ("no address", push(NEEDED[0], *NEEDED[2:]), Bad("no address")),
    ("a long name", push(*NEEDED[:2], b"user=" + b"x" * 513, NEEDED[3]), Bad("user is not as it should be")),
    ("an address with a port", push(NEEDED[0], b"address=192.0.2.7 25", *NEEDED[2:]),
     Bad("address is not as it should be")),
    ("a time that is none", push(b"at=-1", *NEEDED[1:]), Bad("at is not as it should be")),
    ("smtp", push(*NEEDED[:3], b"protocol=smtp"), Bad("neither imap nor pop3")),
    ("two messages", push(*NEEDED) + push(*NEEDED), ODD_FIELD),
    ("two messages, the second torn", push(*NEEDED) + b"popa", Bad("more than one message")),
    ("too long", push(*NEEDED) + b"x" * PUSH_BYTES, Bad("too long")),
]  # fmt: skip


@pytest.mark.parametrize(("data", "outcome"), [row[1:] for row in PUSHES], ids=[row[0] for row in PUSHES])
def test_a_push_has_one_of_three_outcomes(data: bytes, outcome: object) -> None:
    assert read_push(data) == outcome


REPORTED = login(method="PLAIN", tls=True, session="aKTn/AAAB", local_address="198.51.100.5")
REPORTS = [
    ("a login", {}, REPORTED),
    ("what is not asked for is not looked at", {"device_id": ["x"], "pwhash": "0d97"}, REPORTED),
    ("a failure", {"success": False}, Ignored("failed", "dovecot")),
    ("smtp", {"protocol": "smtp"}, Ignored("other-service", "dovecot")),
    ("submission", {"protocol": "submission"}, Ignored("other-service", "dovecot")),
    ("in capitals", {"protocol": "IMAP"}, Ignored("other-service", "dovecot")),
    ("proxied, 2.3", {"proxy": ""}, Ignored("proxied", "dovecot")),
    ("proxied, 2.4", {"proxy": "yes"}, Ignored("proxied", "dovecot")),
    ("not to be let in", {"nologin": ""}, Ignored("nologin", "dovecot")),
    ("from this host, without an address", {"remote": ""}, Ignored("no-address", "dovecot")),
    ("anonymous, for policy to refuse", {"mechanism": "ANONYMOUS"},
     login(method="ANONYMOUS", tls=True, session="aKTn/AAAB", local_address="198.51.100.5")),
    ("a quote and a line feed in the name", {"login": '","success":true\n'},
     login('","success":true?', method="PLAIN", tls=True, session="aKTn/AAAB", local_address="198.51.100.5")),
    ("half a surrogate", {"login": "\ud800"},
     login("\\ud800", method="PLAIN", tls=True, session="aKTn/AAAB", local_address="198.51.100.5")),
    ("success as text", {"success": "true"}, Bad("does not say success and tls")),
    ("success as a number", {"success": 1}, Bad("does not say success and tls")),
    ("without a word about proxies", {"proxy": None}, Bad("does not say proxy; see popauthd's snippet for Dovecot")),
    ("a list of addresses", {"remote": ["192.0.2.7"]}, Bad("an attribute that is not text")),
    ("an address that is none", {"remote": "mail.example.org"}, Bad("remote is not as it should be")),
    ("a hash for an address", {"remote": "0d97"}, login(address="0d97", method="PLAIN", tls=True, session="aKTn/AAAB",
                                                         local_address="198.51.100.5")),
    ("a long name", {"login": "x" * 513}, Bad("login is not as it should be")),
    ("a NUL in the name", {"login": "a\0b"}, Bad("login is not as it should be")),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "outcome"), [row[1:] for row in REPORTS], ids=[row[0] for row in REPORTS])
def test_a_report_is_a_login_or_says_why_not(changes: dict[str, object], outcome: object) -> None:
    assert read_report(json.dumps({**REPORT, **changes}).encode(), NOW) == outcome


BODIES = [
    ("nothing", b"", Bad("not JSON, or a key twice")),
    ("not JSON", b"login=anna", Bad("not JSON, or a key twice")),
    ("not UTF-8", b'{"login":"\xff"}', Bad("not JSON, or a key twice")),
    ("deeply nested", b"[" * 8000, Bad("not JSON, or a key twice")),
    ("a huge number", b'{"a":' + b"9" * 8000 + b"}", Bad("not JSON, or a key twice")),
    ("NaN", b'{"success":NaN}', Bad("not JSON, or a key twice")),
    ("a list", b"[]", Bad("not a JSON object")),
    ("failure, then success", b'{"success":false,"success":true}', Bad("not JSON, or a key twice")),
]


@pytest.mark.parametrize(("body", "outcome"), [row[1:] for row in BODIES], ids=[row[0] for row in BODIES])
def test_a_body_that_is_no_report_is_bad(body: bytes, outcome: object) -> None:
    assert read_report(body, NOW) == outcome


def test_a_report_counts_from_when_it_was_sent() -> None:
    assert sent_at(b"Mon, 23 Nov 2026 21:30:00 GMT", 2 * NOW) == 1_795_469_400
    assert sent_at(b"Mon, 23 Nov 2026 21:30:00 GMT", 5) == 5  # never ahead of our own clock
    for odd in (b"", b"yesterday", b"\xff", b"Mon, 23 Nov 2026 21:30:00 +0100", b"Mon, 99 Nov 2026 21:30:00 GMT"):
        assert sent_at(odd, NOW) == NOW


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_any_bytes_are_an_outcome_and_never_an_exception(data: bytes, more: bytes) -> None:
    for tried in (
        data,
        push(*ALL)[:60] + data,
        push(*NEEDED, data),
        push(*NEEDED[:2], b"user=" + data, NEEDED[3], more),
    ):
        assert isinstance(read_push(tried), (NeedMore, Login, Ignored, Bad))
    assert isinstance(read_report(data, NOW), (Login, Ignored, Bad))
    assert 0 <= sent_at(data, NOW) <= NOW


TEXTS = st.text('noimap3192."\\\n\0\u202e', max_size=10)


@given(st.binary(max_size=600).filter(lambda name: b"\0" not in name))
def test_no_name_changes_what_else_is_told(name: bytes) -> None:
    told = read_push(push(*NEEDED[:2], b"user=" + name, NEEDED[3]))
    assert isinstance(told, Bad) or (told.at, told.address, told.protocol) == (NOW, "192.0.2.7", "imap")  # type: ignore[union-attr]


@given(st.dictionaries(st.sampled_from([*REPORT]), st.none() | st.booleans() | TEXTS | st.integers() | st.lists(TEXTS)))
def test_only_a_clear_success_is_a_login(changes: dict[str, object]) -> None:
    report = {**REPORT, **changes}
    told = read_report(json.dumps(report).encode(), NOW)
    if isinstance(told, Login):
        assert report["success"] is True
        assert (report["proxy"], report["nologin"]) == ("no", "no")
        assert report["protocol"] in ("imap", "pop3")
        assert told.address == report["remote"]


@pytest.mark.parametrize(
    ("remote", "failed"),
    [
        ("192.0.2.7", Failure(1_000_000_000, "192.0.2.7", "anna")),
        ("::ffff:192.0.2.7", Failure(1_000_000_000, "192.0.2.7", "anna")),
        ("", None),
        (7, None),
    ],
)
def test_a_report_of_a_failure_says_who_failed_from_where(remote: object, failed: Failure | None) -> None:
    told = read_report(json.dumps({**REPORT, "success": False, "remote": remote}).encode(), 1_000_000_000)
    assert isinstance(told, Ignored)
    assert told.failed == failed
