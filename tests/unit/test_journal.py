"""The journal source on real journal files: what it hands out, and where it goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from popauthd.formats import Reading, Recogniser
from popauthd.model import Login, Refusal
from popauthd.sources import journal_reader
from popauthd.sources.journal import JournalSource
from popauthd.sources.journal_json import FIELDS
from tests.helpers import ROOT
from tests.journals import DROPPED, TRUSTED, journalctl, login, record, write

NOW = 1795467700
THEN = NOW - 100
OLDEST = NOW - 900
A, B, C, D = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"

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


def source(where: Path, place: bytes | None = None, oldest: int = OLDEST, block_bytes: int = 262144) -> JournalSource:
    made = JournalSource(path=str(where), clock=lambda: NOW, block_bytes=block_bytes)
    made.resume(place, oldest)
    return made


def recogniser() -> Recogniser:
    return Recogniser(Reading(framing="journal"))


def drain(journal: JournalSource, now: int = NOW) -> tuple[list[str], bytes | None]:
    """The addresses of the logins that are unread, and the place after them."""
    found, place = [], None
    while (chunk := journal.read(now)) is not None:
        assert chunk.block.endswith(b"\n")
        events, _lines = recogniser().block(chunk.block, now)
        found += [event.address for event in events if isinstance(event, Login)]
        place = chunk.place
    return found, place


def gaps(journal: JournalSource) -> list[str]:
    return [gap.what for gap in journal.take_gaps()]


def test_the_lines_are_those_of_journalctl(where: Path) -> None:
    write(where / "a.journal", *(record(THEN + n, message) for n, (_, message, _) in enumerate(MESSAGES)))
    write(where / "a.journal", record(THEN + 50, login(A), _UID=["0", "1000"], SYSLOG_IDENTIFIER=["dovecot", "x"]))
    write(where / "a.journal", record(THEN + 51, [login(A), b"\xff", login(B)]))
    chunk = source(where).read(NOW)
    assert chunk is not None
    mine = [json.loads(line) for line in chunk.block.split(b"\n")[:-1]]
    theirs = [json.loads(line) for line in journalctl(where, "-o", "json").split(b"\n")[:-1]]
    assert len(mine) == len(MESSAGES) + 2

    def comparable(given: dict[str, object]) -> dict[str, object]:
        # The order of the values of a field that occurs several times is not kept by either.
        several = {name: sorted(value, key=repr) for name, value in given.items() if isinstance(value, list)}
        return {**{name: given[name] for name in FIELDS if name in given}, **{n: several[n] for n in several}}

    assert [comparable(one) for one in mine] == [comparable(one) for one in theirs]


@pytest.mark.parametrize(("message", "expected"), [row[1:] for row in MESSAGES], ids=[row[0] for row in MESSAGES])
def test_a_message_is_read_as_from_journalctl(where: Path, message: bytes | None, expected: str) -> None:
    write(where / "a.journal", record(THEN, message))
    chunk = source(where).read(NOW)
    assert chunk is not None
    events, lines = recogniser().block(chunk.block, NOW)
    assert lines == 1
    assert recogniser().block(journalctl(where, "-o", "json"), NOW) == (events, 1)
    kinds = [event.reason if isinstance(event, Refusal) else "login" for event in events] or ["ignored"]
    assert expected in ("any", *kinds)


def test_the_time_is_the_records(where: Path) -> None:
    write(where / "a.journal", record(THEN + 0.75, login(A), SYSLOG_TIMESTAMP="Jan  1 00:00:00 "))
    chunk = source(where).read(NOW)
    assert chunk is not None
    assert [event.at for event in recogniser().block(chunk.block, NOW)[0]] == [THEN]


def test_a_very_long_message_is_refused_and_does_not_fill_a_block(where: Path) -> None:
    write(where / "a.journal", record(THEN, login(A) + "x" * 300_000 + login(B)), record(THEN, login(C)))
    chunk = source(where).read(NOW)
    assert chunk is not None
    events, _lines = recogniser().block(chunk.block, NOW)
    assert [getattr(event, "reason", "login") for event in events] == ["too-long", "login"]
    assert len(chunk.block) < 70_000


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
    events, lines = recogniser().block(chunk.block, NOW)
    assert lines == 2
    assert [type(event) for event in events] == [Refusal, Login]


def test_other_programs_are_not_read(where: Path) -> None:
    other = record(THEN, login(A), SYSLOG_IDENTIFIER="sshd", _SYSTEMD_UNIT="ssh.service")
    write(where / "a.journal", other, record(THEN, login(B)))
    assert drain(source(where))[0] == [B]


def test_the_first_start_reads_the_window_only(where: Path) -> None:
    times = (OLDEST - 5000, OLDEST - 1, OLDEST, NOW)
    write(where / "a.journal", *(record(at, login(ip)) for at, ip in zip(times, (A, B, C, D), strict=True)))
    assert drain(source(where))[0] == [C, D]


def test_nothing_is_handed_out_twice_after_a_restart(where: Path) -> None:
    write(where / "a.journal", record(THEN, login(A)), record(THEN, login(B)))
    found, place = drain(source(where))
    assert found == [A, B]
    again = source(where, place)
    assert drain(again) == ([], None)
    write(where / "a.journal", record(THEN, login(C)))
    assert drain(again)[0] == [C]
    assert drain(source(where, place))[0] == [C]
    assert gaps(again) == []


def test_each_block_has_its_own_place(where: Path) -> None:
    write(where / "a.journal", *(record(THEN + n, login(f"192.0.2.{n}")) for n in range(20)))
    place, found = None, []
    for _ in range(20):
        journal = source(where, place, block_bytes=1)
        chunk = journal.read(NOW)
        journal.close()
        assert chunk is not None
        assert chunk.behind_bytes == 1
        events, _lines = recogniser().block(chunk.block, NOW)
        found += [event.address for event in events if isinstance(event, Login)]
        place = chunk.place
    assert found == [f"192.0.2.{n}" for n in range(20)]
    assert source(where, place).read(NOW) is None


def test_a_long_stop_is_caught_up_from_the_place(where: Path) -> None:
    write(where / "a.journal", record(THEN, login(A)), record(THEN + 1, login(B)))
    journal = source(where, block_bytes=1)
    first = journal.read(NOW)
    assert first is not None
    later = source(where, first.place, oldest=OLDEST + 86400)
    assert drain(later, NOW + 86400)[0] == [B]
    assert gaps(later) == []


def test_rotated_files_are_read_on(where: Path) -> None:
    journal = source(where)
    write(where / "system.journal", record(THEN, login(A)))
    assert drain(journal)[0] == [A]
    write(where / "system.journal", record(THEN + 1, login(B)))
    (where / "system.journal").rename(where / "system@1.journal")
    write(where / "system.journal", record(THEN + 2, login(C)))
    found, place = drain(journal)
    assert found == [B, C]
    write(where / "system.journal", record(THEN + 3, login(D)))
    assert drain(source(where, place))[0] == [D]
    assert gaps(journal) == []


def test_what_is_removed_while_it_is_read_is_a_gap(where: Path) -> None:
    write(where / "a.journal", record(THEN, login(A)), record(THEN + 1, login(B)))
    write(where / "b.journal", record(THEN + 2, login(C)), record(THEN + 3, login(D)))
    journal = source(where, block_bytes=1)
    assert journal.read(NOW) is not None
    (where / "a.journal").unlink()
    assert drain(journal)[0] == [C, D]
    (gap,) = gaps(journal)
    assert "after 2026-11-23T21:00:00Z and before 2026-11-23T21:00:02Z may be lost" in gap


def test_what_is_removed_after_it_was_read_is_no_gap(where: Path) -> None:
    write(where / "a.journal", record(THEN, login(A)))
    write(where / "b.journal", record(THEN + 2, login(C)), record(THEN + 3, login(D)))
    journal = source(where, block_bytes=1)
    assert [journal.read(NOW) is None for _ in range(2)] == [False, False]
    (where / "a.journal").unlink()
    assert drain(journal)[0] == [D]
    assert gaps(journal) == []


def vacuumed(where: Path, begins: int) -> bytes | None:
    """A place whose record is gone from a journal that begins with a login of C at `begins`."""
    write(where / "a.journal", record(THEN, login(A)))
    _, place = drain(source(where))
    write(where / "a.journal", record(THEN + 1, login(B)))
    (where / "a.journal").unlink()
    write(where / "b.journal", record(begins, login(C)))
    return place


def test_a_journal_vacuumed_past_the_place_is_a_gap_and_loses_no_more(where: Path) -> None:
    journal = source(where, vacuumed(where, THEN + 10))
    assert drain(journal)[0] == [C]
    (gap,) = gaps(journal)
    assert "after 2026-11-23T21:00:00Z and before 2026-11-23T21:00:10Z may be lost" in gap


def test_a_hole_that_is_older_than_the_window_is_no_gap(where: Path) -> None:
    journal = source(where, vacuumed(where, THEN + 10), oldest=THEN + 10)
    assert drain(journal)[0] == [C]
    assert gaps(journal) == []


def test_a_journal_that_begins_before_the_place_has_no_gap(where: Path) -> None:
    # As when the runtime journal was flushed to disk: the same records under other cursors.
    journal = source(where, vacuumed(where, THEN - 10))
    assert drain(journal)[0] == [C]
    assert gaps(journal) == []


def test_a_place_in_the_future_of_a_clock_that_was_set_back_hides_nothing(where: Path) -> None:
    write(where / "a.journal", record(NOW + 50_000, login(A)))
    _, place = drain(source(where))
    (where / "a.journal").unlink()
    write(where / "b.journal", record(THEN, login(B)))
    assert drain(source(where, place))[0] == [B]


def bad(cursor: object, at: object = THEN * 1_000_000) -> bytes:
    return json.dumps({"cursor": cursor, "at": at}).encode()


@pytest.mark.parametrize("cursor", ["", "garbage", "s=zz;i=1", "i=1", "s=\0", "\ud800", "s=;i=;b=;m=;t=;x="])
def test_a_bad_cursor_falls_back_on_the_time(where: Path, cursor: str) -> None:
    write(where / "a.journal", record(THEN - 10, login(A)), record(THEN + 1, login(B)))
    journal = source(where, bad(cursor), oldest=THEN)
    assert drain(journal)[0] == [B]
    assert gaps(journal) == []
    lost = source(where, bad(cursor, (THEN - 50) * 1_000_000), oldest=THEN - 60)
    assert drain(lost)[0] == [A, B]
    assert len(gaps(lost)) == 1


DAMAGED = (b"", b"\xff", b"{", b"[]", b"3", b"{}", bad(1), bad("x", "y"), bad("x", -1), bad("x" * 5000), b"[" * 100_000)


@pytest.mark.parametrize("place", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_place_counts_as_none_and_as_a_gap(where: Path, place: bytes) -> None:
    write(where / "a.journal", record(OLDEST - 1, login(A)), record(THEN, login(B)))
    journal = source(where, place)
    assert drain(journal)[0] == [B]
    assert ["damaged" in gap for gap in gaps(journal)] == [True]
    assert journal.take_gaps() == []


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
    assert journal.state()["dropped_messages"] == 123
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


def test_a_damaged_record_is_passed_over_and_told(where: Path) -> None:
    write(where / "a.journal", *(record(THEN, message) for message in (login(A), "to be damaged", login(C))))
    raw = (where / "a.journal").read_bytes()
    assert raw.count(b"MESSAGE=to be damaged") == 1
    (where / "a.journal").write_bytes(raw.replace(b"MESSAGE=to be damaged", b"MESSAGE to be damaged"))
    journal = source(where)
    assert drain(journal)[0] == [A, C]
    assert ["damaged record" in gap for gap in gaps(journal)] == [True]


def test_what_is_read_after_the_end_is_known_to_be_new(where: Path) -> None:
    write(where / "a.journal", record(THEN, login(A)))
    journal = source(where)
    first = journal.read(NOW)
    assert first is not None
    assert first.written_after is None
    assert journal.read(NOW + 5) is None
    write(where / "a.journal", record(THEN, login(B)))
    second = journal.read(NOW + 9)
    assert second is not None
    assert second.written_after == NOW + 5


def test_a_journal_that_comes_later_is_found(where: Path) -> None:
    journal = source(where)
    assert journal.read(NOW) is None
    assert journal.state()["status"] == "missing"
    where.mkdir()
    assert journal.read(NOW) is None
    write(where / "a.journal", record(THEN, login(A)))
    assert drain(journal)[0] == [A]
    assert journal.state()["status"] == "present"


def test_a_directory_that_is_replaced_is_noticed(where: Path) -> None:
    write(where / "a.journal", record(THEN, login(A)))
    journal = source(where)
    assert drain(journal)[0] == [A]
    where.rename(where.with_name("old"))
    assert journal.read(NOW + 1) is None
    assert journal.state()["status"] == "missing"
    write(where / "a.journal", record(THEN + 5, login(B)))
    assert drain(journal, NOW + 2)[0] == [B]
    assert len(gaps(journal)) == 1


def test_the_state_tells_how_far_behind_it_is(where: Path) -> None:
    write(where / "a.journal", record(NOW - 100, login(A)), record(NOW - 40, login(B)))
    journal = source(where, block_bytes=1)
    assert journal.state()["behind_seconds"] is None
    journal.read(NOW)
    assert journal.state()["behind_seconds"] == 100
    drain(journal)
    assert journal.state()["behind_seconds"] == 0
    assert journal.state()["last_record_at"] == NOW - 40


def test_a_change_wakes_by_the_same_descriptor_until_it_is_closed(where: Path) -> None:
    write(where / "a.journal", record(THEN, login(A)))
    journal = source(where)
    drain(journal)
    descriptor = journal.fileno()
    journal.process()
    write(where / "a.journal", record(THEN + 1, login(B)))
    assert readable(descriptor)
    journal.process()
    assert not readable(descriptor)
    assert drain(journal)[0] == [B]
    where.rename(where.with_name("old"))
    write(where / "a.journal", record(THEN, login(C)))
    assert journal.fileno() == descriptor
    drain(journal, NOW + 1)
    write(where / "a.journal", record(THEN + 1, login(D)))
    assert readable(descriptor)
    journal.close()
    assert journal.fileno() is None
    journal.resume(None, OLDEST)
    assert journal.fileno() is not None
    assert drain(journal)[0] == [C, D]


def readable(descriptor: int | None) -> bool:
    import select

    assert descriptor is not None
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def test_it_says_which_package_is_missing() -> None:
    code = (
        "import sys; sys.modules['systemd'] = None\n"
        "from popauthd.errors import ConfigError\n"
        "from popauthd.sources.journal import JournalSource\n"
        "from popauthd.sources.journal_reader import dovecot_logs_here\n"
        "assert not dovecot_logs_here()\n"
        "try: JournalSource()\n"
        "except ConfigError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert "apt install python3-systemd" in done.stdout


def test_the_library_is_loaded_only_for_a_source() -> None:
    code = "import sys, popauthd.sources.journal; print('systemd' in sys.modules)"
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
    assert journal_reader.dovecot_logs_here(path=str(where), now=NOW) is expected


def test_dovecot_does_not_log_where_no_journal_is(where: Path) -> None:
    assert not journal_reader.dovecot_logs_here(path=str(where), now=NOW)


def test_the_fixture_has_what_journald_adds() -> None:
    assert set(TRUSTED) - {"PRIORITY", "_MACHINE_ID"} < set(FIELDS)
