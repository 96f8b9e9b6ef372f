"""How far the engine's clock and ours lie apart, and the times of events by either of them. Pure.

On the way the times of events are by the engine's clock, so that nodes whose clocks differ agree on what came first.
Clocks that differ by NEAR_MS or less count as right: which is nearly always, and then times travel as they are, and the
same login is told with the same time however often. Beyond that the difference is taken out, in whole seconds, and kept
until it has changed by more than STEADY_MS.
"""

from __future__ import annotations

from dataclasses import replace

from popauthd.cluster.events import Hello, PeerEvent, PeerLogin, PeerRevocation

NEAR_MS = 5_000
STEADY_MS = 2_000
SLOW_MS = 2_000  # an answer that took longer does not tell the time
STALE_SECONDS = 1.0


class Offset:
    """ms: the engine's clock minus ours, as last measured. seconds: what is taken out."""

    def __init__(self) -> None:
        self.ms = 0
        self.seconds = 0
        self._measured_at = -STALE_SECONDS  # by the clock of whoever asks
        self._known = False

    def stale(self, now: float) -> bool:
        """Whether it must be measured again; also when our clock was set. now: epoch seconds."""
        return not self._known or not 0 <= now - self._measured_at < STALE_SECONDS

    def measured(self, before: float, engine_ms: int, after: float) -> None:
        """Take in what the engine's clock said. before, after: when it was asked and had answered, epoch seconds."""
        took_ms = round((after - before) * 1000)
        if self._known and not 0 <= took_ms <= SLOW_MS:
            return
        self.ms = engine_ms - round((before + after) * 500)
        self._measured_at, self._known = after, True
        if abs(self.ms) <= NEAR_MS:
            self.seconds = 0
        elif not self.seconds or abs(self.ms - self.seconds * 1000) > STEADY_MS:
            self.seconds = round(self.ms / 1000)


def moved(event: PeerEvent, seconds: int) -> PeerEvent:
    """The event with its times this much later."""
    if not seconds or isinstance(event, Hello):
        return event
    at = max(0, event.at + seconds)
    if isinstance(event, PeerLogin):
        return replace(event, at=at, open_at=max(0, event.open_at + seconds))
    if isinstance(event, PeerRevocation):
        return replace(event, at=at)
    return replace(event, at=at, expires_at=max(0, event.expires_at + seconds))
