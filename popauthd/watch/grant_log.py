"""The log's line for each grant, bounded: journald drops what comes too fast, and with it what must not be lost.

LINES_A_SECOND grants have a line each; how many more there were is said once the second is over.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from popauthd.model import Grant
from popauthd.text import safe

LINES_A_SECOND = 100  # journald's own bound is 10,000 in 30 seconds (journald.conf(5), RateLimitBurst)
EACH, SUMMARY, NONE = "all", "summary", "none"  # what `log_grants` may be


class GrantLog:
    """Logs grants as `how` says. Call `tend` at every turn of the loop."""

    def __init__(self, log: logging.Logger, how: str = EACH) -> None:
        self.how = how
        self._log = log
        self._ends_at = 0.0
        self._lines = 0
        self._untold: dict[tuple[str, str], int] = {}  # by word and source

    def tell(self, word: str, grants: Sequence[Grant], source: str, *, more: int = 0) -> None:
        """Log grants of a source. word: what became of them. more: so many others are only counted."""
        if self.how == NONE:
            return
        self.tend()
        if grants and self._lines == 0 and not self._untold:
            self._ends_at = time.monotonic() + 1
        told = grants[: LINES_A_SECOND - self._lines] if self.how == EACH else ()
        for grant in told:
            self._log.info(
                "%s address=%s expires_at=%d user=%s source=%s",
                word, grant.address, grant.expires_at, safe(grant.user), source,
            )  # fmt: skip
        self._lines += len(told)
        if left := len(grants) - len(told) + more:
            self._untold[word, source] = self._untold.get((word, source), 0) + left

    def tend(self) -> None:
        """Sum up, once the second is over."""
        if time.monotonic() >= self._ends_at:
            self.sum_up()

    def sum_up(self) -> None:
        """Say how many had no line of their own, and begin a new second."""
        for (word, source), number in self._untold.items():
            self._log.info("%s: %d more addresses within a second source=%s", word, number, source)
        self._untold.clear()
        self._lines = 0
