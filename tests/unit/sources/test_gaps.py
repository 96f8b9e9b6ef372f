"""popauthd.sources.gaps: they are kept until they are taken, and not without bound."""

from __future__ import annotations

from popauthd.sources import Gap
from popauthd.sources.gaps import GAPS_MOST, Gaps


def test_gaps_are_taken_once_in_their_order() -> None:
    gaps = Gaps()
    gaps.add("first", 5)
    gaps.add("second", 4)
    assert gaps.take() == [Gap("first", 5), Gap("second", 4)]
    assert gaps.take() == []


def test_of_too_many_the_last_are_kept() -> None:
    gaps = Gaps()
    for number in range(GAPS_MOST + 3):
        gaps.add(str(number), 0)
    found = gaps.take()
    assert len(found) == GAPS_MOST
    assert found[0].what == "3"
