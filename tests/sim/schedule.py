"""Virtual time: what is to happen, in order. Nothing waits, and nothing runs beside anything else."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count


@dataclass
class Schedule:
    """What happens when. now: the true time, epoch seconds."""

    now: float
    _queue: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: count[int] = field(default_factory=count)

    def after(self, seconds: float, act: Callable[[], None]) -> None:
        """Have something happen so many seconds from now; of two at the same time the one that was told first."""
        heapq.heappush(self._queue, (self.now + seconds, next(self._numbers), act))

    def run(self, until: float) -> None:
        """Let happen what is due until then."""
        while self._queue and self._queue[0][0] <= until:
            at, _number, act = heapq.heappop(self._queue)
            self.now = max(self.now, at)
            act()
        self.now = until
