"""Counters by day. Database `counters`."""

from __future__ import annotations

import time
from collections.abc import Mapping

from popauthd.store.books.meta import Meta
from popauthd.store.books.transaction import Transaction

DAYS = 35  # how many days are kept


def day_of(at: int) -> str:
    """The day (UTC) under which a time is counted, such as `2026-11-23`."""
    return time.strftime("%Y-%m-%d", time.gmtime(at))


class Counters:
    """Numbers by day and name; popauthd/counters.py says what each name means."""

    def __init__(self, transaction: Transaction, meta: Meta) -> None:
        self._transaction = transaction
        self._meta = meta

    def of(self, day: str = "") -> dict[str, int]:
        """The counters of a day (`2026-11-23`, UTC), or of all days that are kept, summed."""
        sums: dict[str, int] = {}
        for key, value in self._transaction.scan("counters", day.encode("ascii") + b"\0" if day else b""):
            name = key.partition(b"\0")[2].decode("ascii")
            sums[name] = sums.get(name, 0) + int(value)
        return sums

    def add(self, names: Mapping[str, int], now: int) -> None:
        """Add to the counters of today (UTC)."""
        day = day_of(now)
        self._meta.note_time(now)
        for name, number in names.items():
            key = f"{day}\0{name}".encode("ascii")
            before = int(self._transaction.get("counters", key) or 0)
            self._transaction.put("counters", key, b"%d" % (before + number))


def is_old(key: bytes, now: int) -> bool:
    """Whether a counter belongs to a day that is no longer kept."""
    return key < day_of(now - DAYS * 86400).encode("ascii")
