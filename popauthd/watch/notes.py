"""What the watcher has to say: notes for the administrator, and counters that wait for the next transaction."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from popauthd.text import stamp

log = logging.getLogger("popauthd.watch")

AT_MOST = 20  # notes that are kept for status


class Notes:
    """Notes since the start, the newest last, and `uncounted`: numbers to be added to the books' counters."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._texts = list(texts)
        self.uncounted: Counter[str] = Counter()

    @property
    def texts(self) -> Sequence[str]:
        """What an administrator should know."""
        return self._texts

    def add(self, text: str, at: int) -> None:
        """Tell the administrator: in the log, and in status. at: epoch seconds."""
        log.warning("%s", text)
        self._texts = [*self._texts[1 - AT_MOST :], f"{stamp(at)} {text}"]

    def count(self, names: Mapping[str, int]) -> None:
        """Count what led to no login; entered into the books with the next batch, or before long."""
        self.uncounted.update(names)

    def take_counts(self) -> Counter[str]:
        """The numbers that wait; they wait no longer."""
        taken, self.uncounted = self.uncounted, Counter()
        return taken
