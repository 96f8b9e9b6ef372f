"""Where logrotate puts the rotated files of a log: the `olddir` of its configuration (logrotate(8)).

Only `olddir` and `noolddir` are read, in the file itself and in what it includes. The scripts of a block are left out.
A configuration that cannot be read names no directory: then rotated files are looked for beside the log alone.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import Path

CONFIGURATION = "/etc/logrotate.conf"
FILE_BYTES = 1 << 20  # more of one file is not read
_WORD = re.compile(r'"([^"\n]*)"|\'([^\'\n]*)\'|([^\s{}"\']+)|([{}])')
_SCRIPTS = ("prerotate", "postrotate", "firstaction", "lastaction", "preremove")


def old_directories(log: str, configuration: str = "") -> tuple[str, ...]:
    """The directories, beside the log's own, in which rotated files of this log can be; none if there is no olddir."""
    found: dict[str, None] = {}
    default = own = ""
    logs: list[str] = []  # named so far, for the block that follows
    inside: list[str] | None = None  # the logs of the block that we are in
    for line in _lines(Path(configuration or CONFIGURATION), included=False):
        words = [next(filter(None, parts), "") for parts in _WORD.findall(line)]
        if words and words[-1] == "{":
            inside, logs, own = [*logs, *words[:-1]], [], default
        elif words == ["}"]:
            if inside is not None and own and any(fnmatch.fnmatch(log, pattern) for pattern in inside):
                found[os.path.normpath(Path(log).parent / own)] = None
            inside = None
        elif words and words[0] in ("olddir", "noolddir"):
            value = words[1] if words[0] == "olddir" and len(words) > 1 else ""
            if inside is None:
                default = value
            else:
                own = value
        elif inside is None and words and words[0].startswith("/"):
            logs += words
    found.pop(os.path.normpath(Path(log).parent), None)
    return tuple(found)


def _lines(path: Path, *, included: bool) -> Iterator[str]:
    """The lines of a file and of what it includes, without comments and scripts."""
    try:
        with path.open(encoding="utf-8", errors="surrogateescape") as file:
            text = file.read(FILE_BYTES)
    except OSError:
        return
    script = False
    for line in text.replace("\\\n", " ").splitlines():
        bare = line.strip()
        if script:
            script = bare != "endscript"
        elif bare in _SCRIPTS:
            script = True
        elif bare.startswith("include ") and not included:
            yield from _included(Path(bare.removeprefix("include ").strip()))
        elif bare and not bare.startswith("#"):
            yield from _split(bare)


def _split(line: str) -> Iterator[str]:
    """One line for each brace: a block may begin, or end, on the line of something else."""
    head, brace, rest = line.partition("{")
    if not brace:
        before, ends, _ = line.partition("}")
        yield from (part for part in (before, ends) if part.strip())
        return
    yield head + brace
    if rest.strip():
        yield from _split(rest.strip())


def _included(path: Path) -> Iterator[str]:
    """Every file of a directory, or the one file."""
    try:
        paths = sorted(path.iterdir()) if path.is_dir() else [path]
    except OSError:
        return
    for one in paths:
        if not one.name.startswith(".") and not one.name.endswith((".dpkg-old", ".dpkg-dist", ".dpkg-new", "~")):
            yield from _lines(one, included=True)
