"""The rotated files of a log, beside it or where logrotate puts them, newest first.

Known are the names of logrotate (`.1`, dateext with days, seconds or epoch seconds, with or without
delaycompress), savelog (`.0`), Python's TimedRotatingFileHandler, and an `extension` kept at the
end (`mail.1.log`); each plain or compressed. See logrotate.py for directories other than the log's.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from popauthd.sources.file.open_file import PACKED

MOST = 1024  # rotated files looked at, newest first
LISTINGS = 5  # tries to see the same directory twice

_NUMBER = rb"\.(\d{1,9})"
_DATED = rb"[-_.](\d{4}-?\d\d-?\d\d(?:[-_.T]?[\d:.-]{2,20})?|\d{10})"
_SUFFIX = rb"(\.gz|\.xz|\.zst|\.bz2)?"


@dataclass(frozen=True, slots=True)
class Sibling:
    """A rotated file: what it was when the directory was listed.

    number: of `.N`, None for a dated name.
    """

    path: str
    dev: int
    ino: int
    bytes: int
    changed_ns: int
    number: int | None
    stamp: str

    @property
    def packed(self) -> bool:
        return self.path.endswith(PACKED)


def settled(path: str, extra: str | None, directories: Sequence[str] = ()) -> list[Sibling] | None:
    """The rotated files of a log, newest first, or None while they are being renamed.

    directories: where they may be too, beside the log's own.

    A directory that is read during a rotation can show a file twice or not at all; so it counts
    only when two looks agree. extra: one more name to look at (the one that pygtail would take), or None.
    """
    before = _listed(path, extra, directories)
    for _ in range(LISTINGS):
        after = _listed(path, extra, directories)
        if [(one.path, one.ino) for one in before] == [(one.path, one.ino) for one in after]:
            return after
        before = after
    return None


def _listed(path: str, extra: str | None, directories: Sequence[str]) -> list[Sibling]:
    own, base = os.path.split(path)
    name = _names(base)
    found: dict[str, Sibling] = {}
    paths: list[str] = []
    for directory in (own or ".", *directories):
        with contextlib.suppress(OSError), os.scandir(directory) as entries:
            names = [entry.name for entry in entries if name(os.fsencode(entry.name))]
            paths += [str(Path(own if directory == "." else directory) / one) for one in names]
    if extra is not None and extra not in paths:
        paths.append(extra)
    for one in paths:
        hit = name(os.fsencode(Path(one).name))
        sibling = _sibling(one, hit)
        if sibling is not None:
            _keep(found, sibling)
    return _ordered(list(found.values()))[:MOST]


def _names(base: str) -> Callable[[bytes], re.Match[bytes] | None]:
    """What tells whether a name is that of a rotated file of `base`."""
    whole = re.escape(os.fsencode(base))
    patterns = [whole + rb"(?:%s|%s)%s" % (_NUMBER, _DATED, _SUFFIX)]
    stem, extension = Path(base).stem, Path(base).suffix
    if extension:
        parts = (re.escape(os.fsencode(stem)), _NUMBER, _DATED, re.escape(os.fsencode(extension)), _SUFFIX)
        patterns.append(rb"%s(?:%s|%s)%s%s" % parts)
    compiled = [re.compile(pattern) for pattern in patterns]

    def match(name: bytes) -> re.Match[bytes] | None:
        return next((hit for hit in (one.fullmatch(name) for one in compiled) if hit), None)

    return match


def _sibling(path: str, hit: re.Match[bytes] | None) -> Sibling | None:
    try:
        info = os.lstat(path)
    except OSError:
        return None
    if not stat.S_ISREG(info.st_mode):
        return None
    number = int(hit[1]) if hit and hit[1] else None
    stamp = hit[2].decode() if hit and hit[2] else ""
    changed = info.st_mtime_ns
    return Sibling(path, info.st_dev, info.st_ino, info.st_size, changed, number, stamp)


def _keep(found: dict[str, Sibling], sibling: Sibling) -> None:
    """One file a rotation: while `.1` is being packed, `.1.gz` is there too, but not whole."""
    stem = str(Path(sibling.path).with_suffix("")) if sibling.packed else sibling.path
    if stem not in found or not sibling.packed:
        found[stem] = sibling


def _ordered(siblings: list[Sibling]) -> list[Sibling]:
    """Newest first: by number or date where all names have one, else by the time of the last change."""
    if all(one.number is not None for one in siblings):
        return sorted(siblings, key=lambda one: one.number or 0)
    if all(one.stamp for one in siblings) and len({len(one.stamp) for one in siblings}) == 1:
        return sorted(siblings, key=lambda one: one.stamp, reverse=True)
    return sorted(siblings, key=lambda one: (one.changed_ns, one.stamp, -(one.number or 0)), reverse=True)
