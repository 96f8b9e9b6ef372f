"""Whether records were removed before they were read, on real journal files."""

from __future__ import annotations

from pathlib import Path

import pytest

from popauthd.sources.journal.gaps import Gaps
from popauthd.sources.journal.place import MICRO
from popauthd.sources.journal.reader import INVALIDATE, NOP
from popauthd.sources.journal.vacuumed import Vacuumed
from tests.support.journals import record, write

THEN = 1795467600
CAME = 1  # what process() returns for new records
assert CAME not in (NOP, INVALIDATE)


@pytest.mark.parametrize(("needed_from", "told"), [(THEN - 1, True), (THEN, False), (THEN + 1, False)])
def test_a_journal_that_begins_too_late_is_a_gap(tmp_path: Path, needed_from: int, told: bool) -> None:
    write(tmp_path / "a.journal", record(THEN, "said"))
    gaps = Gaps(THEN + 50)
    Vacuumed(str(tmp_path), "journal in there", gaps).check((THEN - 9) * MICRO, needed_from * MICRO)
    said = (
        "the journal in there was vacuumed or replaced: what was logged after 2026-11-23T20:59:51Z and before "
        "2026-11-23T21:00:00Z may be lost"
    )
    assert [gap.what for gap in gaps.take()] == [said] * told


@pytest.mark.parametrize(("read_until", "before"), [(THEN, "21:00:50"), (THEN + 60, "21:01:00")])
def test_an_empty_journal_is_a_gap_up_to_now(tmp_path: Path, read_until: int, before: str) -> None:
    gaps = Gaps(THEN + 50)
    Vacuumed(str(tmp_path), "journal", gaps).check(read_until * MICRO, read_until * MICRO)
    (gap,) = gaps.take()
    assert f"before 2026-11-23T{before}Z may be lost" in gap.what


@pytest.mark.parametrize(("change", "removed", "told"), [(CAME, False, 0), (CAME, True, 1), (INVALIDATE, False, 1)])
def test_a_change_is_looked_into_when_a_file_has_gone(tmp_path: Path, change: int, removed: bool, told: int) -> None:
    for number, name in enumerate(("a.journal", "b.journal")):
        write(tmp_path / name, record(THEN + number, "said"))
    gaps = Gaps(THEN + 50)
    vacuumed = Vacuumed(str(tmp_path), "journal", gaps)
    assert vacuumed.look_at_files() == frozenset()
    vacuumed.read_until = (THEN - 5) * MICRO
    if removed:
        (tmp_path / "a.journal").unlink()
    vacuumed.after_change(change)
    assert len(gaps.take()) == told
    vacuumed.after_change(CAME)
    assert gaps.take() == [], "a file that has gone is told once"
