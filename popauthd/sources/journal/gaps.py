"""The gaps that a journal source has found and not told yet, each with the clock of the last read."""

from __future__ import annotations

from popauthd.sources import gaps


class Gaps(gaps.Gaps):
    """Collects gaps. now: epoch seconds; the wall clock of the last read, which is noted with each gap."""

    def __init__(self, now: int) -> None:
        super().__init__()
        self.now = now

    def note(self, what: str) -> None:
        """Remember a gap of now; `what` is a sentence for the administrator."""
        self.add(what, self.now)
