"""The journal source on real journal files: what it hands out of the records."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from popauthd.formats.journal_fields import FIELDS
from popauthd.model import Login, Refusal
from popauthd.sources.journal import reader
from popauthd.sources.journal.fields import size
from tests.support.helpers import ROOT
from tests.support.journal_reading import NOW, THEN, A, B, C, drain, gaps, recogniser, source
from tests.support.journals import DROPPED, TRUSTED, journalctl, login, record, write

# Messages as Dovecot or somebody else may write them, with what a recogniser makes of the record.
MESSAGES: tuple[tuple[str, bytes | None, str], ...] = (
    ("text", login(A).encode(), "login"),
    ("a tab and umlauts", login(A, "Jos\u00e9\t\u00fc").encode(), "any"),
    ("line feed", b"first\n" + login(A).encode(), "multi-line"),
    ("not UTF-8", login(A).encode().replace(b"alice", b"al\xff\xfeice"), "login"),
    ("an escape code", login(A).encode().replace(b"alice", b"al\x1bice"), "any"),
    ("DEL and C1", login(A).encode().replace(b"alice", b"al\x7f\xc2\x85ice"), "any"),
    ("U+2028 and bidi", login(A, "a\u2028\u202eb").encode(), "any"),
    ("a noncharacter", login(A, "a\ufdd0\uffffb\U0001fffe").encode(), "any"),
    ("quotes and backslashes", login(A, 'a"\\"b').encode(), "any"),
    ("only bytes", b"\x00\x01\xff", "ignored"),
    ("empty", b"", "any"),
    ("none", None, "no-message"),
)


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """A directory for journal files."""
    return tmp_path / "journal"


def test_the_fields_are_those_of_journalctl(where: Path) -> None:
    write(where / "a.journal", *(record(THEN + n, message) for n, (_, message, _) in enumerate(MESSAGES)))
    write(where / "a.journal", record(THEN + 50, login(A), _UID=["0", "1000"], SYSLOG_IDENTIFIER=["dovecot", "x"]))
    write(where / "a.journal", record(THEN + 51, [login(A), b"\xff", login(B)]))
    chunk = source(where).read(NOW)
    assert chunk is not None
    printed = [json.loads(line) for line in journalctl(where, "-o", "json").split(b"\n")[:-1]]
    assert len(chunk.records) == len(MESSAGES) + 2

    def several(value: object) -> bool:
        return isinstance(value, list) and not all(isinstance(one, int) for one in value)

    def raw(value: object) -> bytes:
        return bytes(value) if isinstance(value, list | bytes) else str(value).encode()

    def comparable(given: Mapping[str, Any]) -> dict[str, bytes | list[bytes]]:
        # The order of the values of a field that occurs several times is not kept by either.
        fields = {name: given[name] for name in FIELDS if name in given}
        return {name: sorted(map(raw, one)) if several(one) else raw(one) for name, one in fields.items()}

    assert [comparable(one) for one in chunk.records] == [comparable(one) for one in printed]


@pytest.mark.parametrize(("message", "expected"), [row[1:] for row in MESSAGES], ids=[row[0] for row in MESSAGES])
def test_a_message_is_read_as_from_journalctl(where: Path, message: bytes | None, expected: str) -> None:
    write(where / "a.journal", record(THEN, message))
    chunk = source(where).read(NOW)
    assert chunk is not None
    events, count = recogniser().records(chunk.records)
    assert count == 1
    assert recogniser().block(journalctl(where, "-o", "json"), NOW) == (events, 1)
    kinds = [event.reason if isinstance(event, Refusal) else "login" for event in events] or ["ignored"]
    assert expected in ("any", *kinds)


def test_the_time_is_the_records(where: Path) -> None:
    write(where / "a.journal", record(THEN + 0.75, login(A), SYSLOG_TIMESTAMP="Jan  1 00:00:00 "))
    chunk = source(where).read(NOW)
    assert chunk is not None
    assert [event.at for event in recogniser().records(chunk.records)[0]] == [THEN]


def test_a_very_long_message_is_refused_and_does_not_fill_a_block(where: Path) -> None:
    write(where / "a.journal", record(THEN, login(A) + "x" * 300_000 + login(B)), record(THEN, login(C)))
    chunk = source(where).read(NOW)
    assert chunk is not None
    events, _count = recogniser().records(chunk.records)
    assert [getattr(event, "reason", "login") for event in events] == ["too-long", "login"]
    assert sum(map(size, chunk.records)) < 70_000


FORGED: tuple[tuple[str, dict[str, str | list[str]]], ...] = (
    ("another user", {"_UID": "1000", "_EXE": "/usr/bin/logger"}),
    ("the right program as another user", {"_UID": "1000"}),
    ("root's logger", {"_EXE": "/usr/bin/logger", "_COMM": "logger"}),
    ("another unit", {"_SYSTEMD_UNIT": "cron.service"}),
    ("native protocol", {"_TRANSPORT": "journal"}),
    ("two identifiers", {"SYSLOG_IDENTIFIER": ["dovecot", "other"]}),
    # python3-systemd's own converter ends with an OverflowError, which a stranger must not be able to cause.
    ("a time out of bounds", {"_UID": "1000", "COREDUMP_TIMESTAMP": "9" * 30, "COREDUMP_UID": "x", "MESSAGE_ID": "x"}),
)


@pytest.mark.parametrize("fields", [row[1] for row in FORGED], ids=[row[0] for row in FORGED])
def test_a_forged_record_is_seen_and_refused(where: Path, fields: dict[str, str | list[str]]) -> None:
    write(where / "a.journal", record(THEN, login(A), **fields), record(THEN, login(B)))
    chunk = source(where).read(NOW)
    assert chunk is not None
    events, count = recogniser().records(chunk.records)
    assert count == 2
    assert [type(event) for event in events] == [Refusal, Login]


def test_other_programs_are_not_read(where: Path) -> None:
    other = record(THEN, login(A), SYSLOG_IDENTIFIER="sshd", _SYSTEMD_UNIT="ssh.service")
    write(where / "a.journal", other, record(THEN, login(B)))
    assert drain(source(where))[0] == [B]


def dropped(message: str, **fields: str | None) -> bytes:
    own = {"SYSLOG_IDENTIFIER": "systemd-journald", "_SYSTEMD_UNIT": "systemd-journald.service", "_TRANSPORT": "driver"}
    return record(THEN, message, **{**own, "MESSAGE_ID": DROPPED, "N_DROPPED": "123", **fields})


def test_messages_dropped_by_journald_are_a_gap(where: Path) -> None:
    write(where / "a.journal", dropped("Suppressed 123 messages from dovecot.service"), record(THEN, login(A)))
    journal = source(where)
    found, place = drain(journal)
    assert found == [A]
    (gap,) = gaps(journal)
    assert "123 messages of dovecot.service" in gap
    assert journal.state().dropped_messages == 123
    again = source(where, place)
    assert drain(again) == ([], None)
    assert gaps(again) == []


NOT_DROPPED: tuple[tuple[str, bytes], ...] = (
    ("another unit", dropped("Suppressed 123 messages from cron.service")),
    ("forged", dropped("Suppressed 123 messages from dovecot.service", _TRANSPORT="journal", _UID="1000")),
    ("no message", record(THEN, None, MESSAGE_ID=DROPPED, _TRANSPORT="driver", SYSLOG_IDENTIFIER=None)),
)


@pytest.mark.parametrize("notice", [row[1] for row in NOT_DROPPED], ids=[row[0] for row in NOT_DROPPED])
def test_what_says_nothing_of_dovecot_is_no_gap(where: Path, notice: bytes) -> None:
    write(where / "a.journal", notice)
    journal = source(where)
    assert drain(journal) == ([], None)
    assert gaps(journal) == []


@pytest.mark.parametrize("damage", [b"MESSAGE to be damaged", b"\xffESSAGE=to be damaged"], ids=["no name", "bad name"])
def test_a_damaged_record_is_passed_over_and_told(where: Path, damage: bytes) -> None:
    write(where / "a.journal", *(record(THEN, message) for message in (login(A), "to be damaged", login(C))))
    raw = (where / "a.journal").read_bytes()
    assert raw.count(b"MESSAGE=to be damaged") == 1
    (where / "a.journal").write_bytes(raw.replace(b"MESSAGE=to be damaged", damage))
    journal = source(where)
    assert drain(journal)[0] == [A, C]
    assert ["damaged record" in gap for gap in gaps(journal)] == [True]


def test_asking_whether_something_is_unread_takes_nothing_away(where: Path) -> None:
    write(where / "a.journal", record(THEN, login(A)))
    journal = source(where)
    assert not journal.unread(), "it is not open yet"
    assert drain(journal)[0] == [A]
    assert not journal.unread()
    write(where / "a.journal", record(THEN + 1, login(B)), record(THEN + 2, login(C)))
    assert [journal.unread(), journal.unread()] == [True, True]
    found, place = drain(journal)
    assert found == [B, C]
    assert not journal.unread()
    assert drain(source(where, place))[0] == []


def test_a_record_that_was_seen_and_not_read_is_read_after_a_restart(where: Path) -> None:
    write(where / "a.journal", record(THEN, login(A)))
    journal = source(where)
    _found, place = drain(journal)
    write(where / "a.journal", record(THEN + 1, login(B)))
    assert journal.unread()
    journal.resume(place, THEN - 900)
    assert drain(journal)[0] == [B]


def test_it_says_which_package_is_missing() -> None:
    code = (
        "import sys; sys.modules['systemd'] = None\n"
        "from popauthd.errors import ConfigError\n"
        "from popauthd.sources.journal.source import JournalSource\n"
        "from popauthd.sources.journal.reader import dovecot_logs_here\n"
        "assert not dovecot_logs_here()\n"
        "try: JournalSource()\n"
        "except ConfigError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "apt install python3-systemd" in done.stdout


def test_the_library_is_loaded_only_for_a_source() -> None:
    code = "import sys, popauthd.sources.journal.source; print('systemd' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout == "False\n"


LOGS_HERE: tuple[tuple[str, bytes, bool], ...] = (
    ("its log process", record(THEN, "master: Dovecot v2.3.19.1 starting up"), True),
    ("its master", record(THEN, "Dovecot v2.3.19.1 starting up", _EXE="/usr/sbin/dovecot"), True),
    ("long ago", record(NOW - 90_000, login(A)), False),
    ("errors only", record(THEN, "imap: Error: x", PRIORITY="3"), False),
    ("a stranger", record(THEN, login(A), _UID="1000"), False),
    ("root's logger", record(THEN, login(A), _EXE="/usr/bin/logger"), False),
    ("another program", record(THEN, login(A), SYSLOG_IDENTIFIER="postfix"), False),
)


@pytest.mark.parametrize(("given", "expected"), [row[1:] for row in LOGS_HERE], ids=[row[0] for row in LOGS_HERE])
def test_whether_dovecot_logs_to_the_journal(where: Path, given: bytes, expected: bool) -> None:
    write(where / "a.journal", given)
    assert reader.dovecot_logs_here(path=str(where), now=NOW) is expected


def test_dovecot_does_not_log_where_no_journal_is(where: Path) -> None:
    assert not reader.dovecot_logs_here(path=str(where), now=NOW)


def test_the_fixture_has_what_journald_adds() -> None:
    assert set(TRUSTED) - {"PRIORITY", "_MACHINE_ID"} < set(FIELDS)
