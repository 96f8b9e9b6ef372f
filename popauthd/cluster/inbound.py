"""The half of a link that reads the stream: from the last place on, never from "now", and by nobody's group.

What is read is verified, and its times become times by our clock. At the start, every second and after any trouble the
stream is compared with what was read of it (gaps.py). If something is lost, it is read from its beginning again, which
does no harm, as events merge by maximum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from popauthd.cluster import gaps
from popauthd.cluster.offset import Offset, moved
from popauthd.cluster.outbound import measure
from popauthd.cluster.stream import BEGIN, EngineError, Entry, Stream, id_ms
from popauthd.cluster.traffic import Heard, Incoming, Place, Sender, read_place
from popauthd.cluster.wire import Received, decode

COUNT = 1000  # entries at once
LOOK_SECONDS = 1.0
AGAIN_MS = 60_000  # after any trouble so much is read a second time


class Inbound:
    """Reads the stream. place: where to go on (Incoming.place), "" for its beginning. clock: epoch seconds."""

    def __init__(self, stream: Stream, me: Sender, offset: Offset, clock: Callable[[], float], place: str = "") -> None:
        self._stream = stream
        self._me = me
        self._offset = offset
        self._clock = clock
        self._place = read_place(place)
        self._look_at = 0.0  # by our clock; 0 for at once
        self._troubled = False
        self._gap = ""  # what is lost, and has not been told yet
        self._begun = False  # read from the beginning, so that the position is as the engine counted just before
        self._again = ""  # where to read a second time from
        self._here_since = ""  # the id of our first entry that was read
        self._end = ""  # the stream's last id, as we last looked

    def turn(self, block_ms: int) -> Incoming:
        """Read what there is, or wait so long for something. Raises EngineError; call it again then, in a while."""
        try:
            self._gap = self._look() or self._gap
            entries = self._stream.read(self._again or self._place.id or BEGIN, COUNT, block_ms)
        except EngineError:
            self._look_at, self._troubled = 0.0, True
            raise
        now = self._clock()
        heard, rejected = [], Counter[str]()
        for entry in entries:
            found = self._heard(entry, now)
            if isinstance(found, Heard):
                heard.append(found)
            elif found:
                rejected[found] += 1
        self._advance([entry_id for entry_id, _fields in entries])
        caught_up = len(entries) < COUNT and gaps.order(self._place.id or BEGIN) >= gaps.order(self._end or BEGIN)
        gap, self._gap = self._gap, ""
        return Incoming(tuple(heard), str(self._place), dict(rejected), gap, caught_up, self._offset.ms)

    def _advance(self, read: list[str]) -> None:
        """Go on behind what was read, of which the first may have been read before."""
        before = self._place
        fresh = [one for one in read if gaps.order(one) > gaps.order(before.id or BEGIN)]
        if fresh:
            self._place = Place(fresh[-1], before.position + len(fresh) if before.position >= 0 else -1)
        self._again = read[-1] if self._again and read and not fresh and read[-1] != before.id else ""

    def _look(self) -> str:
        """Compare the stream with what was read of it, if that is due; returns what is lost, or ""."""
        now = self._clock()
        if self._look_at and 0 <= self._look_at - now <= LOOK_SECONDS:
            return ""
        measure(self._stream, self._offset, self._clock)
        info = self._stream.info()
        self._look_at, self._end = now + LOOK_SECONDS, info.last_id
        lost = gaps.look(self._place, info, begun=self._begun)
        if lost:
            self._here_since, self._again = "", ""
        if lost or self._place.id in ("", BEGIN):
            trimmed = info.entries_added - info.length if info.entries_added >= 0 else -1
            self._place, self._begun = Place(BEGIN, trimmed), True
        elif self._troubled:
            self._again = f"{max(0, id_ms(self._place.id) - AGAIN_MS)}-0"
        elif info.last_id == self._place.id:
            self._place, self._begun = Place(self._place.id, info.entries_added), False
        self._troubled = False
        return lost

    def _heard(self, entry: Entry, now: float) -> Heard | str:
        """What another run has told; else the reason why it counts for nothing, "" for our own."""
        entry_id, fields = entry
        arrived_ms = id_ms(entry_id)
        found = decode(fields, stream=self._me.stream, keys=self._me.keys, id_ms=arrived_ms)
        if not isinstance(found, Received):
            return found.reason
        if found.run == self._me.run:
            self._here_since = self._here_since or entry_id
            return ""
        beside = found.node == self._me.node and bool(self._here_since)
        age_ms = max(0, round(now * 1000) + self._offset.ms - arrived_ms)
        event = moved(found.event, -self._offset.seconds)
        return Heard(event, found.node, found.run, entry_id, age_ms, arrived_ms - found.sent_ms, beside)
