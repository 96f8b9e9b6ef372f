"""How the watcher is: conditions that begin, stay and end, and the table that says what each means."""

from __future__ import annotations

import logging

import pytest

from popauthd.conditions import CONDITIONS, DEGRADED, SEVERITIES, WARNING, Condition
from popauthd.watch.health import Health

NOW = 1_795_467_600


@pytest.fixture
def health(monkeypatch: pytest.MonkeyPatch) -> Health:
    rows = {"slow": Condition(WARNING, "It is slow.", "wait"), "gone": Condition(DEGRADED, "It is gone.", "find it")}
    monkeypatch.setattr("popauthd.conditions.CONDITIONS", rows)
    return Health()


def test_it_begins_well(health: Health) -> None:
    assert (health.standing, health.degraded, health.summary) == ((), "", "")


def test_a_condition_stands_since_it_was_first_seen_with_what_was_seen_last(health: Health) -> None:
    health.holds("gone", "/a", "not there", NOW)
    health.holds("gone", "/a", "still not there", NOW + 60)
    (one,) = health.standing
    assert (one.since, one.evidence, one.advice, one.text) == (NOW, "still not there", "find it", "/a: still not there")


def test_the_worst_comes_first_and_only_what_is_degraded_makes_degraded(health: Health) -> None:
    health.holds("slow", "/a", "late", NOW)
    assert health.degraded == ""
    health.holds("gone", "", "not there", NOW + 1)
    assert [one.word for one in health.standing] == ["gone", "slow"]
    assert health.degraded == "not there"
    assert health.summary == "degraded: gone: not there; and 1 more"


def test_what_is_over_is_over_for_what_it_was_about_alone(health: Health) -> None:
    health.holds("gone", "/a", "not there", NOW)
    health.holds("gone", "/b", "not there", NOW)
    health.over("gone", "/a")
    health.over("gone", "/never")
    assert [one.about for one in health.standing] == ["/b"]


def test_its_beginning_and_its_end_are_told_once(health: Health, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    health.holds("gone", "/a", "not there", NOW)
    health.holds("gone", "/a", "not there", NOW + 1)
    health.over("gone", "/a")
    health.over("gone", "/a")
    assert caplog.messages == ["degraded gone: /a: not there; find it", "over: gone /a: not there"]


@pytest.mark.parametrize("word", CONDITIONS)
def test_a_row_says_what_it_means_and_what_to_do(word: str) -> None:
    row = CONDITIONS[word]
    assert row.severity in SEVERITIES
    assert row.sentence[0].isupper()
    assert row.sentence.endswith(".")
    assert row.advice
    assert not row.advice.endswith(".")
