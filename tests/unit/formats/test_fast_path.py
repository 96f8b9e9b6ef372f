"""The common form of a line, taken many at once: what it takes, and that a line near it is read alike."""

from __future__ import annotations

import pytest

from popauthd.formats import headers
from popauthd.formats.fast_path import Common
from popauthd.formats.framing import Framer
from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.formats.timestamps import Stamps
from popauthd.model import Event, Ignored, Login, Refusal, SessionEnd
from tests.support.corpus_samples import NOW
from tests.unit.formats.test_dovecot import END, LINE

NEAR = [
    ("user in UTF-8", LINE.replace(b"alice", "j\u00fcrgen".encode()), Login),
    ("user in no encoding", LINE.replace(b"alice", b"\xfc\xff"), Login),
    ("a word before the process", LINE.replace(b" imap-login", b" abc imap-login"), Refusal),
    ("two blanks before the process", LINE.replace(b" imap-login", b"  imap-login"), Refusal),
    ("IPv6", LINE.replace(b"192.0.2.10", b"2001:DB8::7").replace(b"198.51.100.5", b"2001:db8::1"), Login),
    ("rip is no address", LINE.replace(b"192.0.2.10", b"192.0.2.010"), Refusal),
    ("lip is no address", LINE.replace(b"198.51.100.5", b"198.51.100"), Refusal),
    ("rip of points", LINE.replace(b"192.0.2.10", b"..."), Refusal),
    ("rip of three parts", LINE.replace(b"192.0.2.10", b"192.0.2"), Refusal),
    ("rip of five parts", LINE.replace(b"192.0.2.10", b"192.0.2.10.1"), Refusal),
    ("rip of one part", LINE.replace(b"192.0.2.10", b"1920"), Refusal),
    ("rip above 255", LINE.replace(b"192.0.2.10", b"192.0.2.256"), Refusal),
    ("rip far above 255", LINE.replace(b"192.0.2.10", b"192.300.2.1"), Refusal),
    ("rip of the highest parts", LINE.replace(b"192.0.2.10", b"255.249.199.99"), Login),
    ("rip of the lowest parts", LINE.replace(b"192.0.2.10", b"1.0.100.200"), Login),
    ("no lip", LINE.replace(b", lip=198.51.100.5", b""), Login),
    ("no mpid", LINE.replace(b", mpid=4242", b""), Login),
    ("no TLS", LINE.replace(b", TLS", b""), Login),
    ("secured", LINE.replace(b"TLS", b"secured"), Login),
    ("no session", LINE.replace(b", session=<aKTnLvhgIrN/AAAB>", b""), Login),
    ("POP", LINE.replace(b"imap", b"pop3"), Login),
    ("another service", LINE.replace(b"imap", b"submission"), Ignored),
    ("an end", END, SessionEnd),
    ("an end of nobody", END.replace(b"alice", b""), SessionEnd),
    ("an end of a user with a colon", END.replace(b"alice", b"a:b"), SessionEnd),
    ("an end with a bracket", END.replace(b"alice", b"a<b"), Ignored),
    ("an end with the text of a login", END + b" imap-login: Login: user=<a>, rip=6.6.6.6", Refusal),
    ("an end on no such day", END.replace(b"Nov 23", b"Nov 31"), Refusal),
    ("an end without a stamp", END.replace(b"Nov", b"nov"), Ignored),
    ("anonymous", LINE.replace(b"PLAIN", b"ANONYMOUS"), Refusal),
    ("no such day", LINE.replace(b"Nov 23", b"Nov 31"), Refusal),
    ("fifteen bytes that are no stamp", LINE.replace(b"Nov 23", b"nov 23"), Refusal),
    ("nineteen bytes that are no stamp", b"abc " + LINE, Refusal),
    ("a long user", LINE.replace(b"alice", b"a" * 2000), Login),
]


@pytest.mark.parametrize(("line", "kind"), [row[1:] for row in NEAR], ids=[row[0] for row in NEAR])
def test_a_line_near_the_common_form_is_the_same_in_a_block(line: bytes, kind: type) -> None:
    reader = Recogniser(Options("dovecot-file", timezone="UTC"))
    event = reader.line(line, NOW)
    assert type(event) is kind
    known = [] if kind is Ignored else [event]
    assert reader.block(line + b"\n" + line + b"\n", NOW) == (known * 2, 2)


SYSLOG_HEAD = b"2026-11-23T21:00:00.5+00:00 mx1 dovecot[442]: "
COMMON = [
    ("own file", headers.DOVECOT_FILE, "", LINE),
    ("an end in an own file", headers.DOVECOT_FILE, "", END),
    ("own file, ISO", headers.DOVECOT_FILE, "", b"2026-11-23 21:00:00" + LINE[15:]),
    ("own file with its own stamps", headers.DOVECOT_FILE, "%H:%M:%S %d %b", b"21:00:00 23 Nov" + LINE[15:]),
    ("syslog", headers.SYSLOG, "", SYSLOG_HEAD + LINE[16:].replace(b"Info: ", b"")),
    ("syslog, RFC 3164", headers.SYSLOG, "", b"Nov 23 21:00:00 mx1 dovecot: " + LINE[16:].replace(b"Info: ", b"")),
    ("an end in syslog", headers.SYSLOG, "", SYSLOG_HEAD + END[16:].replace(b"Info: ", b"")),
]


@pytest.mark.parametrize(("framing", "layout", "line"), [row[1:] for row in COMMON], ids=[row[0] for row in COMMON])
def test_the_common_form_is_taken_without_looking_at_each_line(framing: str, layout: str, line: bytes) -> None:
    """What is in no gap costs a tenth; a login that falls into one is read all the same."""
    reader = Stamps("UTC", layout)
    common = Common(Framer(framing, reader.pattern, bool(layout)), reader, (), ("dovecot",))
    parts = common.split(line + b"\n" + line + b"\n")
    assert [*parts[:: common.width]] == ["", "", "\n"]
    expected = Recogniser(Options(framing, timezone="UTC", timestamp=layout)).line(line, NOW)
    assert isinstance(expected, Login | SessionEnd)
    assert common.events(parts, NOW, None) == [expected, expected]


STAMPS = [
    b"Nov 23 21:00:00",
    b"2026-11-23T21:00:00Z",
    b"2026-11-23 22:00:00.5+0100",
    b"2026-11-23T21:00:00.123456-00:00",
]


@pytest.mark.parametrize("stamp", STAMPS, ids=bytes.decode)
def test_a_syslog_line_is_the_same_in_a_block_whatever_its_stamp(stamp: bytes) -> None:
    line = stamp + b" mx1 dovecot[442]: " + LINE[16:].replace(b"Info: ", b"")
    reader = Recogniser(Options("syslog", timezone="UTC"))
    event = reader.line(line, NOW)
    assert isinstance(event, Login)
    assert event.at == NOW - 10
    assert reader.block(line + b"\n" + line + b"\n", NOW) == ([event, event], 2)


def test_each_line_of_a_block_has_its_own_time() -> None:
    lines = [LINE.replace(b"21:00:00", stamp) for stamp in (b"21:00:00", b"20:59:58", b"21:00:00", b"20:59:58")]
    events, _ = Recogniser(Options("dovecot-file", timezone="UTC")).block(b"\n".join(lines) + b"\n", NOW)
    assert [event.at for event in events] == [NOW - 10, NOW - 12, NOW - 10, NOW - 12]


class Counting(Recogniser):
    """Counts the lines that are read one by one."""

    read = 0

    def line(self, raw: bytes, now: int, written_after: int | None = None) -> Event:
        self.read += 1
        return super().line(raw, now, written_after)


@pytest.mark.parametrize(("framing", "layout", "line"), [row[1:] for row in COMMON], ids=[row[0] for row in COMMON])
def test_a_block_of_the_common_form_is_not_read_line_by_line(framing: str, layout: str, line: bytes) -> None:
    reader = Counting(Options(framing, timezone="UTC", timestamp=layout))
    quiet = line[: line.index(b"imap")] + b"lmtp(alice)<1><x>: Info: saved mail to INBOX"
    events, count = reader.block((line + b"\n" + quiet + b"\n") * 20, NOW)
    assert (len(events), count, reader.read) == (20, 40, 0)


@pytest.mark.parametrize("program", [b"dovecot", b"mail-in"])
@pytest.mark.parametrize("host", [b"mx1", b"mx2"])
def test_a_block_of_several_hosts_and_programs_is_not_read_line_by_line(program: bytes, host: bytes) -> None:
    reader = Counting(Options("syslog", timezone="UTC", hostnames=("mx1", "mx2"), programs=("dovecot", "mail-in")))
    line = b"Nov 23 21:00:00 " + host + b" " + program + b": " + LINE[16:]
    events, _ = reader.block(line + b"\n", NOW)
    assert ([type(event) for event in events], reader.read) == ([Login], 0)
    assert isinstance(reader.line(line.replace(host, b"mx3"), NOW), Refusal)


@pytest.mark.parametrize("written_after", [None, 1792891200, 1792887600])
def test_an_hour_that_happens_twice_is_read_alike_in_a_block(written_after: int | None) -> None:
    """2026-10-25 in Berlin: 02:31 is at 00:31 and at 01:31 UTC; it is known to be written after 01:20 or 00:20."""
    line = LINE.replace(b"Nov 23 21:00", b"Oct 25 02:31")
    reader = Recogniser(Options("dovecot-file", timezone="Europe/Berlin"))
    event = reader.line(line, NOW, written_after)
    assert isinstance(event, Login)
    assert event.at == (1792888260 if written_after != 1792891200 else 1792891860)
    assert reader.block(line + b"\n", NOW, written_after) == ([event], 1)
