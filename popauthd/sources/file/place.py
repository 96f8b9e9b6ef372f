"""A place in a log, and how to know the file again after it was renamed, copied or packed.

A name says nothing (it was rotated), an inode little (ext4 gives a freed one away at once). So a
place holds prints of what was read: the first bytes of the file and the last ones before the
place. A file is the same if both are where they were; device and inode only decide for a file of
which nothing was read yet.

The saved form is JSON of the fields below, version 1, with a checksum; anything else counts as no place.
"""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass, fields
from hashlib import blake2b

from popauthd.sources.file.open_file import Handle

PRINT_BYTES = 1024
OLD_MOST = 8  # old files watched for late writes, and so saved with a place


@dataclass(frozen=True, slots=True)
class Mark:
    """A place in one file: its bytes before `offset` have been handed out.

    skipping: the place lies within a line that is too long and is being skipped.
    """

    path: str
    dev: int
    ino: int
    offset: int
    head_bytes: int
    head: str
    tail_bytes: int
    tail: str
    skipping: bool


NAMES = tuple(field.name for field in fields(Mark))
_json = json.JSONEncoder(separators=(",", ":"), sort_keys=True).encode


@dataclass(frozen=True, slots=True)
class Place:
    """Where a source stands: the file being read, and older ones that may still be written to.

    linked, owner: whether the log's name was a symbolic link, and to a file of which user (-1: not
    known), when the source was first set up; a link made since then is not followed.
    """

    at: Mark
    old: tuple[Mark, ...]
    linked: bool
    owner: int


def fingerprint(data: bytes) -> str:
    """A short print of some bytes; not a secret, not a signature."""
    return blake2b(data, digest_size=12).hexdigest()


def matches(handle: Handle, mark: Mark) -> bool:
    """Whether this file is the one the mark was made in, by any name, copied or packed."""
    if mark.offset == 0:
        return (handle.dev, handle.ino) == (mark.dev, mark.ino)
    head = handle.read(0, mark.head_bytes)
    if len(head) != mark.head_bytes or fingerprint(head) != mark.head:
        return False
    tail = handle.read(mark.offset - mark.tail_bytes, mark.tail_bytes)
    return len(tail) == mark.tail_bytes and fingerprint(tail) == mark.tail


def encode(place: Place) -> bytes:
    """The bytes to save."""
    old = [_fields(mark) for mark in place.old]
    text = _json({"at": _fields(place.at), "old": old, "linked": place.linked, "owner": place.owner})
    return f'{{"v":1,"sum":{zlib.crc32(text.encode())},"place":{text}}}'.encode()


def decode(saved: bytes) -> Place | None:
    """The place that was saved, or None for anything torn, foreign or of another version."""
    try:
        outer = json.loads(saved)
        text = _json(outer["place"])
        if outer["v"] != 1 or outer["sum"] != zlib.crc32(text.encode()):
            return None
        inner = outer["place"]
        old = tuple(_mark(row) for row in inner["old"][:OLD_MOST])
        return Place(_mark(inner["at"]), old, bool(inner["linked"]), int(inner["owner"]))
    except (ValueError, TypeError, KeyError, RecursionError, AttributeError):
        return None


def _fields(mark: Mark) -> dict[str, object]:
    """The fields by name; dataclasses.asdict gives the same and takes ten times as long."""
    return {name: getattr(mark, name) for name in NAMES}


def _mark(row: dict[str, object]) -> Mark:
    mark = Mark(**row)  # type: ignore[arg-type]
    numbers = (mark.dev, mark.ino, mark.offset, mark.head_bytes, mark.tail_bytes)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ValueError("a number is wrong")
    if not all(isinstance(text, str) for text in (mark.path, mark.head, mark.tail)):
        raise ValueError("a text is wrong")
    if max(mark.head_bytes, mark.tail_bytes) > min(PRINT_BYTES, mark.offset):
        raise ValueError("a print is longer than what was read")
    return mark
