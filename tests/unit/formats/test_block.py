"""Hostile and random lines: nothing raises, a block has the verdicts of its lines, no login is invented."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popauthd.formats.framing import detect
from popauthd.formats.options import Options
from popauthd.formats.recogniser import LINE_BYTES, Recogniser, matters
from popauthd.model import Event, Login, Refusal
from tests.support.corpus_samples import NOW
from tests.support.dovecot_lines import LINE, defensible
from tests.support.hostile_lines import READINGS, lines, mutated, thorough


@pytest.mark.parametrize("reading", READINGS, ids=str)
@thorough
@given(st.lists(lines, max_size=8))
def test_a_block_has_the_verdicts_of_its_lines(reading: Options, some: list[bytes]) -> None:
    single, together = Recogniser(reading), Recogniser(reading)
    one_by_one: list[Event] = [single.line(line, NOW) for line in some]
    events, count = together.block(b"".join(line + b"\n" for line in some), NOW)
    assert count == len(some)
    assert events == matters(one_by_one)
    if reading.framing != "auto":  # which has learnt something by now
        assert together.block(b"".join(line + b"\n" for line in some), NOW) == (events, count)


# The oracle: written without the recogniser's patterns, from the other end of the line.


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
