"""Reads the configuration: TOML in, a frozen Config out, by the rows of `popauthd.config.settings`.

An unknown key, a wrong type or a bad value is a ConfigError that names the file, the key and what
would be right. Without a file everything has its default.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from popauthd import CONFIGURATION
from popauthd.address import Network
from popauthd.config.settings import SETTINGS, SOURCE_SETTINGS, Setting
from popauthd.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SourceConfig:
    """One [[source]] table; the fields are the rows of SOURCE_SETTINGS."""

    type: str
    path: str
    framing: str
    timezone: str
    timestamp: str
    hostnames: tuple[str, ...]
    programs: tuple[str, ...]
    formats: tuple[str, ...]
    proxy_lines: bool

    @property
    def name(self) -> str:
        """What the source is called in logs, status and books."""
        return self.path or self.type


@dataclass(frozen=True, slots=True)
class Config:
    """The whole configuration; the fields are the rows of SETTINGS and `sources` as given in the file."""

    lifetime_seconds: int
    future_seconds: int
    never: tuple[Network, ...]
    own_addresses: tuple[Network, ...]
    lifetime_by_network: tuple[tuple[Network, int], ...]
    proxies: tuple[Network, ...]
    always: tuple[Network, ...]
    protocols: tuple[str, ...]
    require_tls: bool
    refuse_mechanisms: tuple[str, ...]
    users_file: str
    deny_users: str
    shared_users: int
    ipv6_prefix: int
    hold_sessions: bool
    hold_at_most_seconds: int
    ask_doveadm: bool
    dry_run: bool
    post_login: bool
    push_users: tuple[str, ...]
    auth_policy_listen: str
    auth_policy_secret_file: str
    grant_loopback: bool
    hold_no_ms: int
    host_list: bool
    history_seconds: int
    group: str
    run_dir: str
    state_dir: str
    sources: tuple[SourceConfig, ...]

    @property
    def pushed(self) -> bool:
        """Whether Dovecot itself tells of logins, in one way or both."""
        return self.post_login or bool(self.auth_policy_listen)

    @property
    def map_path(self) -> str:
        """The relay map, an LMDB file."""
        return f"{self.run_dir}/relay.mdb"

    @property
    def lookup_path(self) -> str:
        """The responder's socket."""
        return f"{self.run_dir}/lookup.sock"

    @property
    def watch_lock_path(self) -> str:
        """What the watcher holds while it runs in run_dir."""
        return f"{self.run_dir}/watch.lock"

    @property
    def respond_lock_path(self) -> str:
        """What the responder holds while it runs in run_dir."""
        return f"{self.run_dir}/respond.lock"

    @property
    def control_path(self) -> str:
        """The watcher's control socket."""
        return f"{self.run_dir}/control.sock"

    @property
    def push_path(self) -> str:
        """The socket where Dovecot's post-login script tells of logins."""
        return f"{self.run_dir}/push.sock"

    @property
    def host_list_path(self) -> str:
        """The generated host list."""
        return f"{self.run_dir}/relay-hosts"

    @property
    def books_path(self) -> str:
        """The books, a private LMDB file."""
        return f"{self.state_dir}/books.mdb"


def load(path: str | None) -> Config:
    """Read the configuration from `path`, or from CONFIGURATION if that exists, or take the defaults.

    Raises ConfigError for anything that is wrong with the file or its contents.
    """
    if path is None:
        if not Path(CONFIGURATION).exists():
            return from_mapping({}, "built-in defaults")
        path = CONFIGURATION
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    try:
        table = tomllib.loads(raw.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error
    return from_mapping(table, path)


def from_mapping(table: Mapping[str, Any], where: str) -> Config:
    """Build a Config from what TOML gave. `where` names the file in messages. Raises ConfigError."""
    rest = dict(table)
    tables = rest.pop("source", [])
    if not isinstance(tables, list) or not all(isinstance(item, dict) for item in tables):
        raise ConfigError(f'{where}: key "source": must be a table, written [[source]] with two brackets')
    values = _values(rest, SETTINGS, where, extra=("source",))
    sources = tuple(_source(item, f"{where}: source {number}") for number, item in enumerate(tables, 1))
    names = [source.name for source in sources]
    for twice in {name for name in names if names.count(name) > 1}:
        raise ConfigError(f'{where}: key "path": {twice} is named by two [[source]] tables; keep one')
    return Config(**values, sources=sources)


def plain_source(**values: str) -> SourceConfig:
    """A source that no [[source]] table describes: every default but the values given."""
    return SourceConfig(**_values(values, SOURCE_SETTINGS, "default"))


def _source(table: Mapping[str, Any], where: str) -> SourceConfig:
    values = _values(table, SOURCE_SETTINGS, where)
    if not values["path"] and values["type"] == "file":
        raise ConfigError(f'{where}: key "path": missing; name the log file, such as "/var/log/mail.log"')
    return SourceConfig(**values)


def _values(
    table: Mapping[str, Any], rows: Sequence[Setting], where: str, extra: tuple[str, ...] = ()
) -> dict[str, Any]:
    known = [row.key for row in rows]
    for key in table:
        if key not in known:
            near = difflib.get_close_matches(key, [*known, *extra], 1)
            hint = f'did you mean "{near[0]}"?' if near else "known keys are " + ", ".join([*known, *extra])
            raise ConfigError(f'{where}: key "{key}": unknown; {hint}')
    values: dict[str, Any] = {}
    for row in rows:
        value = table.get(row.key, row.default)
        if value == row.default == "":  # nothing given, whatever the kind
            values[row.field] = ""
            continue
        try:
            values[row.field] = row.read(value)
        except ValueError as error:
            raise ConfigError(f'{where}: key "{row.key}": {value!r} {error}') from error
    return values


def field_names() -> set[str]:
    """The fields that rows must fill; tests hold the two together."""
    return {field.name for field in fields(Config)} - {"sources"}
