"""Text from outside made safe to print, and warnings that repeat made quiet.

A user name comes from a stranger: it may hold escape codes that rewrite a terminal or bidi marks
that turn a line round. Everything from outside passes `safe` before it reaches a log or a screen.
"""

from __future__ import annotations

import logging
import time
import unicodedata

CUT = 80
# Cc control, Cf format (bidi marks and zero width), Co/Cs/Cn private, surrogate, unassigned, Zl/Zp line separators
_UNSAFE = {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}


def safe(text: str, cut: int = CUT) -> str:
    """The text with every control, format and unassigned character escaped, cut at `cut` characters."""
    short = text[:cut]
    if not short.isascii() or not short.isprintable():
        short = "".join(
            char.encode("unicode_escape").decode("ascii") if unicodedata.category(char) in _UNSAFE else char
            for char in short
        )
    return short if len(text) <= cut else short + "..."


def length_of_time(seconds: int) -> str:
    """Seconds as an administrator reads them: `14m 3s`, `2h 5m`."""
    minutes, seconds = divmod(max(0, seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h {minutes}m"
    return f"{minutes}m {seconds}s" if minutes else f"{seconds}s"


def stamp(at: int) -> str:
    """Epoch seconds as local time with its offset, nearly as `date -Is` prints it; `@seconds` if there is none.

    at: from a log, so it may be anything; and a machine with a 32-bit time_t knows no time after January 2038.
    """
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(at))
    except (ValueError, OverflowError, OSError):
        return f"@{at}"


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
