"""The pace of the watcher's turns, with the clock in the test's hand."""

from __future__ import annotations

import math
import selectors
from collections.abc import Mapping
from typing import Any

import pytest

from popauthd.watch.pace import (
    APART_SECONDS,
    ASK_OFTEN_SECONDS,
    ASK_SELDOM_SECONDS,
    BUSY_TURNS,
    OFTEN_FOR_SECONDS,
    QUIET_TURNS,
    WINDOW_SECONDS,
    Pace,
)

COST = 0.0001  # seconds that a look takes


class Time(selectors.BaseSelector):
    """A clock, and a selector in which something is ready at given times. `called`: when what is ready was called."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.ready: list[float] = []
        self.called: list[float] = []
        self.key = selectors.SelectorKey(0, 0, selectors.EVENT_READ, lambda: self.called.append(self.now))

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None
        assert timeout >= 0
        until = self.now + math.ceil(timeout * 1e3) * 1e-3  # as epoll and poll do
        if self.ready and self.ready[0] <= until:
            self.now = max(self.now + COST, self.ready.pop(0))
            return [(self.key, selectors.EVENT_READ)]
        self.now = until + COST
        return []

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self.key

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise NotImplementedError

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        raise NotImplementedError

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        raise NotImplementedError


class Journal:
    """A source that has something to read from some time on. `asked`: how often it was asked."""

    def __init__(self, time: Time) -> None:
        self.time = time
        self.asked = 0
        self.unread_at = float("inf")

    def fileno(self) -> int | None:
        return None

    def process(self) -> None:
        raise NotImplementedError

    def unread(self) -> bool:
        self.asked += 1
        return self.time.now >= self.unread_at


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def pace(time: Time) -> Pace:
    return Pace(time, lambda: time.now, time.sleep)


def going() -> bool:
    return False


def test_a_turn_after_a_quiet_time_begins_as_soon_as_something_is_ready(pace: Pace, time: Time) -> None:
    pace.wait(1, [], going)
    time.ready = [ready := time.now + 0.5]
    pace.wait(1, [], going)
    assert time.now == ready


def test_a_turn_begins_so_long_after_the_one_before_or_later(pace: Pace, time: Time) -> None:
    pace.wait(0, [], going)
    began = time.now
    time.ready = [began + APART_SECONDS / 4]
    pace.wait(1, [], going)
    assert began + APART_SECONDS <= time.now < began + APART_SECONDS + 2 * COST, "no whole milliseconds are waited"


def test_what_is_ready_meanwhile_is_called_at_once(pace: Pace, time: Time) -> None:
    pace.wait(0, [], going)
    time.ready = [time.now + APART_SECONDS / 4, request := time.now + APART_SECONDS / 2]
    pace.wait(1, [], going)
    assert request in time.called


def test_lines_all_the_time_make_no_more_turns_than_there_is_time_for(pace: Pace, time: Time) -> None:
    began, turns = time.now, 0
    while time.now < began + 1:
        time.ready = [time.now + COST]
        pace.wait(1, [], going)
        turns += 1
    assert turns <= 1 / APART_SECONDS + 2


def test_nobody_waits_while_there_is_more_to_do_or_when_told_to_stop(pace: Pace, time: Time) -> None:
    pace.wait(0, [], going)
    began = time.now
    pace.wait(0, [], going)
    assert time.now == began + COST
    time.ready = [time.now]
    pace.wait(1, [], lambda: True)
    assert time.now == began + 2 * COST


def test_a_journal_is_asked_seldom_until_a_record_came_then_often_for_a_while(pace: Pace, time: Time) -> None:
    journal = Journal(time)
    pace.wait(1, [journal], going)
    assert 0.9 / ASK_SELDOM_SECONDS < journal.asked <= 1 / ASK_SELDOM_SECONDS + 1
    journal.unread_at = came = time.now + 0.5
    pace.wait(1, [journal], going)
    assert came <= time.now <= came + ASK_SELDOM_SECONDS + COST
    journal.unread_at, journal.asked = float("inf"), 0
    pace.wait(1, [journal], going)
    assert journal.asked > 0.9 / ASK_OFTEN_SECONDS
    time.now += OFTEN_FOR_SECONDS
    journal.asked = 0
    pace.wait(1, [journal], going)
    assert journal.asked <= 1 / ASK_SELDOM_SECONDS + 1


def test_nobody_is_woken_in_between_where_no_journal_is_followed(pace: Pace, time: Time) -> None:
    began = time.now
    pace.wait(1, [], going)
    assert time.now == began + 1 + COST


def window(pace: Pace, time: Time, turns: int) -> None:
    """A window in which so many turns found something, and the first turn of the next one."""
    for number in range(turns + 5):
        time.now += WINDOW_SECONDS / (turns + 6)
        pace.turned(found=number < turns)
    time.now += WINDOW_SECONDS
    pace.turned(found=False)


def test_it_is_busy_while_so_many_turns_find_something(pace: Pace, time: Time) -> None:
    pace.turned(found=False)
    for turns, busy in (
        (BUSY_TURNS - 1, False),
        (BUSY_TURNS, True),
        (QUIET_TURNS, True),
        (QUIET_TURNS - 1, False),
        (QUIET_TURNS, False),
    ):
        window(pace, time, turns)
        assert pace.busy is busy, turns


def test_while_it_is_busy_turns_come_though_nobody_wakes(pace: Pace, time: Time) -> None:
    pace.turned(found=False)
    window(pace, time, BUSY_TURNS)
    began = time.now
    for _turn in range(100):
        pace.wait(1, [], going)
    assert time.now <= began + 100 * (APART_SECONDS + 2 * COST)
