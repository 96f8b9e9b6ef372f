"""Journal records: which ones Dovecot's own log process wrote, and what is in them.

A record counts only if journald itself says who wrote it. The fields it adds (they begin with `_`)
cannot be set by the sender: `_UID`, `_EXE`, `_TRANSPORT` and, on a machine that runs systemd,
`_SYSTEMD_UNIT`. `_COMM` can (prctl), and so can everything without `_`: SYSLOG_IDENTIFIER is asked
for as well, to tell instances apart, but proves nothing. SYSLOG_TIMESTAMP is the sender's and is
never used; the time is `__REALTIME_TIMESTAMP`.

Takes both what `journalctl -o json` prints and what python3-systemd's readers give.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import NamedTuple

LOG_PROCESS = "/usr/lib/dovecot/log"  # Debian 12 and 13
UNIT = "dovecot.service"


class Trust(NamedTuple):
    """What the fields of a record by Dovecot's log process must be. unit: "" if it is not asked for."""

    programs: tuple[str, ...]
    unit: str = UNIT
    executable: str = LOG_PROCESS


class Record(NamedTuple):
    """at: None if the record has no readable time. message: None if it has none, or several.

    doubt: the reason word for why the record is not Dovecot's, "" if it is.
    """

    at: int | None
    message: bytes | None
    doubt: str


def record(fields: Mapping[str, object], trust: Trust) -> Record:
    """Read the fields of a journal record. Never raises."""
    asked = {"_UID": "0", "_EXE": trust.executable, "_TRANSPORT": "syslog"}
    if trust.unit:
        asked["_SYSTEMD_UNIT"] = trust.unit
    doubt = ""
    if any(_text(fields.get(name)) != value for name, value in asked.items()):
        doubt = "untrusted"
    elif _text(fields.get("SYSLOG_IDENTIFIER")) not in trust.programs:
        doubt = "other-program"
    return Record(_time(fields.get("__REALTIME_TIMESTAMP")), _bytes(fields.get("MESSAGE")), doubt)


def _text(value: object) -> str | None:
    """A field's one value as text; None for no value, several, or one that is not text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return value if isinstance(value, str) else None


def _bytes(value: object) -> bytes | None:
    """A message: text, bytes, or journalctl's list of byte numbers. A list of anything else is several."""
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes):
        return value
    if isinstance(value, list) and value and all(type(number) is int and 0 <= number < 256 for number in value):
        return bytes(value)
    return None


def _time(value: object) -> int | None:
    """Epoch seconds from microseconds (a number or its digits), or from a datetime."""
    if isinstance(value, datetime.datetime):
        return int(value.timestamp())
    text = _text(value)
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 17:
        return None
    return int(text) // 1_000_000
