"""Where reading begins, on real journal files."""

from __future__ import annotations

from pathlib import Path

import pytest

from popauthd.sources.journal.gaps import Gaps
from popauthd.sources.journal.place import MICRO, LastRecord
from popauthd.sources.journal.reader import open_reader
from popauthd.sources.journal.start import Window, seek
from popauthd.sources.journal.vacuumed import Vacuumed
from tests.support.journals import login, record, write

THEN = 1795467600
A, B, C = (login(f"192.0.2.{number}").encode() for number in (1, 2, 3))


class Found:
    """What `seek` came to: the messages from there on, the gaps, and up to when everything was read."""

    def __init__(self, where: Path, last: LastRecord | None, window_begins: int) -> None:
        gaps = Gaps(THEN + 100)
        vacuumed = Vacuumed(str(where), "journal", gaps)
        reader = open_reader(str(where), ())
        seek(reader, last, window_begins * MICRO, vacuumed)
        self.messages = []
        while one := reader.get_next():
            self.messages.append(one["MESSAGE"])
        reader.close()
        self.gaps = [gap.what for gap in gaps.take()]
        self.read_until = vacuumed.read_until // MICRO


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """A journal of three records, a second apart."""
    path = tmp_path / "journal"
    write(path / "a.journal", *(record(THEN + number, message) for number, message in enumerate((A, B, C))))
    return path


def cursor(where: Path, number: int) -> str:
    reader = open_reader(str(where), ())
    given = [reader.get_next() for _ in range(number + 1)]
    reader.close()
    return str(given[-1]["__CURSOR"])


def test_without_a_place_the_window_is_read(where: Path) -> None:
    found = Found(where, None, THEN + 1)
    assert (found.messages, found.gaps, found.read_until) == ([B, C], [], THEN + 1)


def test_a_place_is_gone_on_from_whatever_the_window(where: Path) -> None:
    found = Found(where, LastRecord(cursor(where, 1), (THEN + 1) * MICRO), THEN - 50)
    assert (found.messages, found.gaps, found.read_until) == ([C], [], THEN + 1)
    found = Found(where, LastRecord(cursor(where, 0), THEN * MICRO), THEN + 50)
    assert (found.messages, found.gaps, found.read_until) == ([B, C], [], THEN + 50)


@pytest.mark.parametrize(("ago", "window_ago", "lost"), [(10, 5, True), (10, 0, False), (0, 10, False)])
def test_a_place_whose_record_is_gone_is_a_gap_if_the_journal_begins_too_late(
    where: Path, ago: int, window_ago: int, lost: bool
) -> None:
    found = Found(where, LastRecord("gone", (THEN - ago) * MICRO), THEN - window_ago)
    assert found.messages == [A, B, C]
    assert ["may be lost" in gap for gap in found.gaps] == [True] * lost
    assert found.read_until == THEN - min(ago, window_ago)


def test_the_window_moves_on_with_the_clock_and_never_back() -> None:
    window = Window(lambda: 1000.5)
    window.set(100)
    assert [window.begins(now) // MICRO for now in (1000, 1060, 900)] == [100, 160, 100]
    window.set(-5)
    assert [window.begins(now) // MICRO for now in (1000, 1004, 1009)] == [0, 0, 4]
