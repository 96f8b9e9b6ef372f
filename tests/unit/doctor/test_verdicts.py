"""A check is run or skipped, its results come one by one, and what it learned is handed on."""

from __future__ import annotations

import pytest

from popauthd.conditions import CONDITIONS, Standing
from popauthd.doctor.verdicts import (
    CUT,
    FAIL,
    OK,
    SKIP,
    WARN,
    Learning,
    Outcome,
    Result,
    Verdicts,
    at_once,
    fail,
    learn,
    make,
    ok,
    skip,
    standing,
)
from popauthd.text import safe

WELL: Outcome[None] = Outcome("well", [Result("well", OK, "seen")], None)


def test_what_a_check_returns_is_its_outcome() -> None:
    def check() -> Learning[int]:
        yield ok("one")
        yield ok("two")
        return 42

    outcome = at_once(learn("count", check, WELL))
    assert outcome.results == [Result("count", OK, "one"), Result("count", OK, "two")]
    assert outcome.well
    assert outcome.value == outcome.learned == 42


def test_results_come_as_soon_as_they_are_known() -> None:
    said: list[str] = []

    def check() -> Verdicts:
        said.append("begun")
        yield ok("one")
        said.append("went on")
        yield ok("two")

    results = make("slow", check)
    assert said == []
    assert next(results) == Result("slow", OK, "one")
    assert said == ["begun"]


@pytest.mark.parametrize("states", [[FAIL], [SKIP], [OK, FAIL], [FAIL, OK], [SKIP, OK]])
def test_one_result_that_is_not_ok_is_enough_to_skip_what_needs_the_check(states: list[str]) -> None:
    unwell: Outcome[int] = Outcome("first", [Result("first", state, "seen") for state in states], None)

    def check() -> Verdicts:
        yield ok(f"uses {unwell.value}")

    outcome = at_once(make("second", check, WELL, unwell))
    assert outcome.results == [Result("second", SKIP, "needs first, which is not well", because="first")]
    assert not outcome.well
    assert outcome.learned is None


def test_a_warning_keeps_nothing_from_being_looked_at() -> None:
    def check() -> Verdicts:
        yield standing(Standing("program-replaced", "Exim", "runs on", 7))

    warned = at_once(make("first", check))
    assert warned.results == [Result("first", WARN, "Exim: runs on", CONDITIONS["program-replaced"].advice)]
    assert warned.well


def test_a_condition_that_degrades_is_a_failure_under_its_own_word() -> None:
    def check() -> Verdicts:
        yield standing(Standing("log-missing", "/a", "does not exist", 7))._replace(word="log-missing")

    (result,) = at_once(make("conditions", check)).results
    assert (result.check, result.state, result.advice) == ("log-missing", FAIL, CONDITIONS["log-missing"].advice)


def test_what_is_not_looked_at_names_the_first_check_that_was_not_well() -> None:
    def check() -> Verdicts:
        yield fail("broken", "mend it")

    def never() -> Verdicts:
        yield ok("looked at all the same")

    first = at_once(make("first", check))
    second = at_once(make("second", never, WELL, first))
    third = at_once(make("third", never, second))
    assert [result.because for result in (*first.results, *second.results, *third.results)] == ["", "first", "first"]


def test_what_was_not_learned_cannot_be_used() -> None:
    def check() -> Learning[int]:
        yield skip("not looked at")
        return None

    outcome = at_once(learn("count", check))
    with pytest.raises(AssertionError, match="count learned nothing"):
        assert outcome.value


ERRORS = [
    (PermissionError(13, "Permission denied"), "cannot be looked at: [Errno 13] Permission denied"),
    (KeyError("key"), "this check itself failed: KeyError: 'key' (test_verdicts.py, line "),
]


@pytest.mark.parametrize(("error", "said"), ERRORS, ids=["the world", "a bug"])
def test_an_error_is_a_failure_of_the_check(error: Exception, said: str) -> None:
    def check() -> Learning[int]:
        yield ok("one")
        raise error

    outcome = at_once(learn("broken", check))
    assert [result.state for result in outcome.results] == [OK, FAIL]
    assert outcome.results[1].seen.startswith(said)
    assert outcome.results[1].advice
    assert outcome.learned is None


def test_whoever_ends_the_doctor_ends_a_check() -> None:
    def check() -> Verdicts:
        yield ok("one")
        raise SystemExit(143)

    results = make("ended", check)
    next(results)
    with pytest.raises(SystemExit):
        next(results)


def test_text_from_outside_is_made_safe_and_cut() -> None:
    def check() -> Verdicts:
        yield fail("a\nb" + "x" * CUT, "c\x1bd")

    (result,) = at_once(make("odd", check)).results
    assert "\n" not in result.seen and "\x1b" not in result.advice
    assert result.seen == safe("a\nb" + "x" * CUT, CUT)
