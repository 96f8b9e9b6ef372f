"""The place in the journal, as it is saved between two starts: the last record that was handed out, in JSON."""

from __future__ import annotations

import json
import time
from typing import NamedTuple

MICRO = 1_000_000
CURSOR_MOST = 1024  # characters; systemd's have about 130


class LastRecord(NamedTuple):
    """The last record that was handed out. cursor: its name in the journal. at: its time in microseconds."""

    cursor: str
    at: int


def encode(last: LastRecord) -> bytes:
    """The place after this record, as the bytes that are saved for it."""
    return json.dumps({"cursor": last.cursor, "at": last.at}).encode()


def decode(place: bytes) -> LastRecord | None:
    """The record that a saved place follows, or None if these bytes are not a place. Never raises."""
    try:
        value = json.loads(place)
        cursor, at = value["cursor"], value["at"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(cursor, str) or type(at) is not int or not 0 <= at < 1 << 62 or len(cursor) > CURSOR_MOST:
        return None
    return LastRecord(cursor, at)


def utc(microseconds: int) -> str:
    """Microseconds as a time that an administrator reads."""
    try:
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(microseconds // MICRO))
    except (ValueError, OverflowError, OSError):
        return f"@{microseconds // MICRO}"
