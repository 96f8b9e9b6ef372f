"""The journal's trusted fields: which records Dovecot's own log process wrote, and what is in them.

A record counts only if journald itself says who wrote it. journald adds fields that begin with `_`, and the sender
cannot set these: `_UID`, `_EXE`, `_TRANSPORT` and, on a machine that runs systemd, `_SYSTEMD_UNIT`. The sender can set
`_COMM` (by prctl) and every field without `_`. SYSLOG_IDENTIFIER is compared as well, to tell several instances apart,
but it proves nothing. SYSLOG_TIMESTAMP comes from the sender and is never used: the time is `__REALTIME_TIMESTAMP`.

Takes the fields in two shapes: as python3-systemd's reader gives them, which is what the journal source
hands over, and as `journalctl -o json` prints them, which is what `popauthctl recognise` reads from a file.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import NamedTuple

LOG_PROCESS = "/usr/lib/dovecot/log"  # Debian 12 and 13
UNIT = "dovecot.service"
# What a source hands over of a record; all the rest is left in the journal.
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

Fields = Mapping[str, object]


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


def record(fields: Fields, trust: Trust) -> Record:
    """Read the fields of a journal record. Never raises."""
    at, message = _time(fields.get("__REALTIME_TIMESTAMP")), _bytes(fields.get("MESSAGE"))
    return Record(at, message, _doubt(fields, trust))


def _doubt(fields: Fields, trust: Trust) -> str:
    """The reason word for why a record is not Dovecot's; "" if it is."""
    if (
        _text(fields.get("_UID")) != "0"
        or _text(fields.get("_EXE")) != trust.executable
        or _text(fields.get("_TRANSPORT")) != "syslog"
        or (trust.unit and _text(fields.get("_SYSTEMD_UNIT")) != trust.unit)
    ):
        return "untrusted"
    return "" if _text(fields.get("SYSLOG_IDENTIFIER")) in trust.programs else "other-program"


def _text(value: object) -> str | None:
    """A field's one value as text; None for no value, several, or one that is not text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return None
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
