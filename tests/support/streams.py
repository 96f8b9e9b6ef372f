"""A stream in memory, as an engine gives it: for tests of what reads and writes one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from popauthd.cluster.gaps import order
from popauthd.cluster.stream import EngineError, Entry, Fields, Info, id_ms


class Engine:
    """An engine with one stream. clock: its epoch seconds. trouble: what every call raises while it is set."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.entries: list[Entry] = []
        self.added = 0
        self.last = ""
        self.trouble: EngineError | None = None

    def flush(self) -> None:
        """FLUSHALL."""
        self.entries, self.added, self.last = [], 0, ""

    def cut(self, entries: int) -> None:
        """The end is lost, as after a failover to a replica that lacked it."""
        self.entries = self.entries[: len(self.entries) - entries]
        self.added -= entries
        self.last = self.entries[-1][0] if self.entries else ""

    def trim(self, left: int) -> None:
        """XTRIM."""
        self.entries = self.entries[len(self.entries) - left :]

    def stream(self) -> MemoryStream:
        """A connection."""
        return MemoryStream(self)


class MemoryStream:
    """A connection to the engine; a Stream. trouble: what every call of this one raises while it is set."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.trouble: EngineError | None = None

    def _up(self) -> Engine:
        if trouble := self.trouble or self._engine.trouble:
            raise trouble
        return self._engine

    def append(self, entries: Sequence[Fields], keep_after_ms: int) -> list[str]:
        """XADD, pipelined."""
        engine = self._up()
        engine.entries = [entry for entry in engine.entries if id_ms(entry[0]) >= keep_after_ms]
        made = []
        for fields in entries:
            milliseconds, number = order(engine.last or "0-0")
            now_ms = round(engine.clock() * 1000)
            engine.last = f"{now_ms}-0" if now_ms > milliseconds else f"{milliseconds}-{number + 1}"
            engine.entries.append((engine.last, dict(fields)))
            engine.added += 1
            made.append(engine.last)
        return made

    def read(self, after: str, count: int, block_ms: int) -> list[Entry]:
        """XREAD; it never waits."""
        assert block_ms >= 0
        return [entry for entry in self._up().entries if order(entry[0]) > order(after)][:count]

    def info(self) -> Info:
        """XINFO STREAM."""
        engine = self._up()
        first = engine.entries[0][0] if engine.entries else ""
        return Info(first, engine.last, engine.added, len(engine.entries))

    def time_ms(self) -> int:
        """TIME."""
        return round(self._up().clock() * 1000)

    def close(self) -> None:
        """Nothing is open."""
