"""Hostile and random lines: nothing raises, a block has the verdicts of its lines, no login is invented."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from popauthd.formats.framing import detect
from popauthd.formats.options import Options
from popauthd.formats.recogniser import LINE_BYTES, Recogniser
from popauthd.model import Event, Ignored, Login, Refusal
from tests.support.corpus_samples import NOW
from tests.unit.formats.test_corpus import raw
from tests.unit.formats.test_dovecot import LINE, SAMPLES

EXAMPLES = int(os.environ.get("POPAUTHD_EXAMPLES", "100"))  # more in a long run
READINGS = [
    Options("dovecot-file", timezone="UTC"),
    Options("dovecot-file", timezone="UTC", timestamp="%Y-%m-%d %H:%M:%S"),
    Options("syslog", timezone="UTC"),
    Options("syslog", timezone="UTC", hostnames=("mx1",), programs=("dovecot", "mail-in")),
    Options("journal"),
    Options("auto", timezone="UTC"),
]


def corpus_lines() -> list[bytes]:
    """Every line of the corpora, as bytes."""
    adversarial = (SAMPLES.parent / "adversarial.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(text) for text in adversarial]
    lines = [raw(row) for row in rows if row["format"] != "sequence"]
    texts = [text.partition(" | ")[2] for text in Path(SAMPLES).read_text(encoding="utf-8").split("\n")]
    return lines + [text.encode() for text in texts if text]


LINES = corpus_lines()
PIECES = [
    b"user=<", b">", b"<", b", ", b"rip=6.6.6.6", b", rip=", b"lip=", b"\r", b"\x00", b"\x0c", b"\xe2\x80\xa8", b"\xff",
    b"Login: ", b"Logged in: ", b"login: ", b"imap-login: ", b"Info: ", b"dovecot: ", b"mx1 ", b"[1]", b"=", b" ",
    b"6.6.6.6", b"::1", b"Nov 23 21:00:00 ", b"Nov 31 ", b"25:00:00", b"2026-11-23T21:00:00Z ", b"{", b"}", b'"',
    b"session=<x>", b"method=ANONYMOUS", b"TLS", b"secured", b"<22>", b"message repeated 2 times: [", b"Disconnected: ",
    b".", b":", b"0", b"1", b"-", b"a" * 300, b"proxy(", b"imap(a)<1><s>: ", b"Disconnected: ", b"Logged out in=1 ",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A corpus line with a few cuts, insertions, exchanges and splices."""
    line = draw(st.sampled_from(LINES))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(line)))
        end = min(len(line), at + draw(st.integers(0, 12)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.binary(max_size=4), st.sampled_from(LINES)))
        if draw(st.booleans()):
            cut = draw(st.integers(0, len(piece)))
            piece = piece[cut:]
        line = line[:at] + piece + line[end:]
    return line.replace(b"\n", b"")


lines = st.one_of(mutated(), mutated(), st.binary(max_size=200).map(lambda data: data.replace(b"\n", b"")))
thorough = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES == 100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.mark.parametrize("reading", READINGS, ids=str)
@thorough
@given(st.lists(lines, max_size=8))
def test_a_block_has_the_verdicts_of_its_lines(reading: Options, some: list[bytes]) -> None:
    single, together = Recogniser(reading), Recogniser(reading)
    one_by_one: list[Event] = [single.line(line, NOW) for line in some]
    events, count = together.block(b"".join(line + b"\n" for line in some), NOW)
    assert count == len(some)
    assert events == [event for event in one_by_one if not isinstance(event, Ignored)]
    if reading.framing != "auto":  # which has learnt something by now
        assert together.block(b"".join(line + b"\n" for line in some), NOW) == (events, count)


# The oracle: written without the recogniser's patterns, from the other end of the line.
def defensible(line: bytes, login: Login) -> bool:
    """Whether a login can honestly be read in this line: one message, one rip, outside the user's brackets."""
    text = json.loads(line) if line[:1] == b"{" else line
    if isinstance(text, dict):
        inner = text.get("MESSAGE", text.get("log", ""))
        text = (
            bytes(inner) if isinstance(inner, list) else str(inner).removesuffix("\n").encode("utf-8", "surrogatepass")
        )
    if re.match(rb"imap-login: [0-9]|pop3-login: [0-9]", text):
        whole = text.decode("utf-8", "backslashreplace")
        return whole.endswith(f" Info: Login: {login.user} [{login.address}]")
    for word in (b"-login: Login: ", b"-login: Info: Login: ", b"-login: Logged in: ", b"-login: Info: Logged in: "):
        head, found, message = text.partition(word)
        if found and b"<" not in re.sub(rb"^<[0-9]{1,3}>1 |<[a-z0-9]+\.[a-z0-9]+> ", b"", head) and b"ogin" not in head:
            before, opening, rest = message.partition(b"user=<")
            user, closing, after = rest.partition(b">")
            outside = (before + after).split(b", ")
            rips = [part for part in outside if part.lower().startswith(b"rip=")]
            return (
                bool(opening and closing and user)
                and b"<" not in user
                and not {0, 13} & set(user)
                and rips == [b"rip=" + login.address.encode()]
                and b"method=ANONYMOUS" not in outside
                and sum(part.startswith(b"session=<") for part in outside) <= 1
                and ip_address(login.address) is not None
                and login.user == user.decode("utf-8", "backslashreplace")
            )
    return False


@pytest.mark.parametrize("reading", READINGS, ids=str)
@settings(thorough, max_examples=3 * thorough.max_examples)
@given(mutated())
def test_no_login_is_found_in_a_line_that_does_not_honestly_hold_one(reading: Options, line: bytes) -> None:
    event = Recogniser(reading).line(line, NOW)
    if isinstance(event, Login):
        assert defensible(line, event), event


@pytest.mark.parametrize("reading", READINGS, ids=str)
@thorough
@given(lines)
def test_a_stamp_is_found_or_not_and_never_raises(reading: Options, line: bytes) -> None:
    reader = Recogniser(reading)
    at = reader.stamp(line, NOW)
    event = Recogniser(reading).line(line, NOW)
    if isinstance(event, Login):
        assert at == event.at


HOSTILE: dict[str, Callable[[int], bytes]] = {
    "brackets": lambda n: LINE.replace(b"alice", b"a>" * n),
    "opening brackets": lambda n: LINE.replace(b"alice", b"<" * n),
    "commas": lambda n: LINE + b", a" * n,
    "elements": lambda n: LINE + b"".join(b", k%04x=1" % i for i in range(n)),
    "blanks": lambda n: LINE[:15] + b" " * n + LINE[15:],
    "parentheses": lambda n: b"Nov 23 21:00:00 imap(" + b")<1><" * n + b": Info: Disconnected: rip=",
    "structured data": lambda n: b"<22>1 2026-11-23T21:00:00Z mx dovecot 1 - " + b'[a="' * n + b" rip=",
    "quotes": lambda n: b"<22>1 2026-11-23T21:00:00Z mx dovecot 1 - [" + b'"\\"' * n + b" rip=",
    "digits": lambda n: b"Nov 23 21:00:00 mx dovecot[" + b"1" * n + b"]: imap-login: Login: rip=",
    "host": lambda n: b"Nov 23 21:00:00 " + b"m" * n + b" rip=",
    "login words": lambda n: b"Nov 23 21:00:00 imap-login: Info: Disconnected: " + b"login: " * n + b"rip=",
    "TLS text": lambda n: LINE.replace(b"TLS", b"TLS:" + b" x" * n),
    "json": lambda n: b'{"log":' + b"[" * n + b"rip=",
}


def cost(framing: str, line: bytes) -> float:
    """Processor seconds for one line in every way it can be read; the least of five."""
    best = 1e9
    for _ in range(5):
        reader = Recogniser(Options(framing, timezone="UTC"))
        began = time.process_time()
        for _ in range(3):
            reader.line(line, NOW)
            reader.stamp(line, NOW)
            reader.block(line + b"\n" + LINE + b"\n", NOW)
            detect(line + b"\n")
        best = min(best, time.process_time() - began)
    return best


@pytest.mark.parametrize("framing", ["dovecot-file", "syslog", "journal"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_line_costs_in_proportion_to_its_length(name: str, framing: str) -> None:
    """Sixteen times the bytes: a quadratic pattern would take 256 times as long."""
    make = HOSTILE[name]
    size = len(make(2)) - len(make(1)) or 1
    short, long = (make(length // size) for length in (3700, 59200))
    assert len(long) <= LINE_BYTES
    assert cost(framing, long) < 80 * cost(framing, short)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_line_of_a_megabyte_is_refused_unread(name: str) -> None:
    line = HOSTILE[name](1_000_000)[:2_000_000]
    for framing in ("dovecot-file", "syslog", "journal"):
        reader = Recogniser(Options(framing, timezone="UTC"))
        assert reader.line(line, NOW) == Refusal("too-long")
        after = LINE if framing == "dovecot-file" else b""
        events, count = reader.block(line + b"\n" + after + b"\n", NOW)
        assert count == 2
        assert events[0] == Refusal("too-long")
        assert [type(event) for event in events[1:]] == ([Login] if after else [])


def test_a_block_keeps_the_order_of_its_lines() -> None:
    other = LINE.replace(b"192.0.2.10", b"2001:db8::7").replace(b", mpid=4242", b"")  # not of the common form
    users = [b"u%d" % number for number in range(50)]
    block = b"".join((other if i % 3 else LINE).replace(b"alice", user) + b"\n\n" for i, user in enumerate(users))
    events, count = Recogniser(Options("dovecot-file")).block(block, NOW)
    assert count == 100
    assert [event.user for event in events] == [f"u{number}@example.org" for number in range(50)]


def test_more_addresses_than_are_remembered_are_still_read() -> None:
    reader = Recogniser(Options("dovecot-file"))
    for high in range(9):
        rips = [b"10.%d.%d.%d" % (high, i >> 8, i & 255) for i in range(8192)]
        events, _ = reader.block(b"".join(LINE.replace(b"192.0.2.10", rip) + b"\n" for rip in rips), NOW)
        assert [event.address.encode() for event in events if isinstance(event, Login)] == rips


def test_what_follows_the_last_line_feed_waits() -> None:
    reader = Recogniser(Options("dovecot-file"))
    events, count = reader.block(LINE + b"\n" + LINE, NOW)
    assert (len(events), count) == (1, 1)
    assert reader.block(b"", NOW) == ([], 0)


def test_the_first_line_that_was_refused_for_each_reason_is_kept() -> None:
    reader = Recogniser(Options("dovecot-file", timezone="UTC"))
    bad_stamp = LINE.replace(b"Nov 23", b"Nov 31")
    bad_address = LINE.replace(b"rip=192.0.2.10", b"rip=192.0.2.1000")
    torn = LINE.partition(b", lip=")[0]
    lines = [LINE, bad_stamp, bad_address, torn, bad_stamp.replace(b"alice", b"bob"), torn + b"0", LINE]
    reader.block(b"".join(line + b"\n" for line in lines), NOW)
    assert reader.refused == {"bad-stamp": bad_stamp, "bad-address": bad_address, "torn": torn}
    reader.block(LINE + b"\n", NOW)
    assert reader.refused == {}
