"""The half of a link that sends: it signs events and appends them to the stream."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from popauthd.cluster.events import PeerEvent, PeerLogin
from popauthd.cluster.offset import Offset, moved
from popauthd.cluster.stream import Stream
from popauthd.cluster.traffic import Sender
from popauthd.cluster.wire import encode, fits


class Outbound:
    """Sends what the watcher hands over. clock: epoch seconds of this node."""

    def __init__(self, stream: Stream, me: Sender, offset: Offset, clock: Callable[[], float]) -> None:
        self._stream = stream
        self._me = me
        self._offset = offset
        self._clock = clock
        self._number = 0

    def send(self, events: Sequence[PeerEvent]) -> None:
        """Append events, in order; raises EngineError, and all must be sent again then, which does no harm."""
        measure(self._stream, self._offset, self._clock)
        sent_ms = round(self._clock() * 1000)
        entries = []
        for event in events:
            told = moved(event, self._offset.seconds)
            if isinstance(told, PeerLogin) and not fits(told):
                told = replace(told, method="")  # which may be any text, and then counts as not known
            if fits(told):
                self._number += 1
                entries.append(self._entry(told, sent_ms))
        keep_after_ms = sent_ms + self._offset.ms - self._me.keep_seconds * 1000
        if entries:
            self._stream.append(entries, max(0, keep_after_ms))

    def _entry(self, event: PeerEvent, sent_ms: int) -> dict[bytes, bytes]:
        me = self._me
        return encode(
            event, node=me.node, run=me.run, number=self._number, sent_ms=sent_ms, stream=me.stream, keys=me.keys
        )


def measure(stream: Stream, offset: Offset, clock: Callable[[], float]) -> None:
    """Ask the engine for its time, if that is not known of the last second. Raises EngineError."""
    before = clock()
    if offset.stale(before):
        engine_ms = stream.time_ms()
        offset.measured(before, engine_ms, clock())
