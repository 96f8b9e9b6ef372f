"""popauthd.watch.grant_log: grants are told each by itself up to a rate, and counted beyond it."""

from __future__ import annotations

import logging

import pytest

from popauthd.model import Grant
from popauthd.watch.grant_log import LINES_A_SECOND, GrantLog

log = logging.getLogger("popauthd.test")


class Told:
    """A GrantLog with a clock that the test turns."""

    def __init__(self, how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self._caplog = caplog
        caplog.set_level(logging.INFO, "popauthd.test")
        monkeypatch.setattr("popauthd.watch.grant_log.time.monotonic", lambda: self.now)
        self.grants = GrantLog(log, how)

    def tell(self, number: int, source: str = "s", word: str = "granted") -> None:
        self.grants.tell(word, [grant(one) for one in range(number)], source)

    def lines(self) -> list[str]:
        found = [record.getMessage() for record in self._caplog.records]
        self._caplog.clear()
        return found


def grant(number: int) -> Grant:
    return Grant(f"192.0.2.{number % 250}", "anna\n", 1, 900 + number)


def line(number: int) -> str:
    return f"granted address=192.0.2.{number % 250} expires_at={900 + number} user=anna\\n source=s"


def test_each_grant_has_a_line_up_to_the_rate(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told("all", caplog, monkeypatch)
    told.tell(LINES_A_SECOND)
    assert told.lines() == [line(number) for number in range(LINES_A_SECOND)]
    told.now += 1
    told.tell(1)
    assert told.lines() == [line(0)]


def test_grants_of_which_only_the_number_is_known_are_counted(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told("all", caplog, monkeypatch)
    told.grants.tell("granted", [grant(0)], "s", more=7)
    assert told.lines() == [line(0)]
    told.now += 1
    told.grants.tend()
    assert told.lines() == ["granted: 7 more addresses within a second source=s"]


def test_beyond_the_rate_they_are_counted_and_said_when_the_second_is_over(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told("all", caplog, monkeypatch)
    told.tell(LINES_A_SECOND + 7)
    told.tell(3)
    told.tell(2, "other", "would be granted (dry run)")
    assert len(told.lines()) == LINES_A_SECOND
    told.now += 0.9
    told.grants.tend()
    assert told.lines() == []
    told.now += 0.1
    told.grants.tend()
    assert told.lines() == [
        "granted: 10 more addresses within a second source=s",
        "would be granted (dry run): 2 more addresses within a second source=other",
    ]
    told.grants.tend()
    told.tell(1)
    assert told.lines() == [line(0)]


def test_a_new_second_begins_with_what_was_left_of_the_one_before(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told("all", caplog, monkeypatch)
    told.tell(LINES_A_SECOND + 1)
    told.lines()
    told.now += 5
    told.tell(1)
    assert told.lines() == ["granted: 1 more addresses within a second source=s", line(0)]


def test_a_summary_alone(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told("summary", caplog, monkeypatch)
    told.tell(5)
    assert told.lines() == []
    told.now += 1
    told.grants.tend()
    assert told.lines() == ["granted: 5 more addresses within a second source=s"]


def test_nothing(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told("none", caplog, monkeypatch)
    told.tell(500)
    told.grants.sum_up()
    assert told.lines() == []
