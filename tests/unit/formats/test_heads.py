"""Heads of log services, containers and other syslog daemons: read where that is safe, else named."""

from __future__ import annotations

import pytest

from popauthd.formats.options import Options
from popauthd.formats.other_heads import OTHER_HEADS
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Event, Login, Matter, Refusal

NOW = 1795645230  # 2026-11-25T22:20:30Z
AT = NOW - 11
TEXT = b"imap-login: Login: user=<joe>, method=PLAIN, rip=192.0.2.10, lip=198.51.100.5, mpid=4, TLS, session=<aKTn>"
OWN = TEXT.replace(b"Login: ", b"Info: Login: ", 1)
TAI = b"@%016x22831b54" % ((1 << 62) + 10 + AT)
SYSLOG, FILE = "syslog", "dovecot-file"
CONTAINER = b"Nov 25 22:20:19 dockerhost dovecot-mailcow[812]: "

READ = [
    ("s6-log, two stamps", FILE, b"2026-11-25 22:20:19.579047500  Nov 25 22:20:18 "),
    ("s6-log", FILE, b"2026-11-25 22:20:19.579047500  "),
    ("tai64nlocal", FILE, b"2026-11-25 22:20:19.579047500 "),
    ("tai64nlocal, two stamps", FILE, b"2026-11-25 22:20:19.579047500 Nov 25 22:20:18 "),
    ("two stamps in ISO 8601", FILE, b"2026-11-25 22:20:19.579047500 2026-11-25 22:20:18 "),
    ("multilog", FILE, TAI + b" "),
    ("multilog, two stamps", FILE, TAI + b" Nov 25 22:20:18 "),
    ("svlogd -tt", FILE, b"2026-11-25_22:20:19.57904 "),
    ("svlogd -ttt", FILE, b"2026-11-25T22:20:19.57904 "),
    ("svlogd -tt, two stamps", FILE, b"2026-11-25_22:20:19.57904 Nov 25 22:20:18 "),
    ("CRI", FILE, b"2026-11-25T22:20:19.579047500Z stderr F Nov 25 22:20:18 "),
    ("CRI with an offset", FILE, b"2026-11-25T23:20:19.579047500+01:00 stdout F Nov 25 22:20:18 "),
    ("CRI without Dovecot's stamp", FILE, b"2026-11-25T22:20:19.579047500Z stderr F "),
    ("CRI, syslog", SYSLOG, b"2026-11-25T22:20:19.579047500Z stdout F Nov 25 22:20:18 mail dovecot: "),
    ("docker logs -t", FILE, b"2026-11-25T22:20:19.579047500Z Nov 25 22:20:18 "),
    ("docker logs -t, syslog", SYSLOG, b"2026-11-25T22:20:19.579047500Z 2026-11-25T22:20:18+00:00 mail dovecot[1]: "),
    ("journalctl -o short-precise", SYSLOG, b"Nov 25 22:20:19.123456 mx dovecot[442]: "),
    ("journalctl -o short-full", SYSLOG, b"Wed 2026-11-25 22:20:19 UTC mx dovecot[442]: "),
    ("journalctl -o short-iso", SYSLOG, b"2026-11-25T22:20:19+0000 mx dovecot[442]: "),
    ("BusyBox", SYSLOG, b"Nov 25 22:20:19 mx mail.info dovecot: "),
    ("OpenWrt", SYSLOG, b"Wed Nov 25 22:20:19 2026 mail.info dovecot[442]: "),
    ("OpenWrt, logread -t", SYSLOG, b"Wed Nov 25 22:20:19 2026 [1795645219.579] mail.info dovecot: "),
    ("OpenWrt, another facility", SYSLOG, b"Wed Nov 25 22:20:19 2026 daemon.notice dovecot: "),
    ("a level", SYSLOG, b"2026-11-25T22:20:19.123456+00:00 mx INFO dovecot: "),
    ("a PRI and a level", SYSLOG, b"<22>2026-11-25T22:20:19.123456+00:00 mx INFO dovecot: "),
    ("a PRI", SYSLOG, b"<22>2026-11-25T22:20:19.123456+00:00 mx dovecot: "),
]


def reader_of(framing: str, *programs: str, hosts: tuple[str, ...] = (), timezone: str = "UTC") -> Recogniser:
    return Recogniser(Options(framing, timezone=timezone, programs=programs or ("dovecot",), hostnames=hosts))


def login(event: Event | Matter) -> tuple[str, int] | None:
    return (event.address, event.at) if isinstance(event, Login) else None


@pytest.mark.parametrize(("framing", "head"), [row[1:] for row in READ], ids=[row[0] for row in READ])
def test_a_head_is_read_and_its_framing_told(framing: str, head: bytes) -> None:
    line = head + (OWN if framing == FILE else TEXT)
    for chosen in (framing, "auto"):
        reader = reader_of(chosen)
        assert login(reader.line(line, NOW)) == ("192.0.2.10", AT)
        assert (reader.framing, reader.stamp(line, NOW), reader.head_name(line)) == (framing, AT, "")
    assert [login(event) for event in reader_of(framing).block((line + b"\n") * 2, NOW)[0]] == [("192.0.2.10", AT)] * 2
    assert login(reader_of(FILE if framing == SYSLOG else SYSLOG).line(line, NOW)) is None


@pytest.mark.parametrize(("framing", "head"), [row[1:] for row in READ], ids=[row[0] for row in READ])
@pytest.mark.parametrize("user", [b"x", b"   ", b"\xff", b": "])
def test_nothing_may_stand_between_a_head_and_its_message(framing: str, head: bytes, user: bytes) -> None:
    text = OWN if framing == FILE else TEXT
    for line in (head + user + text, user + head + text):
        assert login(reader_of(framing).line(line, NOW)) is None
    failed = text.replace(b"Login: user=<joe>", b"Aborted login (auth failed): user=<" + head + text + b">")
    assert login(reader_of(framing).line(head + failed, NOW)) is None


def test_a_login_without_its_level_is_no_login_of_dovecots_own_file() -> None:
    for name, framing, head in READ:
        if framing == FILE:
            event = reader_of(FILE).line(head + TEXT, NOW)
            assert isinstance(event, Refusal), name
            assert event.reason == "no-level", name


@pytest.mark.parametrize("timezone", ["UTC", "Europe/Berlin", "America/New_York"])
def test_svlogd_writes_utc_wherever_the_machine_stands(timezone: str) -> None:
    reader = reader_of(FILE, timezone=timezone)
    for mark in (b"_", b"T"):
        assert login(reader.line(b"2026-11-25%b22:20:19.57904 " % mark + OWN, NOW)) == ("192.0.2.10", AT)


def test_the_stamp_of_the_log_service_counts_where_dovecots_own_was_changed() -> None:
    reader = Recogniser(Options(FILE, timezone="UTC", timestamp="%H:%M:%S %d.%m."))
    assert login(reader.line(b"2026-11-25 22:20:19.579047500  22:20:18 25.11. " + OWN, NOW)) == ("192.0.2.10", AT)
    assert login(reader.line(b"22:20:19 25.11. " + OWN, NOW)) == ("192.0.2.10", AT)
    assert login(reader.line(b"2026-11-25 22:20:19.579047500  Nov 25 22:20:18 " + OWN, NOW)) is None


ZONES = [
    ("UTC anywhere", "Europe/Berlin", b"Wed 2026-11-25 22:20:19 UTC", AT),
    ("the zone in force", "Europe/Berlin", b"Wed 2026-11-25 23:20:19 CET", AT),
    ("summer time in winter", "Europe/Berlin", b"Wed 2026-11-25 23:20:19 CEST", None),
    ("another zone", "Europe/Berlin", b"Wed 2026-11-25 17:20:19 EST", None),
    ("a number", "America/Sao_Paulo", b"Wed 2026-11-25 19:20:19 -03", AT),
    ("another number", "America/Sao_Paulo", b"Wed 2026-11-25 19:20:19 -04", None),
    ("summer time, when the hour happens twice", "Europe/Berlin", b"Sun 2026-10-25 02:31:00 CEST", 1792888260),
    ("winter time, when the hour happens twice", "Europe/Berlin", b"Sun 2026-10-25 02:31:00 CET", 1792891860),
    ("no such day", "UTC", b"Wed 2026-11-31 22:20:19 UTC", None),
]


@pytest.mark.parametrize(("timezone", "stamp", "at"), [row[1:] for row in ZONES], ids=[row[0] for row in ZONES])
def test_a_zone_that_a_stamp_names_must_be_the_one_in_force(timezone: str, stamp: bytes, at: int | None) -> None:
    event = reader_of(SYSLOG, timezone=timezone).line(stamp + b" mx dovecot[442]: " + TEXT, NOW)
    assert isinstance(event, Login if at else Refusal)
    assert event.at == at


LOGREAD = [
    ("a month that is none", b"Wed Nuv 25 22:20:19 2026 mail.info dovecot: ", "bad-stamp"),
    ("a day that is none", b"Wed Nov 31 22:20:19 2026 mail.info dovecot: ", "bad-stamp"),
    ("no level", b"Wed Nov 25 22:20:19 2026 dovecot: ", "unframed"),
    ("a level that is none", b"Wed Nov 25 22:20:19 2026 mail.loud dovecot: ", "unframed"),
    ("a host too", b"Wed Nov 25 22:20:19 2026 mx mail.info dovecot: ", "unframed"),
    ("BusyBox with a facility that is none", b"Nov 25 22:20:19 mx male.info dovecot: ", "unframed"),
    ("two levels", b"Nov 25 22:20:19 mx INFO INFO dovecot: ", "unframed"),
    ("a level in two cases", b"Nov 25 22:20:19 mx Info dovecot: ", "unframed"),
    ("a piece of a line", b"2026-11-25T22:20:19.579047500Z stdout P Nov 25 22:20:18 mail dovecot: ", "unframed"),
    ("another stream", b"2026-11-25T22:20:19.579047500Z stdin F Nov 25 22:20:18 mail dovecot: ", "unframed"),
    ("a datagram", b"<22>Nov 25 22:20:19 mx dovecot: ", "raw-pri"),
    ("a PRI that is none", b"<192>2026-11-25T22:20:19Z mx dovecot: ", "raw-pri"),
    ("another program", b"Nov 25 22:20:19 mx mail.info logger: ", "other-program"),
]


@pytest.mark.parametrize(("head", "reason"), [row[1:] for row in LOGREAD], ids=[row[0] for row in LOGREAD])
def test_a_head_that_is_not_quite_so_is_refused(head: bytes, reason: str) -> None:
    event = reader_of(SYSLOG).line(head + TEXT, NOW)
    assert isinstance(event, Refusal)
    assert event.reason == reason


def test_a_line_without_a_host_does_not_count_where_hosts_are_named() -> None:
    line = b"Wed Nov 25 22:20:19 2026 mail.info dovecot: " + TEXT
    assert reader_of(SYSLOG, hosts=("mx",)).line(line, NOW) == Refusal("other-host")


INSIDE = [
    ("its own syslog", b"Nov 25 22:20:18 mail dovecot: " + TEXT, True),
    ("its own syslog, ISO 8601", b"2026-11-25T22:20:18.5+00:00 mail dovecot[7]: " + TEXT, True),
    ("Dovecot's own file", b"Nov 25 22:20:18 " + OWN, True),
    ("another program", b"Nov 25 22:20:18 mail postfix/smtpd[7]: " + TEXT, False),
    ("no level", b"Nov 25 22:20:18 " + TEXT, False),
    ("no stamp", b"dovecot: " + TEXT, False),
    (
        "a container in a container",
        b"Nov 25 22:20:18 mail dovecot-mailcow[7]: Nov 25 22:20:18 m dovecot: " + TEXT,
        False,
    ),
    ("user text before it", b"GET / Nov 25 22:20:18 mail dovecot: " + TEXT, False),
]


@pytest.mark.parametrize(("text", "counts"), [row[1:] for row in INSIDE], ids=[row[0] for row in INSIDE])
def test_what_a_container_writes_counts_where_its_tag_is_named(text: bytes, counts: bool) -> None:
    line = CONTAINER + text
    for programs in (("dovecot-mailcow",), ("dovecot", "dovecot-mailcow")):
        reader = reader_of(SYSLOG, *programs)
        assert login(reader.line(line, NOW)) == (("192.0.2.10", AT) if counts else None)
        assert reader.stamp(line, NOW) == AT
        assert reader.head_name(line) == ""
    for programs in (("dovecot",), ("dovecot", "another")):
        assert login(reader_of(SYSLOG, *programs).line(line, NOW)) is None
    assert login(reader_of(SYSLOG, "dovecot-mailcow", hosts=("mail",)).line(line, NOW)) is None
    assert (login(reader_of(SYSLOG, "dovecot-mailcow", hosts=("dockerhost",)).line(line, NOW)) is not None) == counts


def test_dovecot_itself_is_no_container() -> None:
    line = b"Nov 25 22:20:19 mx dovecot: Nov 25 22:20:18 mail dovecot: " + TEXT
    event = reader_of(SYSLOG).line(line, NOW)
    assert isinstance(event, Refusal)
    assert event.reason == "wrong-process"


def test_an_instance_is_read_beside_what_containers_write() -> None:
    reader = reader_of(SYSLOG, "dovecot", "dovecot-mailcow")
    assert login(reader.line(CONTAINER + TEXT, NOW)) == ("192.0.2.10", AT)


NAMED = [
    (
        "compose",
        SYSLOG,
        b"dovecot-mailcow_1 | Nov 25 22:20:19 mail dovecot: ",
        "docker-compose's prefix (dovecot-mailcow_1 |)",
    ),
    ("compose, newer", SYSLOG, b"dovecot-1  | Nov 25 22:20:19 mail dovecot: ", "docker-compose's prefix (dovecot-1 |)"),
    ("no stamp", SYSLOG, b"dovecot: ", "no time stamp"),
    ("no stamp in an own file", FILE, b"", "no time stamp"),
    ("a datagram", SYSLOG, b"<22>Nov 25 22:20:19 mx dovecot: ", "a raw syslog priority (<22>)"),
    ("no host", SYSLOG, b"Nov 25 22:20:19 dovecot: ", "a time stamp and no host"),
    ("no name for the host", SYSLOG, b"Nov 25 22:20:19 (none) dovecot: ", "a host in parentheses"),
    ("blanks", SYSLOG, b"Nov 25 22:20:19  mx dovecot: ", "blanks where none are read"),
    ("socklog", SYSLOG, b"mail.info: Nov 25 22:20:19 dovecot: ", "socklog's (facility and level; no host)"),
    (
        "journalctl -o short-unix",
        SYSLOG,
        b"1795645219.123456 mx dovecot[1]: ",
        "a time in seconds (journalctl -o short-unix)",
    ),
    (
        "journalctl -o short-monotonic",
        SYSLOG,
        b"[  345.678901] mx dovecot[1]: ",
        "no time of day (journalctl -o short-monotonic)",
    ),
    ("another stamp", SYSLOG, b"25.11.2026 22:20:19 mx dovecot: ", "a time stamp of another form"),
    ("colours", SYSLOG, b"\x1b[32mNov 25 22:20:19 mx dovecot: ", "colours (ANSI escapes)"),
    ("JSON", SYSLOG, b'{"message": "', "a JSON record that is not of docker's json-file or of journalctl"),
    ("a piece", FILE, b"2026-11-25T22:20:19Z stdout P Nov 25 22:20:19 ", "a piece of a line (Kubernetes CRI, P)"),
    ("no colon", SYSLOG, b"Nov 25 22:20:19 mx dovecot[1] ", "a program without its colon"),
    (
        "something after the stamp",
        SYSLOG,
        b"Nov 25 22:20:19 ** ",
        "a time stamp, then something else than host and program",
    ),
    ("unknown", SYSLOG, b"~\x1b\xe2\x80\xae ", "something unknown (~\\x1b\xe2\\x80\xae imap-login: Login:)"),
    ("an own file", SYSLOG, b"Nov 25 22:20:19 ", "a time stamp and no host"),
    ("syslog", FILE, b"Nov 25 22:20:19 mx dovecot: ", 'that of syslog: set framing = "syslog"'),
    (
        "a container",
        SYSLOG,
        b"Nov 25 22:20:19 dockerhost 3c1f0e2d4b5a[812]: Nov 25 22:20:18 mail dovecot: ",
        'a container\'s output in syslog: name its tag, programs = ["3c1f0e2d4b5a"]',
    ),
    ("text in a journal", "journal", b"Nov 25 22:20:19 mx dovecot: ", "text that is no journal record"),
]


@pytest.mark.parametrize(("framing", "head", "said"), [row[1:] for row in NAMED], ids=[row[0] for row in NAMED])
def test_a_head_that_is_not_read_is_named(framing: str, head: bytes, said: str) -> None:
    reader = reader_of(framing)
    assert isinstance(reader.line(head + TEXT, NOW), Refusal)
    assert reader.head_name(head + TEXT) == said


def test_a_head_that_fits_another_framing_is_named_with_the_setting() -> None:
    assert (
        reader_of(SYSLOG).head_name(b"Nov 25 22:20:19 " + OWN)
        == 'that of Dovecot\'s own file: set framing = "dovecot-file"'
    )
    assert reader_of("auto").head_name(b"") == ""
    docked = b'{"log":"dovecot: x\\n","stream":"stdout","time":"2026-11-25T22:20:19Z"}'
    assert reader_of(SYSLOG).head_name(docked) == "no time stamp"
    assert reader_of("journal").head_name(b'{"MESSAGE":"x"}') == ""


def test_every_name_of_a_head_is_seen_in_these_tests() -> None:
    told = {reader_of(framing).head_name(head + TEXT) for _, framing, head, _ in NAMED}
    for row in OTHER_HEADS:
        assert any(said.startswith(row.name.partition("{")[0]) for said in told), row.name
