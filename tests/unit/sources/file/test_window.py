"""popauthd.sources.file.window: which lines are young enough, and when the time of a line is read."""

from __future__ import annotations

import pytest

from popauthd.sources.file.window import MARGIN_SECONDS, Window

NOW = 1795469400
MOVES = [
    ("at once", 0, 0),
    ("later", 2000, 2000),
    ("after the clock was set back", -5000, 0),
]


@pytest.mark.parametrize(("later", "moved"), [row[1:] for row in MOVES], ids=[row[0] for row in MOVES])
def test_it_moves_on_with_the_clock_and_never_back(later: int, moved: int) -> None:
    times = iter([NOW - 100.0, NOW + 0.9])
    window = Window(lambda line, now: None, lambda: next(times))
    window.set(NOW - 900)
    assert window.now == NOW
    window.now += later
    assert window.begins_at == NOW - 900 - MARGIN_SECONDS + moved


def test_the_time_of_a_line_is_read_as_of_the_last_look() -> None:
    window = Window(lambda line, now: now if line == b"now" else None, lambda: float(NOW))
    assert window.stamp(b"now") == NOW
    window.now += 7
    assert window.stamp(b"now") == NOW + 7
    assert window.stamp(b"") is None
