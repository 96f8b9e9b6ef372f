"""What is handed over of a journal record: the fields that the recogniser reads, as the bytes that are in the journal.

A value is cut at LONGEST_VALUE, so that a record of many megabytes, which any local user can send, takes little memory.
"""

from __future__ import annotations

from collections.abc import Mapping

from popauthd.formats.journal_fields import FIELDS, Fields

LONGEST_VALUE = 65537  # bytes; one more than a message may have, so that what was cut here is refused as too long


def chosen(record: Mapping[str, object]) -> Fields:
    """The fields to hand over. A field that occurs several times has a list of values."""
    return {name: _cut(record[name]) for name in FIELDS if name in record}


def _cut(value: object) -> object:
    if isinstance(value, bytes):
        return value[:LONGEST_VALUE]
    return [_cut(one) for one in value] if isinstance(value, list) else value


def size(fields: Fields) -> int:
    """About how many bytes the names and values take."""
    return sum(len(name) + _length(value) for name, value in fields.items())


def _length(value: object) -> int:
    if isinstance(value, bytes):
        return len(value)
    return sum(map(_length, value)) if isinstance(value, list) else 8
