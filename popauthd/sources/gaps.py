"""The gaps that a source has found, until the watcher takes them."""

from __future__ import annotations

from collections import deque

from popauthd.sources import Gap

GAPS_MOST = 100  # kept until they are taken; of more, the last ones


class Gaps:
    """Sentences about lines that are lost, each with the time at which that was found out."""

    def __init__(self) -> None:
        self._found: deque[Gap] = deque(maxlen=GAPS_MOST)

    def add(self, what: str, at: int) -> None:
        """Remember a gap; `what` is a sentence for the administrator. at: epoch seconds."""
        self._found.append(Gap(what, at))

    def take(self) -> list[Gap]:
        """The gaps added since the last call."""
        found = list(self._found)
        self._found.clear()
        return found
