"""What a check says: verdicts while it runs, the results that are printed of them, and what it learns for later checks.

A check is a generator of verdicts. What it learns, such as the configuration, is what the generator returns.
`make` and `learn` run a check, and give its results one by one and then its outcome.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

from popauthd.conditions import DEGRADED, Standing
from popauthd.text import safe

OK, WARN, FAIL, SKIP = "ok", "WARN", "FAIL", "skip"
CUT = 400
T = TypeVar("T")


class Verdict(NamedTuple):
    """What a check says; advice only where something is to be done. word: under which it says so, "" for its own."""

    state: str
    seen: str
    advice: str = ""
    word: str = ""


Verdicts = Generator[Verdict, None, None]
Learning = Generator[Verdict, None, T | None]  # None: nothing was learned


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the doctor. state: "ok", "WARN", "FAIL" or "skip".

    because: the check for whose sake this one was not made, "" if it was.
    """

    check: str
    state: str
    seen: str
    advice: str = ""
    because: str = ""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[T]):
    """A check that has run: its results, and what it learned."""

    check: str
    results: Sequence[Result]
    learned: T | None

    @property
    def well(self) -> bool:
        """Whether what needs this check can be looked at."""
        return all(result.state in (OK, WARN) for result in self.results)

    @property
    def root(self) -> str:
        """The first check that was not well, for whose sake this one is not."""
        return next((result.because for result in self.results if result.because), self.check)

    @property
    def value(self) -> T:
        """What the check learned; only for checks that need it to be well."""
        assert self.learned is not None, f"{self.check} learned nothing"
        return self.learned


def ok(seen: str) -> Verdict:
    """All is well."""
    return Verdict(OK, seen)


def fail(seen: str, advice: str) -> Verdict:
    """Something is wrong."""
    return Verdict(FAIL, seen, advice)


def warn(seen: str, advice: str) -> Verdict:
    """Nothing is lost yet, but somebody should look."""
    return Verdict(WARN, seen, advice)


def standing(one: Standing) -> Verdict:
    """A condition of the table of conditions."""
    return (fail if one.severity == DEGRADED else warn)(one.text, one.advice)


def skip(why: str) -> Verdict:
    """Not looked at."""
    return Verdict(SKIP, why)


def learn(word: str, check: Callable[[], Learning[T]], *needs: Outcome[Any]) -> Generator[Result, None, Outcome[T]]:
    """Run a check, or skip it if one of those that it needs is not well: so one fault is one FAIL.

    Each result is given as soon as it is known. An error in the check is a FAIL of it; the other checks are still made.
    """
    results: list[Result] = []

    def result(verdict: Verdict, because: str = "") -> Result:
        said = safe(verdict.seen, CUT), safe(verdict.advice, CUT)
        results.append(Result(verdict.word or word, verdict.state, *said, because))
        return results[-1]

    unwell = next((need for need in needs if not need.well), None)
    if unwell is not None:
        yield result(skip(f"needs {unwell.check}, which is not well"), unwell.root)
        return Outcome(word, results, None)
    learned = None
    try:
        verdicts = check()
        while True:
            yield result(next(verdicts))
    except StopIteration as end:
        learned = end.value
    except OSError as error:  # the world is in the way of looking
        yield result(fail(f"cannot be looked at: {error}", "run this as root"))
    except Exception as error:  # whatever it met, the other checks are still worth making
        yield result(_broken(error))
    return Outcome(word, results, learned)


def make(word: str, check: Callable[[], Verdicts], *needs: Outcome[Any]) -> Generator[Result, None, Outcome[None]]:
    """Run a check that learns nothing, as `learn` does."""
    return learn(word, check, *needs)


def at_once(results: Generator[Result, None, Outcome[T]]) -> Outcome[T]:
    """Run a check to its end before any result of it is shown."""
    try:
        while True:
            next(results)
    except StopIteration as end:
        outcome: Outcome[T] = end.value
        return outcome


def _broken(error: Exception) -> Verdict:
    """What is said of a check that ended with an error which it does not expect."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    said = f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})"
    return fail(f"this check itself failed: {said}", "please report it, with this line")
