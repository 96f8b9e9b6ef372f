"""The place in the journal: what is kept of it between two starts, in JSON."""

from __future__ import annotations

import json
import time
from typing import NamedTuple

MICRO = 1_000_000
CURSOR_MOST = 1024  # characters; systemd's have about 130


class Place(NamedTuple):
    """The last record that was handed out: its cursor and its time in microseconds."""

    cursor: str
    at: int


def encode(place: Place) -> bytes:
    """The place as the bytes that are kept for it."""
    return json.dumps({"cursor": place.cursor, "at": place.at}).encode()


def decode(place: bytes) -> Place | None:
    """The place, or None if these bytes are none. Never raises."""
    try:
        value = json.loads(place)
        cursor, at = value["cursor"], value["at"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(cursor, str) or type(at) is not int or not 0 <= at < 1 << 62 or len(cursor) > CURSOR_MOST:
        return None
    return Place(cursor, at)


def utc(microseconds: int) -> str:
    """Microseconds as a time that an administrator reads."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(microseconds // MICRO))
    except (ValueError, OverflowError, OSError):
        return f"@{microseconds // MICRO}"
