"""The journal source on real journal files: where it goes on, and what it tells when it cannot."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from popauthd.model import Login
from tests.support.helpers import ROOT
from tests.support.journal_reading import NOW, OLDEST, THEN, A, B, C, D, drain, gaps, recogniser, source
from tests.support.journals import login, record, write


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """A directory for journal files."""
    return tmp_path / "journal"


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
        events, _count = recogniser().records(chunk.records)
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


def test_a_journal_that_is_emptied_while_it_is_followed_may_be_a_gap(where: Path) -> None:
    write(where / "a.journal", record(THEN, login(A)))
    journal = source(where)
    assert drain(journal)[0] == [A]
    (where / "a.journal").unlink()
    assert drain(journal)[0] == []
    assert ["may be lost" in gap for gap in gaps(journal)] == [True]
    write(where / "b.journal", record(THEN + 1, login(B)))
    assert drain(journal)[0] == [B]
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
    assert journal.state().status == "missing"
    where.mkdir()
    assert journal.read(NOW) is None
    write(where / "a.journal", record(THEN, login(A)))
    assert drain(journal)[0] == [A]
    assert journal.state().status == "present"


def test_a_directory_that_is_replaced_is_noticed(where: Path) -> None:
    write(where / "a.journal", record(THEN, login(A)))
    journal = source(where)
    assert drain(journal)[0] == [A]
    where.rename(where.with_name("old"))
    assert journal.read(NOW + 1) is None
    assert journal.state().status == "missing"
    write(where / "a.journal", record(THEN + 5, login(B)))
    assert drain(journal, NOW + 2)[0] == [B]
    assert len(gaps(journal)) == 1


def test_the_state_tells_how_far_behind_it_is(where: Path) -> None:
    write(where / "a.journal", record(NOW - 100, login(A)), record(NOW - 40, login(B)))
    journal = source(where, block_bytes=1)
    assert journal.state().behind_seconds is None
    journal.read(NOW)
    assert journal.state().behind_seconds == 100
    drain(journal)
    assert journal.state().behind_seconds == 0
    assert journal.state().last_record_at == NOW - 40


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
    assert descriptor is not None
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


def test_a_journal_that_may_not_be_read_is_told() -> None:
    code = (
        "import os, sys; from popauthd.sources.journal.source import JournalSource\n"
        "journal = JournalSource(path=sys.argv[1])\n"
        "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "journal.resume(None, 0); print(journal.read(1), journal.state())"
    )
    with tempfile.TemporaryDirectory() as name:  # not tmp_path, where root's are closed to others
        where = Path(name)
        where.chmod(0o755)
        write(where / "system.journal", record(THEN, login(A)))
        write(where / "user-65534.journal", record(THEN, login(B)))
        (where / "system.journal").chmod(0)
        (where / "user-65534.journal").chmod(0o644)
        command = [sys.executable, "-c", code, name]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.startswith("None ")
    assert "status='unreadable'" in done.stdout
    assert "group systemd-journal" in done.stdout
