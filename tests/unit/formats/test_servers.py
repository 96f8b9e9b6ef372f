"""Several servers on one program: one line, one reading; two readings of one line grant nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from popauthd.formats import grammars, options
from popauthd.formats.framing import Frame
from popauthd.formats.options import Options
from popauthd.formats.recogniser import LINE_BYTES, Recogniser
from popauthd.formats.row import Came, Outcome
from popauthd.formats.servers import FORMATS
from popauthd.model import Event, Ignored, Login, Refusal, SessionEnd
from tests.support.corpus_samples import NOW
from tests.support.dovecot_lines import END, LINE

AT = NOW - 10
HEAD = b"Nov 23 21:00:00 mx1 imapd[7]: "
COURIER = HEAD + b"LOGIN, user=alice, ip=[192.0.2.10], port=[255], protocol=IMAP"
CYRUS = HEAD + b"login: client.example [192.0.2.10] alice plaintext User logged in SESSIONID=<x>"
UW = HEAD + b"Login user=alice host=client.example [192.0.2.10]"
DOVECOT = HEAD + LINE[16:]
ENDED = HEAD + END[16:]
SHARED = ("dovecot", "courier", "uw")
ON_IMAPD = Options("syslog", SHARED, timezone="UTC", programs=("imapd",))

READ = [
    ("courier", COURIER, Login(AT, "192.0.2.10", "alice", "imap", format="courier")),
    ("uw", UW, Login(AT, "192.0.2.10", "alice", "imap", format="uw")),
    ("dovecot", DOVECOT, Recogniser(Options("dovecot-file", timezone="UTC")).line(LINE, NOW)),
    ("an end of dovecot's", ENDED, SessionEnd(AT, "aKTn", "alice", "imap", "dovecot")),
    ("a near miss", COURIER + b"x", Refusal("bad-elements", AT, format="courier")),
    (
        "refused by two",
        HEAD + b"LOGIN, user=a login: user=<a>, rip=6.6.6.6",
        Refusal("wrong-process", AT, format="dovecot"),
    ),
    ("a failure", DOVECOT.replace(b"Login: ", b"Login failed: "), Ignored("failure", "dovecot")),
    ("no business of anybody's", HEAD + b"login: ", Ignored("other")),
    ("no such day", UW.replace(b"Nov 23", b"Nov 31"), Refusal("bad-stamp", user="alice", format="uw")),
]


@pytest.mark.parametrize(("line", "event"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_where_servers_share_a_program_a_line_is_read_by_its_own(line: bytes, event: Event) -> None:
    reader = Recogniser(ON_IMAPD)
    assert reader.line(line, NOW) == event
    assert reader.block(line + b"\n", NOW)[0] == ([] if isinstance(event, Ignored) else [event])


def test_a_line_that_cyrus_would_have_to_refuse_is_refused_beside_it() -> None:
    reader = Recogniser(replace(ON_IMAPD, formats=(*SHARED, "cyrus")))
    assert reader.line(CYRUS, NOW) == Login(AT, "192.0.2.10", "alice", "imap", "PLAINTEXT", format="cyrus")
    assert reader.line(UW, NOW) == Login(AT, "192.0.2.10", "alice", "imap", format="uw")
    assert reader.line(DOVECOT, NOW) == Refusal("hostile-failure", AT, format="cyrus")


def test_a_server_that_is_not_chosen_reads_nothing_on_a_shared_program() -> None:
    alone = Recogniser(replace(ON_IMAPD, formats=("uw",)))
    assert isinstance(alone.line(UW, NOW), Login)
    assert alone.line(COURIER, NOW) == Ignored("other")
    assert not isinstance(alone.line(DOVECOT, NOW), Login)


TWINS: list[tuple[str, bytes, Outcome, Event]] = [
    ("two logins", COURIER, Login(AT, "192.0.2.11", "bob", "imap", format="twin"), Refusal("ambiguous", AT)),
    ("two equal logins", COURIER, Login(AT, "192.0.2.10", "alice", "imap", format="courier"), Refusal("ambiguous", AT)),
    ("one half and a login", COURIER, Came("192.0.2.11"), Refusal("ambiguous", AT)),
    ("an end and a login", COURIER, SessionEnd(AT, "x", "alice", "imap", "twin"), Refusal("ambiguous", AT)),
    ("a refusal and a login", COURIER, Refusal("torn", AT, format="twin"), Refusal("torn", AT, format="twin")),
    (
        "dovecot's login and another",
        DOVECOT,
        Login(AT, "192.0.2.11", "bob", "imap", format="twin"),
        Refusal("ambiguous", AT),
    ),
    ("dovecot's end and another", ENDED, Came("192.0.2.11"), Refusal("ambiguous", AT)),
    (
        "ignored by the other",
        COURIER,
        Ignored("failure", "twin"),
        Login(AT, "192.0.2.10", "alice", "imap", format="courier"),
    ),
    ("not known by the other", COURIER, None, Login(AT, "192.0.2.10", "alice", "imap", format="courier")),
    (
        "known by the other alone",
        HEAD + b"LOGIN, ",
        Ignored("failure", "twin"),
        Refusal("bad-elements", AT, format="courier"),
    ),
    ("ignored by the other alone", HEAD + b"login: ", Ignored("failure", "twin"), Ignored("failure", "twin")),
]


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize(("line", "outcome", "event"), [row[1:] for row in TWINS], ids=[row[0] for row in TWINS])
def test_a_line_that_two_servers_read_is_refused(
    monkeypatch: pytest.MonkeyPatch, line: bytes, outcome: Outcome, event: Event, first: bool
) -> None:
    """A server as somebody may add it to the table, whose grammar gives `outcome` for every line."""

    def read(frame: Frame, at: int) -> Outcome:
        return outcome

    courier = next(row for row in FORMATS if row.name == "courier")
    twin = replace(courier, name="twin", part_of="twin", read=read, triggers=(b"login",))
    rows = (twin, *FORMATS) if first else (*FORMATS, twin)
    monkeypatch.setattr(grammars, "FORMATS", rows)
    monkeypatch.setattr(options, "FORMATS", rows)
    reader = Recogniser(replace(ON_IMAPD, formats=(*SHARED, "twin")))
    assert reader.line(line, NOW) == event
    assert reader.block(line + b"\n", NOW)[0] == ([] if isinstance(event, Ignored) else [event])


@pytest.mark.parametrize("more", [0, 1], ids=["65536 bytes", "65537 bytes"])
def test_a_line_of_64_kib_is_read_and_a_longer_one_is_not(more: int) -> None:
    assert LINE_BYTES == 65536
    long = LINE.replace(b"alice", b"a" * (65536 - len(LINE) + 5 + more))
    reader = Recogniser(Options("dovecot-file", timezone="UTC"))
    # What is read is too long for a login of Dovecot's, and may be a piece of another line.
    refused = Refusal("too-long") if more else Refusal("torn", NOW - 10, format="dovecot")
    assert len(long) == 65536 + more
    assert reader.line(long, NOW) == refused
    quiet = b"Nov 23 21:00:00 lmtp: Info: x"
    for lines in ([long], [LINE, long, LINE], [quiet, LINE, quiet, quiet, LINE, quiet, long, quiet, LINE, quiet]):
        block = b"\n".join(lines) + b"\n"
        events, _ = reader.block(block, NOW)
        assert [event for event in events if event != reader.line(LINE, NOW)] == [refused]


def test_a_long_line_of_noise_is_refused_in_its_place() -> None:
    quiet, noise = b"Nov 23 21:00:00 lmtp: Info: x", b"x" * 65537
    lines = [quiet, LINE, quiet, quiet, LINE, noise, LINE, quiet, noise, noise[:-1], LINE]
    events, count = Recogniser(Options("dovecot-file", timezone="UTC")).block(b"\n".join(lines) + b"\n", NOW)
    assert count == len(lines)
    assert [type(event) for event in events] == [Login, Login, Refusal, Login, Refusal, Login]
