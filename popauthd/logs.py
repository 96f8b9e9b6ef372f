"""Warnings that repeat made quiet: one of a kind is logged once a minute, with its count."""

from __future__ import annotations

import logging
import time


class Quiet:
    """Logs a warning of one kind at most once a minute, with the count of those kept back."""

    def __init__(self, log: logging.Logger, every_seconds: float = 60.0) -> None:
        self._log = log
        self._every = every_seconds
        self._next: dict[str, float] = {}
        self._held: dict[str, int] = {}

    def warn(self, kind: str, message: str) -> None:
        """Log `message` unless one of this `kind` was logged within the last minute."""
        now = time.monotonic()
        if now < self._next.get(kind, 0.0):
            self._held[kind] = self._held.get(kind, 0) + 1
            return
        held = self._held.pop(kind, 0)
        self._next[kind] = now + self._every
        self._log.warning("%s%s", message, f" ({held} more like this in the last minute)" if held else "")
