"""Judges this machine's Dovecot for popauthd: `popauthctl dovecot status` and the doctor ask the same."""

from __future__ import annotations

import os
from dataclasses import replace

from popauthd.config import Config, SourceConfig
from popauthd.dovecotcheck import Configuration, Finding, Seen, World, judge, origins
from popauthd.dovecotcheck.machine import journal, loose
from popauthd.errors import ConfigError
from popauthd.status import JournalStatus, Status
from popauthd.watch.assembly import followed

NOTHING = Seen()
# The formats of lines that Dovecot writes; a login in a log of these alone is one of Dovecot's.
OF_DOVECOT = {"dovecot", "dovecot-0.99"}


def judged(loaded: Config, configuration: Configuration, seen: Seen = NOTHING) -> list[Finding]:
    """Every finding of Dovecot's configuration beside popauthd's. seen: what the running watcher tells (`evidence`)."""
    return judge(configuration, world(loaded, configuration, seen))


def evidence(loaded: Config, status: Status | None) -> Seen:
    """What the watcher's status proves of Dovecot's lines. status: None if no watcher runs."""
    if status is None:
        return NOTHING
    ours = {source.name for source in _followed(loaded) if set(source.formats) <= OF_DOVECOT}
    lines = [source.last_dovecot_line_at for source in status.sources if source.name in ours]
    lines += [source.last_login_at for source in status.sources if source.name in ours]
    dropped = [source.state.dropped_messages for source in status.sources if isinstance(source.state, JournalStatus)]
    return Seen(True, max(filter(None, lines), default=0), status.now, sum(dropped))


def _followed(loaded: Config) -> tuple[SourceConfig, ...]:
    try:
        return followed(loaded)
    except ConfigError:  # nothing to follow was found: that is a finding, not an end
        return ()


def world(loaded: Config, configuration: Configuration, seen: Seen) -> World:
    """What this machine, popauthd's configuration and its watcher add to Dovecot's."""
    sources = _followed(loaded)
    kind, path = origins.written(configuration)
    why = loose(path) if kind == "file" else ""
    return World(
        tuple(named(source, path) for source in sources),
        protocols=loaded.protocols,
        post_login=loaded.post_login,
        push_users=loaded.push_users,
        auth_policy=loaded.auth_policy_listen,
        hold_sessions=loaded.hold_sessions and not loaded.ask_doveadm,
        loose={path: why} if why else {},
        journal=journal(),
        seen=seen,
    )


def named(source: SourceConfig, path: str) -> SourceConfig:
    """The source under Dovecot's own name for its file, where a link leads to it."""
    is_it = source.type == "file" and path and os.path.realpath(source.path) == os.path.realpath(path)
    return replace(source, path=path) if is_it else source
