"""Dovecot's lines: every sample of tests/corpus/dovecot.txt, and the values that come out of a login."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.formats.servers import FORMATS
from popauthd.model import Event, Ignored, Login, Refusal, SessionEnd
from popauthd.reasons import IGNORED, LINES
from tests.support.corpus_samples import NOW, samples, word
from tests.support.dovecot_lines import END, LINE, OTHER_HOST, SAMPLES


@pytest.mark.parametrize(
    ("framing", "verdict", "line"),
    [pytest.param(*row[1:], id=f"{row.number} {row.framing} {row.verdict}") for row in samples(SAMPLES)],
)
def test_a_sample_line_has_its_verdict(framing: str, verdict: str, line: bytes) -> None:
    event = Recogniser(Options(framing, timezone="UTC")).line(line, NOW)
    assert word(event) == verdict
    if isinstance(event, Refusal | Ignored):
        assert event.reason in {**LINES, **IGNORED}


def test_a_login_comes_out_with_all_its_values() -> None:
    assert Recogniser(Options("dovecot-file", timezone="UTC")).line(LINE, NOW) == Login(
        NOW - 10,
        "192.0.2.10",
        "alice@example.org",
        "imap",
        method="PLAIN",
        tls=True,
        session="aKTnLvhgIrN/AAAB",
        local_address="198.51.100.5",
        format="dovecot",
    )


NEW = LINE.replace(b"Login: ", b"Logged in: ")
START = LINE[: LINE.index(b"user=")]
DOVECOT, OLDEST = "dovecot", "dovecot-0.99"
AT, WHO, FROM = NOW - 10, "alice@example.org", "192.0.2.10"
OLD = b"imap-login: 2026-11-23 21:00:00 Info: Login: alice [192.0.2.10]"
CIPHER = b"TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"
WHOLE = Login(AT, FROM, WHO, "imap", "PLAIN", True, "aKTnLvhgIrN/AAAB", "198.51.100.5", DOVECOT)
SAID = [
    ("pop3", LINE.replace(b"imap", b"pop3"), replace(WHOLE, protocol="pop3")),
    (
        "of an address alone",
        START + b"user=<a>, rip=::1, lip=::2",
        Login(AT, "::1", "a", "imap", local_address="::2", format=DOVECOT),
    ),
    (
        "secured is not TLS",
        LINE.replace(b"TLS", b"secured").replace(b", session=<aKTnLvhgIrN/AAAB>", b""),
        replace(WHOLE, tls=False, session=""),
    ),
    ("2.4.1 leaves a comma where the last element is empty", NEW + b", ", WHOLE),
    ("2.3 leaves none", LINE + b", ", Refusal("bad-elements", AT, format=DOVECOT)),
    ("two commas", NEW + b", , ", Refusal("bad-elements", AT, format=DOVECOT)),
    ("nothing but a comma", NEW[: NEW.index(b"user=")] + b", ", Refusal("bad-elements", AT, format=DOVECOT)),
    ("a cipher is not TLS", LINE.replace(b"TLS", CIPHER), replace(WHOLE, tls=False)),
    ("a handshake is TLS", LINE.replace(b"TLS", b"TLS handshaking: x"), WHOLE),
    ("0.99", OLD, Login(AT, FROM, "alice", "imap", format=OLDEST)),
    ("0.99, POP", OLD.replace(b"imap", b"pop3"), Login(AT, FROM, "alice", "pop3", format=OLDEST)),
    ("an end", END, SessionEnd(AT, "aKTn", "alice", "imap", DOVECOT)),
    ("an end of pop3", END.replace(b"imap", b"pop3"), SessionEnd(AT, "aKTn", "alice", "pop3", DOVECOT)),
    ("two ciphers", LINE + b", " + CIPHER + b", " + CIPHER, Refusal("bad-elements", AT, format=DOVECOT)),
    ("two securities", LINE + b", secured", Refusal("bad-elements", AT, format=DOVECOT)),
    ("two sessions", LINE + b", session=<x>", Refusal("bad-elements", AT, format=DOVECOT)),
    (
        "a method of another form",
        LINE.replace(b"PLAIN", b"plain"),
        Refusal("bad-elements", AT, user=WHO, format=DOVECOT),
    ),
    ("a session of another form", LINE.replace(b"aKTn", b"a~"), Refusal("bad-elements", AT, user=WHO, format=DOVECOT)),
    ("no level", LINE.replace(b"Info: ", b""), Refusal("no-level", AT, format=DOVECOT)),
    ("another level", LINE.replace(b"Info: ", b"Warning: "), Refusal("no-level", AT, format=DOVECOT)),
    ("no user", LINE.replace(WHO.encode(), b""), Refusal("no-user", AT, format=DOVECOT)),
    ("no address", LINE.replace(b"rip=", b"tip="), Refusal("no-address", AT, user=WHO, format=DOVECOT)),
    ("a bad address", LINE.replace(b"192.0.2.10", b"192.0.2"), Refusal("bad-address", AT, user=WHO, format=DOVECOT)),
    ("a bad address of ours", LINE.replace(b"lip=198.", b"lip="), Refusal("bad-address", AT, user=WHO, format=DOVECOT)),
    ("anonymous", LINE.replace(b"PLAIN", b"ANONYMOUS"), Refusal("anonymous", AT, FROM, WHO, DOVECOT)),
    ("torn", LINE[: LINE.index(b", lip")], Refusal("torn", AT, user=WHO, format=DOVECOT)),
    (
        "not torn, with lip",
        START + b"user=<a>, lip=::2, rip=::1",
        Login(AT, "::1", "a", "imap", local_address="::2", format=DOVECOT),
    ),
    ("not torn, with mpid", START + b"user=<a>, mpid=1, rip=::1", Login(AT, "::1", "a", "imap", format=DOVECOT)),
    (
        "not torn, with session",
        START + b"session=<x>, user=<a>, rip=::1",
        Login(AT, "::1", "a", "imap", session="x", format=DOVECOT),
    ),
    ("another service", LINE.replace(b"imap-", b"submission-"), Ignored("other-service", DOVECOT)),
    ("a failure", LINE.replace(b"Info: Login: ", b"Info: Aborted login (x): "), Ignored("failure", DOVECOT)),
    (
        "a failure that tells so by its level",
        LINE.replace(b"Info: Login: ", b"Error: Quota: "),
        Ignored("failure", DOVECOT),
    ),
    ("another process, with an address", b"Nov 23 21:00:00 auth: Info: rip=192.0.2.10", Ignored("other")),
    ("another message", b"Nov 23 21:00:00 imap-login: Info: Logged out of x", Ignored("failure", DOVECOT)),
    ("another message, without an address", b"Nov 23 21:00:00 imap-login: Info: login: x", Ignored("other", DOVECOT)),
    (
        "another service's unknown message",
        LINE.replace(b"imap-", b"submission-").replace(b"Login: ", b"Welcome: "),
        Ignored("other", DOVECOT),
    ),
    ("an unknown message", LINE.replace(b"Login: ", b"Welcome: "), Refusal("unknown-message", AT, format=DOVECOT)),
    (
        "a failure with a success in it",
        LINE.replace(b"Login: ", b"Aborted login: Login: "),
        Refusal("hostile-failure", AT, format=DOVECOT),
    ),
    (
        "a failure with two addresses",
        LINE.replace(b"Login: ", b"Aborted login: RIP=x, "),
        Refusal("hostile-failure", AT, format=DOVECOT),
    ),
    (
        "a proxy",
        LINE.replace(b"Login: ", b"proxy(a): started proxying to x: "),
        Refusal("proxy-line", AT, format=DOVECOT),
    ),
    ("a proxy that fails", LINE.replace(b"Login: ", b"proxy(a): not started: "), Ignored("failure", DOVECOT)),
    ("another process", LINE.replace(b"imap-login", b"auth"), Refusal("wrong-process", AT, format=DOVECOT)),
    (
        "0.99, no address",
        OLD.replace(b"192.0.2.10", b"192.0.2"),
        Refusal("bad-address", AT, user="alice", format=OLDEST),
    ),
    ("0.99, more behind", OLD + b"x", Refusal("bad-elements", AT, format=OLDEST)),
    (
        "0.99, the text of a login",
        OLD.replace(b"Login: alice", b"Aborted: user=<a>, rip="),
        Refusal("bad-elements", AT, format=OLDEST),
    ),
    ("0.99, another level", OLD.replace(b"Info", b"Error"), Refusal("bad-elements", AT, format=OLDEST)),
    ("no such day", LINE.replace(b"Nov 23", b"Nov 31"), Refusal("bad-stamp", user=WHO, format=DOVECOT)),
    ("an end on no such day", END.replace(b"Nov 23", b"Nov 31"), Refusal("bad-stamp", user="alice", format=DOVECOT)),
    (
        "a bad address on no such day",
        LINE.replace(b"Nov 23", b"Nov 31").replace(b"192.0.2.10", b"1"),
        Refusal("bad-address", user=WHO, format=DOVECOT),
    ),
    (
        "a failure on no such day",
        LINE.replace(b"Nov 23", b"Nov 31").replace(b"Login: ", b"Login failed: "),
        Ignored("failure", DOVECOT),
    ),
]


@pytest.mark.parametrize(("line", "event"), [row[1:] for row in SAID], ids=[row[0] for row in SAID])
def test_a_line_says_all_this(line: bytes, event: Event) -> None:
    reader = Recogniser(Options("dovecot-file", timezone="UTC"))
    assert reader.line(line, NOW) == event
    assert reader.block(line + b"\n", NOW)[0] == ([] if isinstance(event, Ignored) else [event])


FAILURES = (
    *(
        "Disconnected",
        "Aborted login",
        "Login aborted",
        "Login failed",
        "Internal login failure",
        "haproxy: ",
        "proxy: ",
    ),
    *("Maximum number of connections", "proxy(alice)", "ID sent: ", "Connection closed", "Logged out"),
)


@pytest.mark.parametrize("begins", FAILURES)
def test_what_a_login_process_says_of_no_success_is_a_failure(begins: str) -> None:
    line = LINE.replace(b"Login: ", begins.encode() + b" (x): ")
    assert Recogniser(Options("dovecot-file", timezone="UTC")).line(line, NOW) == Ignored("failure", "dovecot")


def test_a_user_that_is_not_utf8_keeps_its_bytes_readable() -> None:
    event = Recogniser(Options("dovecot-file")).line(LINE.replace(b"alice@", b"\xff\xc3\xa4"), NOW)
    assert isinstance(event, Login)
    assert event.user == "\\xff\u00e4example.org"


def test_a_docker_record_has_the_engines_time_not_the_containers() -> None:
    record = b'{"log":"%s\\n","stream":"stderr","time":"2026-11-23T20:00:00.5Z"}' % LINE
    event = Recogniser(Options("dovecot-file", timezone="UTC")).line(record, NOW)
    assert isinstance(event, Login)
    assert event.at == NOW - 3610


def test_a_host_that_is_not_configured_is_refused_and_one_that_is_is_taken() -> None:
    strict = Recogniser(Options("syslog", hostnames=("mx1",))).line(OTHER_HOST, NOW)
    assert isinstance(strict, Refusal)
    assert strict.reason == "other-host"
    assert isinstance(Recogniser(Options("syslog", hostnames=("mx1", "imap2"))).line(OTHER_HOST, NOW), Login)


def test_an_instance_of_another_name_counts_only_when_configured() -> None:
    line = OTHER_HOST.replace(b"dovecot:", b"mail-in[7]:")
    assert isinstance(Recogniser(Options("syslog")).line(line, NOW), Refusal)
    assert isinstance(Recogniser(Options("syslog", programs=("mail-in",))).line(line, NOW), Login)


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        pytest.param(Options("sylog"), "framing 'sylog' is not known", id="framing"),
        pytest.param(Options(formats=("qmail",)), "format 'qmail' is not known", id="format"),
        pytest.param(Options(timezone="Mars/Base"), "timezone 'Mars/Base' is not known", id="zone"),
        pytest.param(Options(timestamp="%Q"), "timestamp: %Q cannot be read", id="timestamp"),
        pytest.param(Options(programs=()), "programs is empty", id="no program"),
        pytest.param(Options(programs=("dove cot",)), "'dove cot' cannot stand in a syslog line", id="program"),
        pytest.param(Options(hostnames=("[x]",)), "cannot stand in a syslog line", id="host"),
    ],
)
def test_a_reading_that_makes_no_sense_is_told_to_the_administrator(reading: Options, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Recogniser(reading)


def test_the_table_names_each_format_once_and_says_where_it_is_from() -> None:
    assert len({row.name for row in FORMATS}) == len(FORMATS)
    assert all(row.source and row.since and row.triggers for row in FORMATS)


def padded(size: int, *, syslog: bool) -> bytes:
    """A login of Dovecot whose message has that many bytes, with an element that only a forger would add."""
    head, text = LINE[:16], LINE[16:]
    if syslog:
        head, text = b"Nov 23 21:00:00 mail dovecot: ", text.replace(b"Info: ", b"")
    return head + text + b", pad=" + b"x" * (size - len(text) - 6)


PIECES = [
    ("as long as a login in Dovecot's own file can be", "dovecot-file", 3999, False),
    ("as long as a piece of a longer line", "dovecot-file", 4000, True),
    ("as long as a login in syslog can be", "syslog", 899, False),
    ("as long as a piece that syslog cut", "syslog", 900, True),
]


@pytest.mark.parametrize(("framing", "size", "torn"), [row[1:] for row in PIECES], ids=[row[0] for row in PIECES])
def test_a_line_that_may_be_a_piece_of_another_grants_nothing(framing: str, size: int, torn: bool) -> None:
    line = padded(size, syslog=framing == "syslog")
    assert word(Recogniser(Options(framing, timezone="UTC")).line(line, NOW)) == (
        "REFUSED torn" if torn else "GRANT 192.0.2.10"
    )
    proxied = line.replace(b"Login: user=", b"proxy(alice): started proxying to 10.0.0.5:143: user=")
    proxied = proxied.replace(b"x" * (len(proxied) - len(line)), b"", 1)
    event = Recogniser(Options(framing, proxy_lines=True, timezone="UTC")).line(proxied, NOW)
    assert word(event) == ("REFUSED torn" if torn else "GRANT 192.0.2.10")


def test_an_address_at_the_end_of_a_long_line_may_be_cut() -> None:
    start = b"Nov 23 21:00:00 imap-login: Info: Login: user=<"
    rest = b">, method=PLAIN, lip=198.51.100.5, rip=192.0.2.1"
    reader = Recogniser(Options("dovecot-file", timezone="UTC"))
    for size, verdict in ((511, "GRANT 192.0.2.1"), (512, "REFUSED torn")):
        user = b"a" * (size - len(start[16:]) - len(rest))
        assert word(reader.line(start + user + rest, NOW)) == verdict
