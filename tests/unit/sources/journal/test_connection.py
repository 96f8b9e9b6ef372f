"""The journal while it is open, on real journal files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from popauthd.sources.journal.connection import DAMAGED_MOST, Connection
from popauthd.sources.journal.gaps import Gaps
from popauthd.sources.journal.reader import RawRecord, Reader
from tests.support.journals import record, write

THEN = 1795467600


@pytest.fixture
def where(tmp_path: Path) -> Path:
    """A directory for journal files."""
    return tmp_path / "journal"


@pytest.fixture
def connection(where: Path) -> Iterator[Connection]:
    made = Connection(str(where), (), Gaps(THEN))
    yield made
    made.close()
    made.wake.close()


def test_a_journal_that_is_missing_is_not_opened(connection: Connection) -> None:
    assert connection.open(lambda _reader: None) is None
    assert (connection.survey.status, connection.reader) == ("missing", None)


def test_it_is_read_from_where_it_was_gone_to(connection: Connection, where: Path) -> None:
    write(where / "a.journal", record(THEN, "first"), record(THEN + 1, "second"))
    reader = connection.open(lambda opened: opened.seek_realtime((THEN + 1) * 1_000_000))
    assert reader is not None
    assert (connection.reader, connection.survey.status) == (reader, "present")
    assert connection.next_record(reader)["MESSAGE"] == b"second"
    assert connection.next_record(reader) == {}
    connection.close()
    assert connection.reader is None


def test_it_stays_closed_if_the_place_cannot_be_gone_to(connection: Connection, where: Path) -> None:
    write(where / "a.journal", record(THEN, "first"))
    given: list[Reader] = []

    def fail(reader: Reader) -> None:
        given.append(reader)
        raise OSError("the disk fails")

    with pytest.raises(OSError, match="the disk fails"):
        connection.open(fail)
    assert connection.reader is None
    with pytest.raises(OSError):
        given[0].fileno()


def test_a_directory_that_was_replaced_is_noticed(connection: Connection, where: Path) -> None:
    write(where / "a.journal", record(THEN, "first"))
    connection.open(lambda _reader: None)
    assert not connection.moved()
    where.rename(where.with_name("old"))
    assert connection.moved()
    where.mkdir()
    assert connection.moved()


class Damaged:
    """A reader that comes to some damaged records before the last one, which is not damaged."""

    def __init__(self, damaged: int) -> None:
        self._left = damaged

    def get_next(self) -> RawRecord:
        self._left -= 1
        if self._left >= 0:
            raise ValueError("a field has no name")
        return {"MESSAGE": b"said"}


def test_damaged_records_are_passed_over_and_each_is_told(where: Path) -> None:
    gaps = Gaps(THEN)
    connection = Connection(str(where), (), gaps)
    reader = cast(Reader, Damaged(DAMAGED_MOST - 1))
    assert connection.next_record(reader) == {"MESSAGE": b"said"}
    told = [gap.what for gap in gaps.take()]
    assert told == [f"a damaged record in the journal in {where} was passed over: a field has no name"] * 99


def test_too_many_damaged_records_in_a_row_are_a_failure(where: Path) -> None:
    connection = Connection(str(where), (), Gaps(THEN))
    with pytest.raises(OSError, match="100 damaged records in a row"):
        connection.next_record(cast(Reader, Damaged(DAMAGED_MOST)))
