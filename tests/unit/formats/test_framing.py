"""Which framing a file has, and the time of its lines."""

from __future__ import annotations

import json

import pytest

from popauthd.formats.framing import detect
from popauthd.formats.headers import SHAPES
from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Ignored, Login, Refusal, SessionEnd
from tests.support.corpus_samples import CORPUS, NOW, samples
from tests.support.dovecot_lines import LINE, OTHER_HOST

START = b"Nov 23 20:00:00 master: Info: Dovecot v2.3.19.1 (9b53102964) starting up for imap, pop3\n"
KERNEL = b"Nov 23 20:00:00 mx1 kernel: [    0.000000] Linux version 6.1.0\n"
RECORD = b'{"__REALTIME_TIMESTAMP":"1795467600000000","MESSAGE":"x"}\n'
DOCKER = b'{"log":"%s","stream":"stderr","time":"2026-11-23T20:00:00.1Z"}\n'


def docked(line: str) -> str:
    """A line as docker writes it down."""
    return json.dumps({"log": line, "stream": "stdout", "time": "2026-11-23T20:00:00.1Z"}) + "\n"


FOUND = [
    ("own file", START + LINE + b"\n", "dovecot-file"),
    ("own file, session end first", b"Nov 23 21:45:53 imap(a b)<3><2B/AB>: Info: Disconnected: x\n", "dovecot-file"),
    ("own file, year first", b"2019-10-15 08:08:52 imap-login: Info: Disconnected\n", "dovecot-file"),
    ("own file, 1.x", b"dovecot: Jun 23 15:04:05 Info: imap-login: Disconnected\n", "dovecot-file"),
    ("own file, 0.99", b"imap-login: 2004-11-03 12:00:00 Info: Login: alice [192.0.2.1]\n", "dovecot-file"),
    ("own file, multilog", b"@400000004c91b044077a9e94 imap-login: Info: x\n", "dovecot-file"),
    ("own file in docker", DOCKER % b"Nov 23 20:00:00 master: Info: x\\n", "dovecot-file"),
    ("syslog", KERNEL, "syslog"),
    ("syslog, first a line without a tag", b"Nov 23 20:00:00 mx1 last message repeated 5 times\n" + KERNEL, "syslog"),
    ("syslog, ISO", b"2026-11-23T22:00:00.123456+01:00 mx1 postfix/smtpd[12]: connect\n", "syslog"),
    ("syslog, 5424", b"<22>1 2026-11-23T22:00:00Z mx1 dovecot 442 - - x\n", "syslog"),
    ("two lines in docker", docked(KERNEL.decode() + "\n").encode(), None),
    ("syslog in docker, as it writes it", docked(KERNEL.decode()).encode(), "syslog"),
    ("syslog in docker", DOCKER % b"Nov 23 20:00:00 mx1 kernel: x\\n", "syslog"),
    ("journal", RECORD, "journal"),
    ("an unfinished line does not count", KERNEL[:-1], None),
    ("nothing", b"", None),
    ("noise", b"hello\n\x00\xff\n\n", None),
    ("noise before", b"\x00\x00\xff\n" + START, "dovecot-file"),
    ("both", START + KERNEL, None),
    ("syslog without a host", b"Nov 23 21:00:00 dovecot: imap-login: Login: user=<a>\n", None),
    ("docker in docker", DOCKER % b"{}\\n", None),
    ("a log line in docker in docker", docked(docked(KERNEL.decode())).encode(), None),
    ("no blank behind the stamp", START.replace(b" master", b"master"), None),
    ("more than a hundred lines of noise", b"hello\n" * 100 + START, None),
    ("a hundred lines", b"hello\n" * 99 + START + b"hello\n", "dovecot-file"),
    ("other JSON", b'{"a": 1}\n', None),
]


@pytest.mark.parametrize(("sample", "framing"), [row[1:] for row in FOUND], ids=[row[0] for row in FOUND])
def test_the_framing_of_a_file_is_told(sample: bytes, framing: str | None) -> None:
    assert detect(sample) == framing


def test_a_framing_once_decided_stays() -> None:
    reader = Recogniser(Options("auto", timezone="UTC"))
    assert reader.framing == "auto"
    assert reader.line(b"hello", NOW) == Ignored("undecided")
    assert reader.line(b"hello imap-login: Login: user=<x>, rip=6.6.6.6", NOW) == Refusal("undecided")
    assert isinstance(reader.line(LINE, NOW), Login)
    assert reader.framing == "dovecot-file"
    refused = reader.line(OTHER_HOST, NOW)
    assert isinstance(refused, Refusal)
    assert isinstance(reader.line(LINE, NOW), Login)


OWN_FILES = [
    ("qpopper", "qpopper-file"),
    ("zimbra", "zimbra-file"),
    ("nginx", "nginx-file"),
    ("stalwart", "stalwart-file"),
]


@pytest.mark.parametrize(("name", "framing"), OWN_FILES, ids=[row[0] for row in OWN_FILES])
def test_the_own_file_of_another_server_is_told_where_its_format_is_chosen(name: str, framing: str) -> None:
    granting = next(
        row for row in samples(CORPUS / f"{name}.txt") if (row.framing, row.verdict[:5]) == (framing, "GRANT")
    )
    reader, other = (Recogniser(Options("auto", (chosen,), timezone="UTC")) for chosen in (name, "courier"))
    assert isinstance(reader.line(granting.raw, NOW), Login)
    assert reader.framing == framing
    assert not isinstance(other.line(granting.raw, NOW), Login)
    assert other.framing != framing


def test_a_stamp_decides_the_framing_too() -> None:
    reader = Recogniser(Options("auto", timezone="UTC"))
    assert reader.stamp(b"hello", NOW) is None
    assert reader.stamp(KERNEL[:-1], NOW) == NOW - 3610
    assert reader.framing == "syslog"


STAMPED = [
    ("own file", "dovecot-file", START[:-1]),
    ("any words", "dovecot-file", b"Nov 23 20:00:00 \xff\x00"),
    ("1.x", "dovecot-file", b"dovecot: Nov 23 20:00:00 Info: x"),
    ("0.99", "dovecot-file", b"imap-login: 2026-11-23 20:00:00 Info: x"),
    ("multilog", "dovecot-file", b"@%016x00000000 x" % ((1 << 62) + 10 + NOW - 3610)),
    ("syslog", "syslog", KERNEL[:-1]),
    ("no tag", "syslog", b"Nov 23 20:00:00 mx1 last message repeated 5 times"),
    ("ISO", "syslog", b"2026-11-23T21:00:00.9+01:00 x"),
    ("5424", "syslog", b"<22>1 2026-11-23T21:00:00.9+01:00 mx1 dovecot 442 - - x"),
    ("zimbra, forwarded", "zimbra-file", b"Nov 23 20:00:01 mx1 mailboxlog 2026-11-23 20:00:00,123 INFO x"),
    ("zimbra", "zimbra-file", b"2026-11-23 20:00:00,123 INFO x"),
    ("nginx", "nginx-file", b"2026/11/23 20:00:00 [info] x"),
    ("stalwart", "stalwart-file", b"2026-11-23T20:00:00Z INFO x"),
    ("qpopper", "qpopper-file", b"Nov 23 20:00:00 [popper] x"),
    ("docker", "syslog", (DOCKER % b"any\\n").strip()),
    ("longer than a line may be", "syslog", KERNEL[:-1] + b"x" * 100_000),
]


@pytest.mark.parametrize(("framing", "line"), [row[1:] for row in STAMPED], ids=[row[0] for row in STAMPED])
def test_the_time_of_any_line_is_told(framing: str, line: bytes) -> None:
    assert Recogniser(Options(framing, timezone="UTC")).stamp(line, NOW) == NOW - 3610


@pytest.mark.parametrize("line", [b"", b"x", b"Nov 23", b"Nov 23 20:00:00", b"Nov 23 25:00:00 x", b"{"])
def test_a_line_without_a_time_has_none(line: bytes) -> None:
    for framing in ("dovecot-file", "syslog", "journal"):
        assert Recogniser(Options(framing)).stamp(line, NOW) is None


NO_LEVEL = b"Login: user=<a>, method=PLAIN, rip=192.0.2.10, lip=198.51.100.5, session=<x>"
LEVELLED = [
    ("multilog", b"@%016x00000000 imap-login: Info: " % ((1 << 62) + 10 + NOW - 10), "Login"),
    ("multilog without a level", b"@%016x00000000 imap-login: " % ((1 << 62) + 10 + NOW - 10), "Refusal no-level"),
    (
        "multilog at another level",
        b"@%016x00000000 imap-login: Error: " % ((1 << 62) + 10 + NOW - 10),
        "Refusal no-level",
    ),
    ("own file", b"Nov 23 21:00:00 imap-login: Info: ", "Login"),
    ("own file without a level", b"Nov 23 21:00:00 imap-login: ", "Refusal no-level"),
    ("1.x", b"dovecot: Nov 23 21:00:00 Info: imap-login: ", "Login"),
    ("1.x with two levels", b"dovecot: Nov 23 21:00:00 Info: imap-login: Info: ", "Refusal no-level"),
    ("1.x at another level", b"dovecot: Nov 23 21:00:00 Warning: imap-login: ", "Refusal no-level"),
]


@pytest.mark.parametrize(("head", "verdict"), [row[1:] for row in LEVELLED], ids=[row[0] for row in LEVELLED])
def test_a_login_stands_at_its_level(head: bytes, verdict: str) -> None:
    event = Recogniser(Options("dovecot-file", timezone="UTC")).line(head + NO_LEVEL, NOW)
    assert f"{type(event).__name__} {getattr(event, 'reason', '')}".strip() == verdict
    if isinstance(event, Login):
        assert event.at == NOW - 10


HEADS = [
    ("own file", b"Nov 23 21:00:00 imap-login: %s: " + NO_LEVEL, "no-level"),
    ("1.x", b"dovecot: Nov 23 21:00:00 %s: imap-login: " + NO_LEVEL, "no-level"),
    ("0.99", b"imap-login: 2026-11-23 21:00:00 %s: Login: alice [192.0.2.1]", "bad-elements"),
]


@pytest.mark.parametrize("level", [b"Debug", b"Info", b"Warning", b"Error", b"Fatal", b"Panic"], ids=bytes.decode)
@pytest.mark.parametrize(("line", "reason"), [row[1:] for row in HEADS], ids=[row[0] for row in HEADS])
def test_a_login_at_another_level_is_refused_and_framed_all_the_same(line: bytes, reason: str, level: bytes) -> None:
    event = Recogniser(Options("dovecot-file", timezone="UTC")).line(line % level, NOW)
    if level == b"Info":
        assert isinstance(event, Login)
    else:
        assert isinstance(event, Refusal)
        assert (event.reason, event.at) == (reason, NOW - 10)


@pytest.mark.parametrize("field", ["log", "time"])
@pytest.mark.parametrize("text", ["\ud800", "\x00", "\u0661", "\ufeff"], ids=ascii)
def test_a_docker_record_may_hold_any_text(field: str, text: str) -> None:
    record = {"log": LINE.decode() + "\n", "stream": "stdout", "time": "2026-11-23T20:00:00Z"}
    record[field] = text + record[field]
    line = json.dumps(record).encode()
    reader = Recogniser(Options("dovecot-file", timezone="UTC"))
    assert isinstance(reader.line(line, NOW), Refusal)
    assert reader.stamp(line, NOW) == (None if field == "time" else NOW - 3610)
    assert detect(line + b"\n") is None


def test_the_hostnames_of_a_source_leave_its_own_file_alone() -> None:
    reader = Recogniser(Options("dovecot-file", timezone="UTC", hostnames=("mx1",)))
    assert isinstance(reader.line(LINE, NOW), Login)


@pytest.mark.parametrize("head", [b"@%016x00000000 ", b"dovecot: Nov 23 21:00:00 ", b"Nov 23 21:00:00 "])
def test_an_end_stands_at_its_level(head: bytes) -> None:
    head = head % ((1 << 62) + 10 + NOW - 10) if b"%" in head else head
    reader = Recogniser(Options("dovecot-file", timezone="UTC"))
    assert isinstance(reader.line(head + b"imap(a)<1><x>: Disconnected: Logged out", NOW), Ignored)
    ended = reader.line(head + b"imap(a)<1><x>: Info: Disconnected: Logged out", NOW)
    assert isinstance(ended, Ignored if head.startswith(b"dovecot") else SessionEnd)


@pytest.mark.parametrize("framing", ["dovecot-file", "auto"])
@pytest.mark.parametrize("end", [b"", b" "], ids=["without its last blank", "with it"])
def test_a_log_timestamp_may_be_given_with_or_without_its_last_blank(end: bytes, framing: str) -> None:
    line = b"2026-11-23 21:00:00" + end + LINE[16:]
    reader = Recogniser(Options(framing, timezone="UTC", timestamp="%Y-%m-%d %H:%M:%S"))
    assert isinstance(reader.line(line, NOW), Login)
    assert isinstance(reader.line(LINE, NOW), Refusal)
    assert [type(event) for event in reader.block(line + b"\n" + LINE + b"\n", NOW)[0]] == [Login, Refusal]


def test_every_shape_says_where_it_is_from() -> None:
    assert len({shape.name for shape in SHAPES}) == len(SHAPES)
    assert all(shape.source for shape in SHAPES)
