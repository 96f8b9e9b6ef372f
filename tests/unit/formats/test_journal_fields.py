"""Journal records: only Dovecot's own log process counts, in every shape a reader gives the fields."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from popauthd.formats.journal_fields import FIELDS
from popauthd.formats.options import Options
from popauthd.formats.recogniser import LINE_BYTES, Recogniser
from popauthd.model import Event, Ignored, Login, Refusal, SessionEnd

AT = 1795467600
LOGIN = (
    "imap-login: Login: user=<alice@example.org>, method=PLAIN, rip=192.0.2.10, lip=198.51.100.5,"
    " mpid=4242, TLS, session=<aKTnLvhgIrN/AAAB>"
)
FAILURE = "imap-login: Disconnected (auth failed, 1 attempts): user=<a>, method=PLAIN, rip=192.0.2.10, lip=10.0.0.1"
END = "imap(alice@example.org)<4242><aKTnLvhgIrN/AAAB>: Disconnected: Logged out in=8 out=468"
RECORD: dict[str, Any] = {
    "SYSLOG_IDENTIFIER": "dovecot",
    "_UID": "0",
    "_EXE": "/usr/lib/dovecot/log",
    "_SYSTEMD_UNIT": "dovecot.service",
    "_TRANSPORT": "syslog",
    "__REALTIME_TIMESTAMP": str(AT * 1_000_000 + 999_999),
    "MESSAGE": LOGIN,
}


def word(event: Event) -> str:
    """An event in a word or two."""
    if isinstance(event, Refusal | Ignored):
        return f"{type(event).__name__} {event.reason}"
    return f"{type(event).__name__} {event.at - AT}"


CASES: list[tuple[str, dict[str, Any], str]] = [
    ("as journalctl prints it", {}, "Login 0"),
    ("numbers for numbers", {"_UID": 0, "__REALTIME_TIMESTAMP": AT * 1_000_000}, "Login 0"),
    ("message as byte numbers", {"MESSAGE": list(LOGIN.encode())}, "Login 0"),
    ("the sender's stamp is not used", {"SYSLOG_TIMESTAMP": "Nov 23 20:00:00 "}, "Login 0"),
    ("another user", {"_UID": "1000"}, "Refusal untrusted"),
    ("user of two values", {"_UID": ["0", "1000"]}, "Refusal untrusted"),
    ("no user", {"_UID": None}, "Refusal untrusted"),
    ("true is not a user", {"_UID": False}, "Refusal untrusted"),
    ("another program file", {"_EXE": "/usr/bin/logger"}, "Refusal untrusted"),
    ("a deleted program file", {"_EXE": "/usr/lib/dovecot/log (deleted)"}, "Refusal untrusted"),
    ("another unit", {"_SYSTEMD_UNIT": "cron.service"}, "Refusal untrusted"),
    ("no unit", {"_SYSTEMD_UNIT": None, "UNIT": "dovecot.service"}, "Refusal untrusted"),
    ("another transport", {"_TRANSPORT": "stdout"}, "Refusal untrusted"),
    ("another identifier", {"SYSLOG_IDENTIFIER": "reltest"}, "Refusal other-program"),
    ("no message", {"MESSAGE": None}, "Refusal no-message"),
    ("several messages", {"MESSAGE": [LOGIN, LOGIN]}, "Refusal no-message"),
    ("no bytes", {"MESSAGE": [300]}, "Refusal no-message"),
    ("a number below zero", {"MESSAGE": [-1]}, "Refusal no-message"),
    ("a message of NUL", {"MESSAGE": [0]}, "Ignored other"),
    ("several lines", {"MESSAGE": "first\n" + LOGIN}, "Refusal multi-line"),
    ("a line feed at the end", {"MESSAGE": LOGIN + "\n"}, "Refusal multi-line"),
    ("no time", {"__REALTIME_TIMESTAMP": None}, "Refusal bad-stamp"),
    ("a time of 17 digits", {"__REALTIME_TIMESTAMP": "1" + "0" * 16}, f"Login {10**10 - AT}"),
    ("a time of 18 digits", {"__REALTIME_TIMESTAMP": "1" + "0" * 17}, "Refusal bad-stamp"),
    ("a time in words", {"__REALTIME_TIMESTAMP": "-5"}, "Refusal bad-stamp"),
    ("a failure", {"MESSAGE": FAILURE}, "Ignored failure"),
    ("somebody else's failure", {"MESSAGE": FAILURE, "_UID": "1000"}, "Ignored failure"),
    ("a session's end", {"MESSAGE": END}, "SessionEnd 0"),
    ("a forged session's end", {"MESSAGE": END, "_UID": "1000"}, "Refusal untrusted"),
    ("somebody else's words", {"MESSAGE": "hello", "_UID": "1000"}, "Ignored other"),
    ("somebody else's words in two lines", {"MESSAGE": "hello\n", "_UID": "1000"}, "Ignored other"),
    ("somebody else's silence", {"MESSAGE": None, "_UID": "1000"}, "Ignored other"),
    ("a lone surrogate", {"MESSAGE": "\ud800" + LOGIN}, "Refusal wrong-process"),
]


def as_bytes(value: Any) -> Any:
    """A field as the journal source hands it over: its bytes, or a list of several values."""
    if isinstance(value, list):
        return bytes(value) if value == list(LOGIN.encode()) else [as_bytes(one) for one in value]
    return value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value


@pytest.mark.parametrize("shape", ["journalctl", "fields", "bytes"])
@pytest.mark.parametrize(("change", "verdict"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_a_record_has_its_verdict(change: dict[str, Any], verdict: str, shape: str) -> None:
    fields = {name: value for name, value in (RECORD | change).items() if value is not None or name == "MESSAGE"}
    reader = Recogniser(Options("journal"))
    if shape == "journalctl":
        event = reader.line(json.dumps(fields).encode(), AT)
    else:
        event = reader.record(fields if shape == "fields" else {name: as_bytes(one) for name, one in fields.items()})
    assert word(event) == verdict


@pytest.mark.parametrize("name", ["_UID", "_EXE", "_SYSTEMD_UNIT", "_TRANSPORT", "SYSLOG_IDENTIFIER"])
@pytest.mark.parametrize("end", [b"\xff", b"\0", b" ", b"\n", b"\xc2\x85"])
def test_a_trusted_field_counts_only_if_it_is_the_very_same(name: str, end: bytes) -> None:
    fields = {key: as_bytes(value) for key, value in RECORD.items()}
    assert word(Recogniser(Options("journal")).record(fields)) == "Login 0"
    event = Recogniser(Options("journal")).record(fields | {name: fields[name] + end})
    assert word(event) == ("Refusal other-program" if name == "SYSLOG_IDENTIFIER" else "Refusal untrusted")


def test_a_source_hands_over_all_that_is_read() -> None:
    assert set(FIELDS) == {*RECORD, "_COMM"}


def test_the_fields_of_python3_systemd_are_read_too() -> None:
    fields = RECORD | {
        "_UID": 0,
        "MESSAGE": LOGIN.encode(),
        "__REALTIME_TIMESTAMP": datetime.fromtimestamp(AT, UTC).replace(microsecond=999_999),
    }
    event = Recogniser(Options("journal")).record(fields)
    assert isinstance(event, Login)
    assert (event.at, event.address, event.user) == (AT, "192.0.2.10", "alice@example.org")


def test_the_unit_is_not_asked_for_where_no_systemd_runs() -> None:
    fields = {name: value for name, value in RECORD.items() if name != "_SYSTEMD_UNIT"}
    assert isinstance(Recogniser(Options("journal", unit="")).record(fields), Login)


def test_a_log_process_elsewhere_counts_only_when_configured() -> None:
    fields = RECORD | {"_EXE": "/usr/libexec/dovecot/log"}
    assert isinstance(Recogniser(Options("journal", executable="/usr/libexec/dovecot/log")).record(fields), Login)


NO_RECORDS = [
    ("empty", b"", "Ignored empty"),
    ("other text", b"-- No entries --", "Ignored other"),
    ("a login without a record", LOGIN.encode(), "Refusal bad-record"),
    ("a key twice", b'{"_UID": "1", "_UID": "0", "MESSAGE": "' + LOGIN.encode() + b'"}', "Refusal bad-record"),
    ("cut", json.dumps(RECORD).encode()[:-2], "Refusal bad-record"),
    ("a list", b"[" + json.dumps(RECORD).encode() + b"]", "Refusal bad-record"),
    ("deep", b"[" * 60000, "Ignored other"),
]


@pytest.mark.parametrize(("line", "verdict"), [row[1:] for row in NO_RECORDS], ids=[row[0] for row in NO_RECORDS])
def test_what_is_no_record_is_never_a_login(line: bytes, verdict: str) -> None:
    assert word(Recogniser(Options("journal")).line(line, AT)) == verdict


def test_the_time_of_any_record_is_told() -> None:
    reader = Recogniser(Options("journal"))
    assert reader.stamp(json.dumps(RECORD | {"MESSAGE": "x", "_UID": "9"}).encode(), AT) == AT
    assert reader.stamp(b"{}", AT) is None
    assert reader.stamp(b"x", AT) is None


def test_a_block_of_records_gives_what_matters() -> None:
    records = [RECORD, RECORD | {"MESSAGE": "x"}, RECORD | {"MESSAGE": END}, RECORD | {"_UID": "1"}]
    block = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    events, count = Recogniser(Options("journal")).block(block, AT)
    assert count == 4
    assert [type(event) for event in events] == [Login, SessionEnd, Refusal]


def test_records_by_their_fields_give_what_a_block_of_them_gives() -> None:
    records = [RECORD, RECORD | {"MESSAGE": "x"}, RECORD | {"MESSAGE": END}, RECORD | {"_UID": "1"}]
    block = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    given = [{name: as_bytes(value) for name, value in record.items()} for record in records]
    assert Recogniser(Options("journal")).records(given) == Recogniser(Options("journal")).block(block, AT)


def test_the_message_of_the_first_record_that_is_refused_for_a_reason_is_kept() -> None:
    forged = RECORD | {"_UID": "1"}
    reader = Recogniser(Options("journal"))
    reader.records([forged, forged | {"MESSAGE": LOGIN + "x"}, RECORD | {"MESSAGE": None}])
    assert reader.refused == {"untrusted": LOGIN.encode(), "no-message": b""}
    reader.records([RECORD])
    assert reader.refused == {}


@pytest.mark.parametrize("user", ["0", "1000"])
def test_a_message_is_as_long_as_a_line_at_most(user: str) -> None:
    reader = Recogniser(Options("journal"))
    longest = LOGIN.encode() + b"x" * (LINE_BYTES - len(LOGIN))
    assert word(reader.record(RECORD | {"_UID": user, "MESSAGE": longest})) != "Refusal too-long"
    assert word(reader.record(RECORD | {"_UID": user, "MESSAGE": longest + b"x"})) == "Refusal too-long"
