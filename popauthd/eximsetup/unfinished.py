"""A note of the change that is being made, written before the first file changes and removed when Exim has been told.

If it is there and nobody is at work, a change was cut off: killed, or by a power cut. The next change undoes it first.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from popauthd.as_user import read_plain
from popauthd.errors import ConfigError
from popauthd.eximsetup.alone import busy
from popauthd.eximsetup.files import write
from popauthd.eximsetup.site import Site
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
        """Which it is, for an administrator."""
        return f"`popauthctl exim {self.step}` of {stamp(self.at)}"


def begin(site: Site, step: str, changed: Changed) -> None:
    """Note a change, before it is made. Raises ConfigError."""
    files = {str(path): texts for path, texts in changed.items()}
    write(site.note, json.dumps({"step": step, "at": int(time.time()), "files": files}) + "\n", MODE)


def end(site: Site) -> None:
    """It is made, or undone. Raises ConfigError."""
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


def _texts(before: object, after: object) -> tuple[str | None, str | None]:
    if isinstance(before, str | None) and isinstance(after, str | None):
        return before, after
    raise TypeError("no text")


def told(site: Site) -> str:
    """What an administrator must know of a change that was cut off; "" if none was."""
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
