"""A block in columns, put in order, is what the strict reader says line by line: in every cut, warm and cold."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd.formats.options import Options
from popauthd.formats.recogniser import LINE_BYTES, Recogniser, matters
from popauthd.model import Event, Matter
from tests.support.corpus_samples import NOW
from tests.support.hostile_lines import PIECES, READINGS, lines, thorough

HEADS = [
    b"Nov 23 21:00:00 mx1 dovecot: ", b"Nov 23 21:00:00 mx1 dovecot[42]: ", b"Nov 23 21:00:00 ",
    b"2026-11-23 21:00:00 ", b"2026-11-23T21:00:00.123456+00:00 mx1 dovecot: ", b"Nov 31 21:00:00 mx1 dovecot: ",
    b"2026-11-23T21:00:00+01:00 mx1 dovecot: ", b"Nov 23 21:00:00 mx2 mail-in: ", b"Nov 23 21:00:01 ",
]  # fmt: skip
TEXTS = [
    b"imap-login: Info: Login: user=<%b>, method=PLAIN, rip=%b, lip=198.51.100.5, mpid=42, TLS, session=<%b>",
    b"pop3-login: Info: Logged in: user=<%b>, method=LOGIN, rip=%b, lip=2001:db8::1, mpid=42, session=<%b>",
    b"imap(%b)<4242><%.0b%b>: Info: Disconnected: Logged out in=1 out=2",
    b"pop3(%b)<4242><%.0b%b>: Info: Disconnected: Connection closed: read(size=7) failed: rip=",
    b"imap-login: Info: Disconnected: Connection closed (auth failed, 1 attempts in 2 secs): user=<%b>, method=PLAIN, "
    b"rip=%b, lip=198.51.100.5, TLS, session=<%b>",
    b"imap-login: Info: Aborted login (no auth attempts in 2 secs): user=<%b>, rip=%b, lip=198.51.100.5, session=<%b>",
    b"imap-login: Info: Disconnected: %b login: user=<>, method=PLAIN, rip=%b, lip=198.51.100.5, session=<%b>",
    b"imap-login: Info: Login: user=<%b>, method=PLAIN, rip=%b, lip=198.51.100.5, mpid=42, TLS, TLSv1.3 with cipher "
    b"TLS_AES_256_GCM_SHA384 (256/256 bits), session=<%b>",
    b"imap-login: Info: Login: user=<%b>, rip=%b, method=PLAIN, lip=198.51.100.5, mpid=42, TLS, session=<%b>",
]
USERS = [
    b"alice", b"bob@example.org", b"", b"a<b", b"x\ny", b"a b", b"a\x00", b"\xff\xfe", b"\xc3\xbc", b"rip=6.6.6.6",
    b"login: user=", b"a:b", b"a)b", b"u" * 256, b"u" * 257, b"\r", b"a\x7f", b"imap-login: Login: ",
]  # fmt: skip
ADDRESSES = [
    b"192.0.2.7", b"2001:db8::7", b"2001:DB8::7", b"192.0.2.256", b"192.0.2.007", b"::ffff:192.0.2.7", b"fe80::1%2",
    b"1", b"", b"1:2:3:4:5:6:7:8:9", b"192.0.2.7\x00", b"192.0.2\n", b"a" * 46, b"\xff.0.2.7",
]  # fmt: skip
SESSIONS = [b"aKTn/AB", b"a b", b"", b"s" * 255, b"s" * 256, b"a\nb", b"login: x"]
PRINTABLE = [bytes([byte]) for byte in b"aZ0 <>,:=()\r\n\x00"]


@st.composite
def near(draw: st.DrawFn) -> bytes:
    """A line of the common form, or near it; a line feed within makes two of it."""
    odd = draw(st.integers(0, 5))
    parts = [
        draw(st.sampled_from(some)) if odd == n else some[0] for n, some in enumerate((USERS, ADDRESSES, SESSIONS))
    ]
    line = draw(st.sampled_from(HEADS)) + draw(st.sampled_from(TEXTS)) % tuple(parts)
    if draw(st.booleans()):
        line = line.replace(b"Info: ", b"")
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        at = draw(st.integers(0, len(line)))
        piece = draw(st.one_of(st.sampled_from(PIECES), st.sampled_from(PRINTABLE), st.binary(max_size=2)))
        line = line[:at] + piece + line[at + draw(st.integers(0, 2)) :]
    return line


class LineByLine(Recogniser):
    """Reads each line alone, and keeps what was refused as a block does."""

    def all_of(self, text: bytes) -> list[Event]:
        """What each of whole lines says."""
        return [self._noted(raw, NOW, None) for raw in text.split(b"\n")[:-1]]


@st.composite
def text_and_cuts(draw: st.DrawFn) -> tuple[bytes, list[int]]:
    """Whole lines, and where they are cut: always behind a line feed."""
    some = draw(st.lists(st.one_of(near(), near(), lines), min_size=1, max_size=12))
    some += draw(st.lists(st.sampled_from(some), max_size=6))
    if draw(st.integers(0, 30)) == 0:
        some.insert(draw(st.integers(0, len(some))), draw(near()) + b"z" * LINE_BYTES)
    text = b"".join(line + b"\n" for line in some)
    feeds = [at + 1 for at, byte in enumerate(text) if byte == 10]
    return text, sorted({*draw(st.lists(st.sampled_from(feeds), max_size=4)), len(text)})


@pytest.mark.parametrize("reading", READINGS, ids=str)
@thorough
@given(text_and_cuts())
def test_a_block_says_what_its_lines_say_alone(reading: Options, given_text: tuple[bytes, list[int]]) -> None:
    text, cuts = given_text
    blocks = [text[begin:end] for begin, end in zip([0, *cuts], cuts, strict=False)]
    strict, reader = LineByLine(reading), Recogniser(reading)
    events = strict.all_of(text)
    for _ in range(2 if reading.framing != "auto" else 1):  # cold, then warm; a framing would be learnt too
        found: list[Matter] = []
        refused: dict[str, bytes] = {}
        heads: Counter[str] = Counter()
        for block in blocks:
            columns = reader.columns(block, NOW)
            some = columns.matters()
            assert columns.lines == block.count(b"\n")
            places = [*columns.logins.place, *columns.ends.place, *(place for place, _ in columns.others)]
            assert sorted(places) == [*range(len(some))]
            found += some
            heads += reader.heads
            refused = {**reader.refused, **refused}
        assert found == matters(events)
        assert refused == strict.refused
        assert heads == +strict.heads
    for one in (Recogniser(reading), reader) if reading.framing != "auto" else (Recogniser(reading),):
        alone = [event for block in blocks for event in one.numbered(block, NOW).events()]
        assert alone == events
        assert matters(alone) == matters(events)  # with who failed, which does not count when verdicts are compared


def test_the_columns_hold_what_the_lines_say() -> None:
    reader = Recogniser(Options("syslog", timezone="UTC"))
    head = HEADS[0]
    login, other, end, _late, failure, *_, odd = (head + text.replace(b"Info: ", b"") for text in TEXTS)
    text = b"\n".join([login, odd, failure, other, end, b""]) % (
        *(b"alice", b"192.0.2.7", b"s1"),
        *(b"carol", b"192.0.2.8", b"s3"),
        *(b"eve", b"203.0.113.9", b"s2"),
        *(b"b\xff", b"2001:DB8::7", b"s4"),
        *(b"alice", b"", b"s1"),
    )
    for _ in range(2):  # the second time with all that was learnt
        block = reader.columns(text.replace(b"lip=2001:db8::1", b"lip=198.51.100.5"), NOW)
    at = NOW - 10
    assert block.lines == 5
    logins, ends = block.logins, block.ends
    assert (logins.place, logins.at, logins.address) == ([0, 3], [at, at], [b"192.0.2.7", b"2001:DB8::7"])
    assert (logins.user, logins.session, logins.local) == ([b"alice", b"b\xff"], [b"s1", b"s4"], [b"198.51.100.5"] * 2)
    assert (logins.protocol, logins.method, logins.tls) == (["imap", "pop3"], ["PLAIN", "LOGIN"], [True, False])
    assert (ends.place, ends.at, ends.session, ends.user, ends.protocol) == ([4], [at], [b"s1"], [b"alice"], ["imap"])
    assert [(place, type(event).__name__) for place, event in block.others] == [(1, "Login"), (2, "Failure")]


def test_lines_are_numbered_whatever_stands_between_them() -> None:
    reader, strict = Recogniser(Options("syslog", timezone="UTC")), LineByLine(Options("syslog", timezone="UTC"))
    login, _other, end, _late, failure, idle, *_, odd = (HEADS[0] + text.replace(b"Info: ", b"") for text in TEXTS)
    parts = (b"alice", b"192.0.2.7", b"s1")
    over_two_lines = login % (b"x\ny", *parts[1:])
    kinds = [login % parts, end % (b"alice", b"", b"s1"), failure % parts, idle % parts, odd % parts, over_two_lines]
    reader.columns(kinds[0] + b"\n", NOW)
    for first in range(len(kinds)):
        lines = [*kinds[first:], b"", b"other", *kinds[:first], b"other", b"", *kinds]
        for text in (b"\n".join([*lines, b""]), b"\n".join([b"", *lines, b"other", b""])):
            found, expected = reader.numbered(text, NOW), strict.all_of(text)
            assert found.events() == expected
            assert matters(found.events()) == matters(expected)
            assert len(found.logins.place) == len(found.ends.place) == 2


def test_an_end_that_docker_wrote_down_is_found_in_a_block() -> None:
    inner = "Nov 23 21:00:00 mx1 dovecot: imap(a)<7><s1>: Logged out in=1"
    escaped = inner.replace("<", "\\u003c").replace(">", "\\u003e")
    line = f'{{"log":"{escaped}\\n","stream":"stdout","time":"2026-11-23T21:00:00Z"}}'.encode()
    reader = Recogniser(Options("syslog", timezone="UTC"))
    event = reader.line(line, NOW)
    assert type(event).__name__ == "SessionEnd"
    assert reader.block(line + b"\n", NOW) == ([event], 1)


def test_lines_of_both_kinds_that_are_refused_come_in_the_order_of_the_log() -> None:
    """A stamp of no such day: within the pattern it is found by its column, elsewhere by the strict reader alone."""
    plain, odd = (HEADS[0] + TEXTS[kind].replace(b"Info: ", b"") for kind in (0, -1))
    late, odd_late = (text.replace(b"Nov 23", b"Nov 31") for text in (plain, odd))
    reader = Recogniser(Options("syslog", timezone="UTC"))
    reader.columns(plain % (b"alice", b"192.0.2.7", b"s") + b"\n", NOW)
    users = [b"a", b"b", b"c", b"d", b"e"]
    raws = [
        text % (user, b"192.0.2.7", b"s")
        for text, user in zip([odd_late, late, plain, late, odd_late], users, strict=True)
    ]
    block = reader.columns(b"\n".join([*raws, b""]), NOW)
    assert [getattr(event, "user", "") for event in block.matters()] == ["a", "b", "c", "d", "e"]
    assert block.logins.place == [2]
    assert reader.refused == {"bad-stamp": raws[0]}
