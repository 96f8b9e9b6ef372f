"""Tells other nodes again what stands here: every remembered revocation, then this node's own logins, bit by bit.

That heals whatever an engine or a node has lost. It is done fast when somebody asks for it, and slowly now and then.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from popauthd.cluster.events import PeerEvent
from popauthd.store.books import Reading
from popauthd.store.books.outbox import revocations_told, rows_told
from popauthd.store.books.rules import Rules

EVERY_SECONDS = 600
ASKED_AGAIN_SECONDS = 3  # many nodes ask at once, and what is told for one is heard by all
SLOW_SECONDS = 0.25  # between two pieces of it, if nobody asked
ROWS = 5000  # rows looked at for one piece


class ToldAgain:
    """When what stands is told again, and where in it we are. Times are epoch seconds."""

    def __init__(self) -> None:
        self._asked_at = 0.0  # somebody asked then and has not been served; 0 for nobody
        self._began_at = 0.0
        self._fast = False
        self._revocations: list[PeerEvent] | None = None  # not told yet; None while nothing is being told
        self._after = b""
        self._piece_at = 0.0

    @property
    def running(self) -> bool:
        """Whether it is being told."""
        return self._revocations is not None

    @property
    def served(self) -> bool:
        """Whether everybody who asked has been told all."""
        return not self._asked_at and not (self.running and self._fast)

    def ask(self, now: float) -> None:
        """Tell all before long."""
        self._asked_at = self._asked_at or now

    def due(self, now: float) -> bool:
        """Whether a piece of it is due."""
        if now < self._began_at:  # the clock was set back
            self._began_at = now
        if not self.running:
            asked = self._asked_at and (not self._began_at or now - self._began_at >= ASKED_AGAIN_SECONDS)
            return bool(asked) or now - self._began_at >= EVERY_SECONDS
        return self._fast or not 0 <= now - self._piece_at < SLOW_SECONDS

    def piece(self, reading: Reading, rules: Rules, now: float, at_most: int) -> list[PeerEvent]:
        """The next events, maybe none; `running` says whether there may be more."""
        if self._revocations is None:
            records = reading.revocations.told()
            self._revocations = [event for record in records for event in revocations_told(record, rules)]
            self._began_at, self._after, self._fast, self._asked_at = now, b"", bool(self._asked_at), 0.0
        self._piece_at = now
        if found := self._revocations[:at_most]:
            del self._revocations[:at_most]
            return found
        found = self._logins(reading, rules, int(now), at_most)
        if not self._after:
            self._revocations = None
        return found

    def again(self) -> None:
        """What was given out last was not told: begin anew."""
        if self.running:
            self._asked_at, self._revocations = self._asked_at or self._began_at, None
            self._began_at = 0.0

    def _logins(self, reading: Reading, rules: Rules, now: int, at_most: int) -> list[PeerEvent]:
        """The next logins that stand; `_after` is where to go on, b"" at the end."""
        found: list[PeerEvent] = []
        for seen, (key, value) in enumerate(self._rows(reading), 1):
            self._after = key
            for row, event in rows_told([(key, value)], rules, now):
                if not reading.revocations.end(row):
                    found.append(event)
            if len(found) == at_most or seen == ROWS:
                return found
        self._after = b""
        return found

    def _rows(self, reading: Reading) -> Iterator[tuple[bytes, bytes]]:
        blocks = reading.transaction.blocks("logins", self._after)
        return islice((row for block in blocks for row in block), ROWS + 1)
