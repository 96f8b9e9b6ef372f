"""Text from outside made safe to print, and times as people read them.

A user name comes from a stranger: it may hold escape codes that rewrite a terminal or bidi marks
that turn a line round. Everything from outside passes `safe` before it reaches a log or a screen.
"""

from __future__ import annotations

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


def ago(seconds: int) -> str:
    """How long ago something was: `just now`, `2m 3s ago`."""
    return f"{length_of_time(seconds)} ago" if seconds > 0 else "just now"


def stamp(at: int) -> str:
    """Epoch seconds as local time with its offset, nearly as `date -Is` prints it; `@seconds` if there is none.

    at: from a log, so it may be anything; and a machine with a 32-bit time_t knows no time after January 2038.
    """
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(at))
    except (ValueError, OverflowError, OSError):
        return f"@{at}"
