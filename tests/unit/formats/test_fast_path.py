"""The common form of a line, taken many at once: what it takes, and that a line near it is read alike."""

from __future__ import annotations

import pytest

from popauthd.formats import headers
from popauthd.formats.fast_path import LEARNT, Common
from popauthd.formats.framing import Framer
from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser, matters
from popauthd.formats.timestamps import Stamps
from popauthd.model import Event, Ignored, Login, Refusal, SessionEnd
from tests.support.corpus_samples import NOW
from tests.support.dovecot_lines import END, LINE

FAILURE = (
    b"Nov 23 21:00:00 imap-login: Info: Disconnected: Connection closed (auth failed, 2 attempts in 9 secs): user=<bob>"
    b", method=PLAIN, rip=203.0.113.9, lip=198.51.100.5, TLS, session=<aKTnLvhgIrN/AAAC>"
)
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
    ("a second that is no number", LINE.replace(b"21:00:00", b"21:00:0x"), Refusal),
    ("a second that ends in no digit", LINE.replace(b"21:00:00", b"21:00:0 "), Refusal),
    ("nineteen bytes that are no stamp", b"abc " + LINE, Refusal),
    ("a long user", LINE.replace(b"alice", b"a" * 2000), Login),
    ("a user with a bracket", LINE.replace(b"alice", b"a<b"), Refusal),
    ("a user with a NUL", LINE.replace(b"alice", b"a\x00b"), Refusal),
    ("a user with a CR", LINE.replace(b"alice", b"a\rb"), Refusal),
    ("a session with a blank", LINE.replace(b"<aKTnLvhgIrN", b"<a n"), Refusal),
    ("a session with a NUL", LINE.replace(b"<aKTnLvhgIrN", b"<a\x00n"), Refusal),
    ("an end of a user with a bracket", END.replace(b"alice", b"a>b"), Ignored),
    ("an end of a user with a NUL", END.replace(b"alice", b"a\x00b"), Ignored),
    ("a failure", FAILURE, Ignored),
    ("a failure whose reason ends like a login", FAILURE.replace(b"9 secs)", b"9 secs) login"), Refusal),
    ("a failure whose reason ends like a success", FAILURE.replace(b"9 secs)", b"Logged in"), Refusal),
    ("a failure of a user who quotes a login", FAILURE.replace(b"bob", b"login: user=bob"), Refusal),
    ("a failure of a user who quotes an address", FAILURE.replace(b"bob", b"rip=6.6.6.6"), Refusal),
    ("a failure without an address", FAILURE.replace(b"203.0.113.9", b"203.0.113"), Ignored),
    ("an end with a reason", END.replace(b"Logged out", b"Connection closed: read(size=7) failed"), SessionEnd),
    ("an end whose reason quotes a login", END + b" imap-login: Info: Login: user=a", Refusal),
    ("an end whose reason quotes elements", END + b" user=<a>, rip=6.6.6.6", Refusal),
    ("an end with a CR", END + b"\r", Ignored),
    ("an end with a NUL", END + b"\x00", Ignored),
    ("an end whose session holds a blank", END.replace(b"<aKTn>", b"<a n>"), Ignored),
]


@pytest.mark.parametrize(("line", "kind"), [row[1:] for row in NEAR], ids=[row[0] for row in NEAR])
def test_a_line_near_the_common_form_is_the_same_in_a_block(line: bytes, kind: type) -> None:
    reader = Recogniser(Options("dovecot-file", timezone="UTC"))
    event = reader.line(line, NOW)
    assert type(event) is kind
    known = matters([event] * 2)
    for _ in range(2):  # before anything is learnt, and after
        assert reader.block(line + b"\n" + line + b"\n", NOW) == (known, 2)
        reader.block(LINE + b"\n", NOW)


COMMON = [
    ("own file", headers.DOVECOT_FILE, "", b"Nov 23 21:00:00 "),
    ("own file, ISO", headers.DOVECOT_FILE, "", b"2026-11-23 21:00:00 "),
    ("own file with its own stamps", headers.DOVECOT_FILE, "%H:%M:%S %d %b", b"21:00:00 23 Nov "),
    ("syslog, ISO", headers.SYSLOG, "", b"2026-11-23T21:00:00.5+00:00 mx1 dovecot[442]: "),
    ("syslog, RFC 3164", headers.SYSLOG, "", b"Nov 23 21:00:00 mx1 dovecot: "),
]
COMMON_IDS = [row[0] for row in COMMON]


def lines_of(framing: str, head: bytes) -> list[bytes]:
    """A login, an end and a failure of the common form."""
    texts = (LINE[16:], END[16:], FAILURE[16:])
    return [head + (text if framing == headers.DOVECOT_FILE else text.replace(b"Info: ", b"")) for text in texts]


@pytest.mark.parametrize(("framing", "layout", "head"), [row[1:] for row in COMMON], ids=COMMON_IDS)
def test_the_common_form_is_taken_without_looking_at_each_line(framing: str, layout: str, head: bytes) -> None:
    """What is in no gap costs a tenth; a login that falls into one is read all the same."""
    login, end, failure = lines_of(framing, head)
    stamps = Stamps("UTC", layout)
    common = Common(Framer(framing, stamps.pattern, bool(layout)), stamps, (), ("dovecot",))
    assert common.take(login + b"\n", NOW, None).gaps == [b"\n" + login + b"\n"]
    assert common.learn(login, lambda raw: raw == login)
    taken = common.take(b"\n".join([login, end, failure, login, b""]), NOW, None)
    assert taken.gaps == [b"", b"", b"", b"", b"\n"]
    assert not taken.doubtful
    strict = Recogniser(Options(framing, timezone="UTC", timestamp=layout))
    events = [strict.line(line, NOW) for line in (login, end, failure)]
    assert [*taken.logins.events()] == [events[0]] * 2
    assert [*taken.ends.events()] == [events[1]]
    assert (taken.logins.place, taken.ends.place) == ([0, 3], [1])
    assert isinstance(events[2], Ignored)
    assert taken.failures == [(5, events[2].failed)]


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


@pytest.mark.parametrize(("framing", "layout", "head"), [row[1:] for row in COMMON], ids=COMMON_IDS)
def test_a_block_of_the_common_form_is_not_read_line_by_line(framing: str, layout: str, head: bytes) -> None:
    reader = Counting(Options(framing, timezone="UTC", timestamp=layout))
    login, end, failure = lines_of(framing, head)
    reader.block(login + b"\n", NOW)
    reader.read = 0
    quiet = login[: login.index(b"imap")] + b"lmtp(alice)<1><x>: Info: saved mail to INBOX"
    for line in (login, end, failure):
        events, count = reader.block((line + b"\n" + quiet + b"\n") * 20, NOW)
        assert (len(events), count, reader.read) == (20, 40, 0)


def test_the_longest_login_of_the_common_form_is_no_piece_of_a_message() -> None:
    """The strict reader refuses longer ones, which the pattern does not measure."""
    address = b"0000:0000:0000:0000:0000:ffff:255.255.255.255"
    cipher = b"TLSv99999 with cipher %b (9999/9999 bits) run length compression" % (b"C" * 64)
    text = b"imap-login: Info: Logged in: user=<%b>, method=%b, rip=%b, lip=%b, mpid=%b, secured, %b, session=<%b>" % (
        *(b"u" * 256, b"M" * 20, address, address, b"1" * 10, cipher, b"s" * 255),
    )
    line = b"Nov 23 21:00:00 mx1 dovecot: " + text
    reader = Counting(Options("syslog", timezone="UTC"))
    event = reader.line(line, NOW)
    assert isinstance(event, Login)
    reader.block(line + b"\n", NOW)
    reader.read = 0
    assert reader.block(line + b"\n", NOW) == ([event], 1)
    assert reader.read == 0


def test_logins_and_failures_that_name_their_cipher_are_not_read_line_by_line() -> None:
    cipher = b", TLS, TLSv1.3 with cipher TLS_AES_256_GCM_SHA384 (256/256 bits)"
    reader = Counting(Options("dovecot-file", timezone="UTC"))
    named = [line.replace(b", TLS", cipher) for line in (LINE, FAILURE)]
    lines = [*named, LINE.replace(b", TLS", b""), LINE, FAILURE]
    expected = matters(Recogniser(Options("dovecot-file", timezone="UTC")).line(line, NOW) for line in lines)
    for _ in range(2):
        reader.read = 0
        assert reader.block(b"\n".join([*lines, b""]), NOW) == (expected, 5)
    assert reader.read == 0


@pytest.mark.parametrize("program", [b"dovecot", b"mail-in"])
@pytest.mark.parametrize("host", [b"mx1", b"mx2"])
def test_a_block_of_several_hosts_and_programs_is_not_read_line_by_line(program: bytes, host: bytes) -> None:
    reader = Counting(Options("syslog", timezone="UTC", hostnames=("mx1", "mx2"), programs=("dovecot", "mail-in")))
    line = b"Nov 23 21:00:00 " + host + b" " + program + b": " + LINE[16:]
    reader.block(line + b"\n", NOW)
    reader.read = 0
    events, _ = reader.block(line + b"\n", NOW)
    assert ([type(event) for event in events], reader.read) == ([Login], 0)
    assert isinstance(reader.line(line.replace(host, b"mx3"), NOW), Refusal)


VARIED = [
    ("host", b"mx1", b"h%d"),
    ("method", b"method=PLAIN", b"method=M%d"),
    ("local address", b"198.51.100.5", b"198.51.100.%d"),
    ("zone", b"+00:00", b"+%02d:00"),
]


@pytest.mark.parametrize(("old", "new"), [row[1:] for row in VARIED], ids=[row[0] for row in VARIED])
def test_more_literals_than_are_learnt_are_taken_all_the_same(old: bytes, new: bytes) -> None:
    (line, _end, _failure) = lines_of(*COMMON[3][1::2])
    block = b"".join(line.replace(old, new % number) + b"\n" for number in range(LEARNT + 7))
    reader, strict = Counting(Options("syslog", timezone="UTC")), Recogniser(Options("syslog", timezone="UTC"))
    events = [strict.line(raw, NOW) for raw in block.split(b"\n")[:-1]]
    assert reader.block(block, NOW) == (events, LEARNT + 7)
    reader.read = 0
    assert reader.block(block, NOW) == (events, LEARNT + 7)
    assert reader.read == 0
    for wrong in (b"ANONYMOUS", b"198.51.100.", b"+99:99", b""):
        near = line.replace(old, old.partition(b"=")[0] + b"=" + wrong if b"=" in old else wrong)
        assert reader.block(near + b"\n", NOW) == (matters([strict.line(near, NOW)]), 1)


def test_only_a_login_that_the_strict_reader_takes_is_learnt_from() -> None:
    login, end, failure = lines_of(*COMMON[4][1::2])
    stamps = Stamps("UTC")
    common = Common(Framer(headers.SYSLOG, stamps.pattern), stamps, (), ("dovecot",))
    for line in (end, failure, login + b" ", login.replace(b"PLAIN", b"ANONYMOUS")):
        assert not common.learn(line, lambda _raw: True)
    assert not common.learn(login, lambda raw: raw != login)
    assert common.take(login + b"\n", NOW, None).gaps == [b"\n" + login + b"\n"]
    assert common.learn(login, lambda _raw: True)
    assert not common.learn(login, lambda _raw: True)


def test_iso_stamps_with_and_without_a_fraction_are_not_read_line_by_line() -> None:
    (line, end, _failure) = lines_of(*COMMON[3][1::2])
    whole = [text.replace(b":00.5+", b":00+") for text in (line, end)]
    lines = [line, end, *whole, end, line, *lines_of(*COMMON[4][1::2])[:2]]
    reader, strict = Counting(Options("syslog", timezone="UTC")), Recogniser(Options("syslog", timezone="UTC"))
    expected = (matters(strict.line(raw, NOW) for raw in lines), len(lines))
    assert {event.at for event in expected[0] if isinstance(event, Login | SessionEnd)} == {NOW - 10}
    for _ in range(2):
        reader.read = 0
        assert reader.block(b"\n".join([*lines, b""]), NOW) == expected
    assert reader.read == 0


def test_an_end_whose_reason_has_a_colon_is_not_read_line_by_line() -> None:
    reader = Counting(Options("dovecot-file", timezone="UTC"))
    lines = [LINE, END.replace(b"Logged out", b"Connection closed: read(size=7) failed"), END]
    reader.block(LINE + b"\n", NOW)
    reader.read = 0
    events, _ = reader.block(b"\n".join([*lines, b""]), NOW)
    assert ([type(event) for event in events], reader.read) == ([Login, SessionEnd, SessionEnd], 0)


@pytest.mark.parametrize("written_after", [None, 1792891200, 1792887600])
def test_an_hour_that_happens_twice_is_read_alike_in_a_block(written_after: int | None) -> None:
    """2026-10-25 in Berlin: 02:31 is at 00:31 and at 01:31 UTC; it is known to be written after 01:20 or 00:20."""
    line = LINE.replace(b"Nov 23 21:00", b"Oct 25 02:31")
    reader = Recogniser(Options("dovecot-file", timezone="Europe/Berlin"))
    event = reader.line(line, NOW, written_after)
    assert isinstance(event, Login)
    assert event.at == (1792888260 if written_after != 1792891200 else 1792891860)
    assert reader.block(line + b"\n", NOW, written_after) == ([event], 1)
