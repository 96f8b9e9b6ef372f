"""The engine of the simulation: one stream as Redis keeps it, with everything that can happen to it.

It gives ids as XADD does, trims whole nodes of the stream as `MINID ~` does, and counts what goes in and out.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from popauthd.cluster.gaps import order
from popauthd.cluster.stream import Entry, Fields, Info, id_ms

NODE_ENTRIES = 100  # entries in a node of a stream: stream-node-max-entries of Redis
NEVER = (0, 0)

Id = tuple[int, int]


@dataclass(slots=True)
class Counted:
    """What went through it: entries, and bytes of their names and values."""

    entries_in: int = 0
    bytes_in: int = 0
    entries_out: int = 0
    bytes_out: int = 0


class SimEngine:
    """The primary of an engine. clock: the true time. ahead: its own clock, seconds before that.

    trouble: a word of EngineError, what every call meets while it is set.
    """

    def __init__(self, clock: Callable[[], float], ahead: float = 0.0) -> None:
        self.ahead = self._ahead = ahead
        self.trouble = ""
        self.counted = Counted()
        self._clock = clock
        self._ids: list[Id] = []
        self._entries: list[Entry] = []
        self._sizes: list[int] = []
        self._added = 0
        self._last = NEVER

    def time_ms(self) -> int:
        """TIME."""
        return round((self._clock() + self.ahead) * 1000)

    def append(self, entries: Sequence[Fields], keep_after_ms: int) -> list[str]:
        """XADD MINID ~, of each entry."""
        made = []
        for fields in entries:
            now_ms = self.time_ms()
            self._last = (now_ms, 0) if now_ms > self._last[0] else (self._last[0], self._last[1] + 1)
            entry_id = f"{self._last[0]}-{self._last[1]}"
            size = sum(len(name) + len(value) for name, value in fields.items())
            self._ids.append(self._last)
            self._entries.append((entry_id, dict(fields)))
            self._sizes.append(size)
            self._added += 1
            self.counted.entries_in += 1
            self.counted.bytes_in += size
            made.append(entry_id)
        old = bisect_left(self._ids, (keep_after_ms, 0))
        self._drop(old - old % NODE_ENTRIES)
        return made

    def read(self, after: str, count: int) -> list[Entry]:
        """XREAD COUNT."""
        begin = bisect_right(self._ids, order(after))
        found = self._entries[begin : begin + count]
        self.counted.entries_out += len(found)
        self.counted.bytes_out += sum(self._sizes[begin : begin + count])
        return found

    def info(self) -> Info:
        """XINFO STREAM."""
        if self._last == NEVER:
            return Info()
        first = self._entries[0][0] if self._entries else ""
        return Info(first, f"{self._last[0]}-{self._last[1]}", self._added, len(self._entries))

    def flush(self) -> None:
        """FLUSHALL."""
        self._drop(len(self._ids))
        self._added, self._last = 0, NEVER

    def trim(self, left: int) -> None:
        """XTRIM MAXLEN."""
        self._drop(max(0, len(self._ids) - left))

    def lose_end(self, lost: int, drift: float = 0.0) -> None:
        """Failover to a replica, or a start from an append-only file, that lacks the last entries.

        drift: the replica's clock, seconds before that of the first primary.
        """
        self.ahead = self._ahead + drift
        kept = max(0, len(self._ids) - lost)
        self._added -= len(self._ids) - kept
        for column in (self._ids, self._entries, self._sizes):
            del column[kept:]
        self._last = self._ids[-1] if self._ids else NEVER

    def some(self, seconds: float) -> list[Entry]:
        """The entries of the last seconds."""
        since_ms = self.time_ms() - round(seconds * 1000)
        return [entry for entry in self._entries[-1000:] if id_ms(entry[0]) >= since_ms]

    def __len__(self) -> int:
        return len(self._ids)

    def _drop(self, number: int) -> None:
        for column in (self._ids, self._entries, self._sizes):
            del column[:number]
