"""How the watcher is: the conditions that hold now, each since when. One place is told, and all who ask read it.

Whoever looks at something says what it saw: `holds` while a condition is there, `over` when it is not. What begins
and what ends is a line in the log, once.
"""

from __future__ import annotations

import logging

from popauthd.conditions import DEGRADED, SEVERITIES, Standing
from popauthd.text import safe

log = logging.getLogger("popauthd.watch")

LOGGED = 400  # characters of what was seen


class Health:
    """The conditions that hold. A condition is known by its word and what it is about."""

    def __init__(self) -> None:
        self._standing: dict[tuple[str, str], Standing] = {}

    @property
    def standing(self) -> tuple[Standing, ...]:
        """The conditions that hold, the worst first, then the oldest."""
        found = self._standing.values()
        return tuple(sorted(found, key=lambda one: (-SEVERITIES.index(one.severity), one.since, one.word, one.about)))

    @property
    def degraded(self) -> str:
        """What is wrong, in one line; "" if no condition makes the watcher degraded."""
        return "; ".join(one.text for one in self.standing if one.severity == DEGRADED)

    @property
    def summary(self) -> str:
        """The worst condition in one line, with the number of the others; "" if there is none."""
        if not self._standing:
            return ""
        worst, *others = self.standing
        more = f"; and {len(others)} more" if others else ""
        return f"{worst.severity}: {worst.word}: {safe(worst.text)}{more}"

    def holds(self, word: str, about: str, evidence: str, now: int) -> None:
        """A condition is there. The newest evidence counts; `since` stays that of the first. now: epoch seconds."""
        before = self._standing.get((word, about))
        self._standing[word, about] = Standing(word, about, evidence, now if before is None else before.since)
        if before is None:
            one = self._standing[word, about]
            log.warning("%s %s: %s; %s", one.severity, word, safe(one.text, LOGGED), one.advice)

    def left(self, about: str) -> None:
        """Nothing is said any more of what is no longer looked at."""
        for word, one in list(self._standing):
            if one == about:
                self.over(word, about)

    def over(self, word: str, about: str = "") -> None:
        """A condition is not there, or no longer."""
        before = self._standing.pop((word, about), None)
        if before is not None:
            log.warning("over: %s %s", word, safe(before.text, LOGGED))
