"""python3-systemd's reader, opened the way the journal source needs it; the only module that imports it.

Promises: field values come as the bytes that are in the journal. The library's own converters are
all switched off: some raise OverflowError on fields that any local user can send (COREDUMP_TIMESTAMP),
and a stranger's record must not end the watcher.

LIMIT: only the machine's default journal namespace is read, or one directory. A unit with
LogNamespace= writes elsewhere; name that directory as the source's path.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from popauthd.errors import ConfigError
from popauthd.formats.journal_fields import FIELDS, LOG_PROCESS, UNIT
from popauthd.sources.journal.fields import LONGEST_VALUE
from popauthd.status import PRESENT

ROOTS = ("/run/log/journal", "/var/log/journal")
MASTER = "/usr/sbin/dovecot"
BOOTED = "/run/systemd/system"  # sd_booted(3)
DAY_SECONDS = 86400

ADVICE = "the user that runs popauthd must be in the group systemd-journal"

NOP, INVALIDATE = 0, 2  # what Reader.process() returns: nothing new; files came or went (1: records came)

Identity = tuple[int, int] | None
RawRecord = dict[str, Any]  # a record as python3-systemd gives it, with all its fields
Matches = Sequence[Sequence[str]]


class Reader(Protocol):
    """What is used of systemd.journal.Reader."""

    def add_match(self, match: str, /) -> None: ...
    def add_disjunction(self) -> None: ...
    def get_next(self) -> RawRecord: ...
    def seek_head(self) -> None: ...
    def seek_realtime(self, microseconds: int, /) -> None: ...
    def seek_cursor(self, cursor: str, /) -> None: ...
    def test_cursor(self, cursor: str, /) -> bool: ...
    def process(self) -> int: ...
    def fileno(self) -> int: ...
    def close(self) -> None: ...


class Survey(NamedTuple):
    """What is there to read. status: "present", "missing" or "unreadable"."""

    status: str
    why: str


def library() -> Any:
    """The module systemd.journal. Raises ConfigError, naming the package, if it is not installed."""
    try:
        from systemd import journal
    except ImportError as error:
        raise ConfigError(
            'a source of type "journal" needs python3-systemd, which is not installed: apt install python3-systemd'
        ) from error
    return journal


def open_reader(path: str, matches: Matches) -> Reader:
    """Open the machine's journal, or the files in the directory `path`.

    matches: groups of FIELD=value; a record is given if it fits one group, that is one of the values
    for each field in it. Raises OSError, and ConfigError as `library` does.
    """
    journal = library()
    # For any other field the library tries UTF-8 and gives bytes where that fails.
    raw = dict.fromkeys([*journal.DEFAULT_CONVERTERS, *FIELDS], _raw)
    reader: Any = journal.Reader(path=path or None, converters=raw)
    reader.data_threshold = LONGEST_VALUE  # LIMIT: only a hint; what comes in full is cut in fields.py
    for number, group in enumerate(matches):
        if number:
            reader.add_disjunction()
        for match in group:
            reader.add_match(match)
    opened: Reader = reader
    return opened


def _raw(value: Any) -> Any:
    return value


def directories(path: str) -> tuple[str, ...]:
    """Where the journal files are that `open_reader(path)` reads."""
    if path:
        return (path,)
    try:
        machine = Path("/etc/machine-id").read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ()
    return tuple(f"{root}/{machine}" for root in ROOTS)


def identity(path: str) -> tuple[Identity, ...]:
    """What tells whether a directory came, went or was replaced since the last call. Never raises."""
    return tuple(_identity(name) for name in directories(path))


def _identity(directory: str) -> Identity:
    try:
        status = Path(directory).stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def files(path: str) -> frozenset[int]:
    """The journal files there are, by inode, which stays the same when a file is rotated. Never raises."""
    found = set()
    for name in directories(path):
        try:
            with os.scandir(name) as entries:
                found |= {entry.inode() for entry in entries if entry.name.endswith(".journal")}
        except OSError:
            continue
    return frozenset(found)


def survey(path: str) -> Survey:
    """Look whether there are journal files and whether we may read those of the system. Never raises."""
    looked = directories(path)
    found: list[Path] = []
    for name in looked:
        try:
            found += [entry for entry in Path(name).iterdir() if entry.suffix == ".journal"]
        except FileNotFoundError:
            continue
        except OSError as error:
            return Survey("unreadable", f"{name}: {error.strerror}; {ADVICE}")
    if not found:
        where = ", ".join(looked) or "no /etc/machine-id"
        return Survey("missing", f"no journal files ({where}); is systemd-journald running?")
    # Everybody may read the journal of his own, user-UID.journal, which says nothing of services.
    files = [entry for entry in found if entry.name.startswith("system")] or found
    if not any(os.access(entry, os.R_OK) for entry in files):
        return Survey("unreadable", f"{files[0]}: Permission denied; {ADVICE}")
    return Survey(PRESENT, "")


def begins_at(path: str) -> int | None:
    """The time of the oldest record there is, in microseconds; None if there is none. Raises OSError."""
    reader = open_reader(path, ())
    try:
        reader.seek_head()
        first = reader.get_next()
        return int(first["__REALTIME_TIMESTAMP"]) if first else None
    finally:
        reader.close()


def expected_unit() -> str:
    """What a trusted record's _SYSTEMD_UNIT must be: "" on a machine that was not booted by systemd."""
    return UNIT if Path(BOOTED).is_dir() else ""


def journal_here() -> bool:
    """Whether this machine keeps a journal of its services that we can read. Never raises."""
    try:
        library()
    except ConfigError:
        return False
    return survey("").status == PRESENT


def dovecot_logs_here(
    within_seconds: int = DAY_SECONDS,
    programs: Sequence[str] = ("dovecot",),
    *,
    path: str = "",
    now: int | None = None,
) -> bool:
    """Whether Dovecot has lately written what it logs at level info, as logins are, to a journal we can read.

    Errors alone do not count: with info_log_path set they may go to the journal while logins go to a
    file. Nor do records that any local user can write. Never raises; False without python3-systemd.
    """
    since = (int(time.time()) if now is None else now) - within_seconds
    matches = [*(f"SYSLOG_IDENTIFIER={name}" for name in programs), f"_EXE={LOG_PROCESS}", f"_EXE={MASTER}"]
    try:
        reader = open_reader(path, [[*matches, "_UID=0", "PRIORITY=6"]])
    except (ConfigError, OSError):
        return False
    try:
        reader.seek_realtime(max(0, since) * 1_000_000)
        return bool(reader.get_next())
    except OSError:
        return False
    finally:
        reader.close()
