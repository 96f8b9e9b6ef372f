"""The way from a node to the engine: it may be cut, and may lose a request, its answer, or let it come late."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TypeVar

from popauthd.cluster.stream import EngineError, Entry, Fields, Info
from tests.sim.engine import SimEngine
from tests.sim.schedule import Schedule

LATE_SECONDS = 30.0

Answer = TypeVar("Answer")
Change = Callable[[Fields], Fields]


class Network:
    """cut: the nodes that do not reach the engine. loss: how likely it is that a request meets each kind of loss."""

    def __init__(self, schedule: Schedule, engine: SimEngine, dice: random.Random) -> None:
        self.cut: set[str] = set()
        self.loss = 0.0
        self._schedule = schedule
        self._engine = engine
        self._dice = dice

    def stream(self, node: str, change: Change = dict) -> SimStream:
        """A connection of a node. change: what becomes of the entries that it sends, as another version makes them."""
        return SimStream(self, node, self._engine, change)

    def ask(self, node: str, question: Callable[[], Answer]) -> Answer:
        """The answer to what changes nothing."""
        self._up(node)
        if self._dice.random() < self.loss:
            raise EngineError("timeout", "no answer")
        return question()

    def append(self, node: str, entries: Sequence[Fields], keep_after_ms: int) -> list[str]:
        """Appended; or not, or in part, or without an answer, or later."""
        self._up(node)
        what = self._dice.random() / self.loss if self.loss else 9.0
        if what < 1:
            raise EngineError("timeout", "the request was lost")
        if what < 2:
            self._engine.append(entries[: self._dice.randrange(len(entries) + 1)], keep_after_ms)
            raise EngineError("lost", "the answer was lost")
        if what < 3:
            kept = [dict(fields) for fields in entries]
            self._schedule.after(self._dice.uniform(0, LATE_SECONDS), lambda: self._late(kept, keep_after_ms))
            raise EngineError("timeout", "the request is held up")
        return self._engine.append(entries, keep_after_ms)

    def _late(self, entries: Sequence[Fields], keep_after_ms: int) -> None:
        if not self._engine.trouble:
            self._engine.append(entries, keep_after_ms)

    def _up(self, node: str) -> None:
        word = self._engine.trouble or ("timeout" if node in self.cut else "")
        if word:
            raise EngineError(word, "simulated")


class SimStream:
    """A Stream (popauthd/cluster/stream.py)."""

    def __init__(self, network: Network, node: str, engine: SimEngine, change: Change) -> None:
        self._network = network
        self._node = node
        self._engine = engine
        self._change = change

    def append(self, entries: Sequence[Fields], keep_after_ms: int) -> list[str]:
        """See Stream."""
        return self._network.append(self._node, [self._change(fields) for fields in entries], keep_after_ms)

    def read(self, after: str, count: int, block_ms: int) -> list[Entry]:
        """See Stream; it never waits."""
        assert block_ms >= 0
        return self._network.ask(self._node, lambda: self._engine.read(after, count))

    def info(self) -> Info:
        """See Stream."""
        return self._network.ask(self._node, self._engine.info)

    def time_ms(self) -> int:
        """See Stream."""
        return self._network.ask(self._node, self._engine.time_ms)

    def close(self) -> None:
        """See Stream."""
