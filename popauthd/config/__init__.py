"""Reads the configuration: TOML in, a frozen Config out, by the rows of `popauthd.config.settings`.

An unknown key, a wrong type or a bad value is a ConfigError that names the file, the key and what
would be right. Without a file everything has its default.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from popauthd import CONFIGURATION
from popauthd.as_user import read_plain
from popauthd.config.settings import (
    CLUSTER_SETTINGS,
    SETTINGS,
    SOURCE_SETTINGS,
    ClusterConfig,
    Config,
    Setting,
    SourceConfig,
)
from popauthd.errors import ConfigError, unreadable

__all__ = ["ClusterConfig", "Config", "Loaded", "SourceConfig", "from_mapping", "load", "read", "run_dir"]

FILE_BYTES = 1 << 20
_RUN_DIR = re.compile(r"""^\s*run_dir\s*=\s*["'](/[^"']*)["']""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where it is from. digest: SHA-256 of the file, "" where there is none."""

    path: str
    config: Config
    digest: str


def load(path: str | None) -> Config:
    """The configuration in `path`, or in CONFIGURATION if that exists, or the defaults. Raises ConfigError."""
    return _read(path)[1]


def read(path: str | None) -> Loaded:
    """Read the configuration from `path`, or from CONFIGURATION if that exists, or take the defaults.

    Raises ConfigError for anything that is wrong with the file or its contents.
    """
    import hashlib  # commands that ask nothing of the watcher are quicker without it

    where, found, raw = _read(path)
    return Loaded(where, found, "" if raw is None else hashlib.sha256(raw).hexdigest())


def _read(path: str | None) -> tuple[str, Config, bytes | None]:
    """The file's name, what it says, and its bytes; None where there is no file. Raises ConfigError."""
    where = path or CONFIGURATION
    try:
        raw = b"" if where == os.devnull else read_plain(where, FILE_BYTES)  # that one is asked for by who wants none
    except OSError as error:
        if path is None and isinstance(error, FileNotFoundError):
            return where, from_mapping({}, "built-in defaults"), None
        raise unreadable(where, error) from error
    try:
        table = tomllib.loads(raw.decode())
    except ValueError as error:  # also of a number with too many digits
        raise ConfigError(f"{where}: not valid TOML: {error}") from error
    except RecursionError as error:
        raise ConfigError(f"{where}: not valid TOML: nested too deeply") from error
    return where, from_mapping(table, where), raw


def run_dir(path: str | None) -> str:
    """Where the watcher runs by this file, as far as can be told though the file is wrong."""
    try:
        found = _RUN_DIR.search(read_plain(path or CONFIGURATION, FILE_BYTES).decode("utf-8", "replace"))
    except OSError:
        found = None
    return found[1] if found else Config().run_dir


def from_mapping(table: Mapping[str, Any], where: str) -> Config:
    """Build a Config from what TOML gave. `where` names the file in messages. Raises ConfigError."""
    rest = dict(table)
    tables = rest.pop("source", [])
    if not isinstance(tables, list) or not all(isinstance(item, dict) for item in tables):
        raise ConfigError(f'{where}: key "source": must be a table, written [[source]] with two brackets')
    cluster = rest.pop("cluster", None)
    values = _values(rest, SETTINGS, where, extra=("source", "cluster"))
    sources = tuple(_source(item, f"{where}: source {number}") for number, item in enumerate(tables, 1))
    names = [source.name for source in sources]
    for twice in {name for name in names if names.count(name) > 1}:
        raise ConfigError(f'{where}: key "path": {twice} is named by two [[source]] tables; keep one')
    return Config(**values, cluster=None if cluster is None else _cluster(cluster, where), sources=sources)


def _cluster(table: object, where: str) -> ClusterConfig:
    if not isinstance(table, dict):
        raise ConfigError(f'{where}: key "cluster": must be a table, written [cluster]')
    found = ClusterConfig(**_values(table, CLUSTER_SETTINGS, f"{where}: [cluster]"))
    if not found.url:
        raise ConfigError(f'{where}: [cluster]: key "url": missing; name the engine, such as "redis://127.0.0.1:6379"')
    return found


def _source(table: Mapping[str, Any], where: str) -> SourceConfig:
    source = SourceConfig(**_values(table, SOURCE_SETTINGS, where))
    if not source.path and source.type == "file":
        raise ConfigError(f'{where}: key "path": missing; name the log file, such as "/var/log/mail.log"')
    return source


def _values(
    table: Mapping[str, Any], rows: Sequence[Setting], where: str, extra: tuple[str, ...] = ()
) -> dict[str, Any]:
    """What the table gives, by the name of the field."""
    known = [row.key for row in rows]
    for key in table:
        if key not in known:
            import difflib  # for a file that is wrong alone

            near = difflib.get_close_matches(key, [*known, *extra], 1)
            hint = f'did you mean "{near[0]}"?' if near else "known keys are " + ", ".join([*known, *extra])
            raise ConfigError(f'{where}: key "{key}": unknown; {hint}')
    values: dict[str, Any] = {}
    for row in rows:
        if row.key in table:
            try:
                values[row.field] = row.read(table[row.key])
            except ValueError as error:
                raise ConfigError(f'{where}: key "{row.key}": {_written(table[row.key])} {error}') from error
    return values


def _written(value: object) -> str:
    """A value as it is written in the file, or nearly so."""
    import json  # for a file that is wrong alone

    return json.dumps(value, ensure_ascii=False, default=str)
