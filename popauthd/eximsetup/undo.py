"""How `popauthctl exim enable` and `popauthctl exim disable` undo themselves, so that Exim's files are whole again.

A change that fails puts back the files as they were (`put_back`). A change that is cut off, because it is killed or the
power fails, cannot do so itself. Therefore each change begins with a note, which holds the text of every file before
and after the change; the note is removed when Exim has been told of its new configuration. If the note is there and
nobody is at work, a change was cut off: the next one undoes it before it begins (`what_was_cut_off`). A file that
somebody has changed since is left as it is.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from popauthd.as_user import read_plain
from popauthd.errors import ConfigError
from popauthd.eximsetup.files import clean, write
from popauthd.eximsetup.one_at_a_time import busy
from popauthd.eximsetup.process import Say, generate, reload
from popauthd.eximsetup.site import Site, read
from popauthd.text import stamp

Changed = Mapping[Path, tuple[str | None, str | None]]  # text before and after; None: no such file
NOTE_BYTES = 64 << 20
MODE = 0o600
ADVICE = "popauthctl exim enable, or popauthctl exim disable"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """A change that was begun. step: "enable" or "disable"; at: epoch seconds."""

    step: str
    at: int
    changed: Changed

    def words(self) -> str:
        """The command that began the change and its time, for an administrator."""
        return f"`popauthctl exim {self.step}` of {stamp(self.at)}"


def begin(site: Site, step: str, changed: Changed) -> None:
    """Write the note of a change, before it is made. Raises ConfigError."""
    files = {str(path): texts for path, texts in changed.items()}
    write(site.note, json.dumps({"step": step, "at": int(time.time()), "files": files}) + "\n", MODE)


def end(site: Site) -> None:
    """Remove the note: the change is made, or undone. Raises ConfigError."""
    write(site.note, None)


def noted(site: Site) -> Unfinished | None:
    """The change that was begun, or None. Raises ConfigError if that cannot be told."""
    try:
        note = json.loads(read_plain(site.note, NOTE_BYTES))
        files = {path: _texts(*note["files"][str(path)]) for path in site.files() if str(path) in note["files"]}
        return Unfinished(str(note["step"]), int(note["at"]), files)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"{site.note}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f"{site.note} is not what popauthctl wrote; see what it is, and remove it") from error


def put_back(changed: Changed, paths: Sequence[Path]) -> None:
    """Write back the first text of these files, the last one first. Raises ConfigError."""
    for path in reversed(paths):
        write(path, changed[path][0])


def what_was_cut_off(site: Site, *, asked: bool, dry_run: bool, say: Say) -> None:
    """Undo a change that was cut off, if there is one. The caller holds the right to change (`one_at_a_time`).

    asked: whether Exim is to ask popauthd in the end. If not, it is only a warning that Exim does not take the
    configuration from before. Raises ConfigError; also in a dry run, which must not undo anything.
    """
    cut = noted(site)
    if not dry_run:
        for path in (site.note, *site.files()):
            clean(path)
    if cut is None:
        return
    if dry_run:
        raise ConfigError(f"{cut.words()} was cut off half-way, and must be undone first; leave out --dry-run")
    say(f"{cut.words()} was cut off half-way; it is undone first")
    for path, (before, after) in cut.changed.items():
        now = read(path)
        if now == after != before:
            write(path, before)
        elif now != before:
            say(f"WARNING: {path} was changed since; it is left as it is")
    try:
        generate(site)
        reload(site, say)
    except ConfigError as error:
        if asked:
            raise
        say(f"WARNING: {error}")  # go on: taking popauthd out is what comes next
    end(site)


def _texts(before: object, after: object) -> tuple[str | None, str | None]:
    if isinstance(before, str | None) and isinstance(after, str | None):
        return before, after
    raise TypeError("no text")


def told(site: Site) -> str:
    """What an administrator must know of a change that was cut off, or is under way; "" if there is none."""
    try:
        found = noted(site)
    except ConfigError as error:
        if os.geteuid() != 0 and isinstance(error.__cause__, PermissionError):
            return f"a change of Exim's configuration was cut off, or is under way; as root: {ADVICE}"
        return str(error)
    if found is None:
        return ""
    if busy(site):
        return f"{found.words()} is under way"
    return f"{found.words()} was cut off half-way; it is undone first by the next one: {ADVICE}"
