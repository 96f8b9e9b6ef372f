"""The gaps that are not told yet."""

from __future__ import annotations

from popauthd.sources import Gap
from popauthd.sources.gaps import GAPS_MOST
from popauthd.sources.journal.gaps import Gaps


def test_a_gap_is_told_once_with_its_time() -> None:
    gaps = Gaps(5)
    gaps.note("first")
    gaps.now = 6
    gaps.note("second")
    assert gaps.take() == [Gap("first", 5), Gap("second", 6)]
    assert gaps.take() == []


def test_the_newest_are_kept() -> None:
    gaps = Gaps(5)
    for number in range(GAPS_MOST + 3):
        gaps.note(str(number))
    assert [gap.what for gap in gaps.take()] == [str(number) for number in range(3, GAPS_MOST + 3)]
