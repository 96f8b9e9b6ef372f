"""What the checks of Dovecot's configuration must know of this machine: doveconf, file modes, journald's limits."""

from __future__ import annotations

import configparser
import os
import re
import stat
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from popauthd.accounts import group_name, user_id, user_name
from popauthd.dovecotcheck import Configuration, Journal, read
from popauthd.dovecotcheck.findings import SNIPPETS
from popauthd.errors import SourceError
from popauthd.sources.journal.reader import journal_here
from popauthd.text import safe

COMMAND = ("doveconf", "-n")
SECONDS = 30.0
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
# systemd-system.conf(5), systemd.unit(5): what stands further on wins.
JOURNALD = ("/usr/lib/systemd", "/usr/local/lib/systemd", "/run/systemd", "/etc/systemd")
UNITS = ("/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/system", "/etc/systemd/system")
_UNITS_OF_TIME = {"us": 1e-6, "ms": 1e-3, "": 1.0, "s": 1.0, "sec": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0}


def dovecot(file: str | None = None, command: Sequence[str] = COMMAND) -> Configuration:
    """Dovecot's configuration: of `doveconf -n`, or of its output in a file. Raises SourceError, saying why not."""
    text = _of_file(file) if file else _of_command(command)
    found = read(text)
    if found is None:
        raise SourceError(f"{safe(file or ' '.join(command))}: this is not what `doveconf -n` prints")
    return found


def _of_file(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise SourceError(f"{safe(file)}: cannot be read: {error.strerror}") from error


def _of_command(command: Sequence[str]) -> str:
    environment = {**os.environ, "PATH": f"{os.environ.get('PATH', os.defpath)}:{SBIN}", "LC_ALL": "C"}
    try:
        done = subprocess.run(
            command, capture_output=True, stdin=subprocess.DEVNULL, timeout=SECONDS, env=environment, check=False
        )
    except FileNotFoundError as error:
        raise SourceError(f"{command[0]} is not here: Dovecot is not installed") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SourceError(f"{' '.join(command)} cannot be run: {error}") from error
    if done.returncode != 0:
        why = done.stderr.decode("utf-8", "backslashreplace").strip()
        said = f"{' '.join(command)} failed; repair Dovecot's configuration: {safe(why, 300)}"
        raise SourceError("; ".join((said, *_snippets_of_before(why))))
    return done.stdout.decode("utf-8", "backslashreplace")


def _snippets_of_before(why: str) -> Iterator[str]:
    """What takes the place of popauthd's snippets for 2.3, where Dovecot 2.4 stops at one of them."""
    for setting, way in {"auth_policy_request_attributes: ": "auth-policy", "override_fields: ": "post-login"}.items():
        if setting in why:
            old, new = (f"popauthd-{way}-{branch}.conf" for branch in ("2.3", "2.4"))
            yield f"for Dovecot 2.4 {SNIPPETS}/{new} takes the place of {old}"


def loose(path: str, trusted: Iterable[str] = ("root", "dovecot")) -> str:
    """Who beside the trusted can write a log file or put another in its place, in words; "" if nobody can.

    A file that is missing is judged by its directories.
    """
    owners = {uid for name in trusted if (uid := user_id(name)) is not None}
    real = Path(os.path.realpath(path))
    for place in [real, *real.parents]:
        try:
            found = place.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            return f"{place}: cannot be looked at: {error.strerror}"
        if why := _loose(found, owners, directory=place != real):
            return f"{place} {why}"
    return ""


def _loose(found: os.stat_result, owners: set[int], *, directory: bool) -> str:
    if found.st_uid not in owners:
        return f"belongs to {user_name(found.st_uid)}"
    if directory and found.st_mode & stat.S_ISVTX:
        # LIMIT: in a sticky directory (/tmp) a file that is not there yet can be put there by others.
        return ""
    if found.st_mode & stat.S_IWOTH:
        return "can be written by everybody"
    if found.st_mode & stat.S_IWGRP and found.st_gid != 0:
        return f"can be written by the group {group_name(found.st_gid)}"
    return ""


def journal(root: str = "/") -> Journal:
    """journald's limits for Dovecot: journald.conf and its drop-ins, then those of dovecot.service."""
    files = [Path(root, where.lstrip("/"), "journald.conf") for where in JOURNALD]
    drops = [Path(root, where.lstrip("/"), "journald.conf.d") for where in JOURNALD]
    settings = _settings([*files, *_drop_ins(drops)], "Journal")
    units = [Path(root, where.lstrip("/"), "dovecot.service") for where in UNITS]
    drops = [Path(root, where.lstrip("/"), "dovecot.service.d") for where in UNITS]
    ours = _settings([*units, *_drop_ins(drops)], "Service")
    plain = Journal()
    burst = ours.get("logratelimitburst") or settings.get("ratelimitburst") or str(plain.burst)
    interval = (
        ours.get("logratelimitintervalsec")
        or settings.get("ratelimitintervalsec")
        or settings.get("ratelimitinterval")
        or str(plain.interval_seconds)
    )
    return Journal(
        here=journal_here(),
        burst=int(burst) if burst.isdigit() else plain.burst,
        interval_seconds=_seconds(interval, plain.interval_seconds),
    )


def _drop_ins(directories: Iterable[Path]) -> list[Path]:
    """Files by name; one of the same name further on stands for the earlier."""
    found: dict[str, Path] = {}
    for directory in directories:
        found |= {file.name: file for file in directory.glob("*.conf")}
    return [found[name] for name in sorted(found)]


def _settings(files: Iterable[Path], section: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    for file in files:
        parser = configparser.RawConfigParser(strict=False, allow_no_value=True)
        try:
            parser.read_string(file.read_text(encoding="utf-8", errors="replace"))
        except (OSError, configparser.Error):
            continue
        if parser.has_section(section):
            settings |= {key: value.strip() for key, value in parser.items(section) if value is not None}
    return settings


def _seconds(text: str, otherwise: float) -> float:
    pieces = re.findall(r"([0-9.]+)\s*([a-z]*)", text)
    try:
        return sum(float(number) * _UNITS_OF_TIME[unit] for number, unit in pieces) if pieces else otherwise
    except (ValueError, KeyError):
        return otherwise
