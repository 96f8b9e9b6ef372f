"""A journal record as a line, in the shape that `journalctl -o json` prints it.

So the very same recogniser reads the journal, and what `journalctl -o json` gave. The shape is that of
systemd's src/shared/logs-show.c: a value is a string if it is UTF-8 without control characters
but LF and TAB, else an array of byte numbers; a field that occurs several times is an array of those.
Two differences: only the fields that matter are there, and a value over 4096 bytes is given up to
LONGEST_VALUE, where journalctl prints null unless it is asked for --all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

FIELDS = (
    "__REALTIME_TIMESTAMP",
    "_UID",
    "_EXE",
    "_COMM",
    "_SYSTEMD_UNIT",
    "_TRANSPORT",
    "SYSLOG_IDENTIFIER",
    "MESSAGE",
)
LONGEST_VALUE = 65537  # bytes; one more than a line may have, so that what was cut here is refused as too long
# utf8_is_printable(): controls (C0, DEL, C1) but TAB and LF; and what is no character at all in Unicode.
_NO_CHARACTERS = "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF))
_UNPRINTABLE = re.compile(rf"[\x00-\x08\x0b-\x1f\x7f-\x9f\ufdd0-\ufdef{_NO_CHARACTERS}]")
_encode = json.JSONEncoder(separators=(",", ":")).encode


def line(record: Mapping[str, object]) -> bytes:
    """One line with its LF: ASCII, so that nothing in a value can end it."""
    return _encode({name: _field(record[name]) for name in FIELDS if name in record}).encode("ascii") + b"\n"


def _field(value: object) -> object:
    """A field's value, or the array of its values if it occurs several times."""
    return [_value(one) for one in value] if isinstance(value, list) else _value(value)


def _value(value: object) -> str | list[int]:
    if isinstance(value, bytes):
        value = value[:LONGEST_VALUE]
        try:
            text = value.decode()
        except UnicodeDecodeError:
            return list(value)
        return list(value) if _UNPRINTABLE.search(text) else text
    if isinstance(value, str) and _UNPRINTABLE.search(value):
        return list(value.encode())
    return str(value)
