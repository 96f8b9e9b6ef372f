"""Judges this machine's Dovecot for popauthd: `popauthctl dovecot status` and the doctor ask the same."""

from __future__ import annotations

import os
from dataclasses import replace

from popauthd.config import Config, SourceConfig
from popauthd.dovecotcheck import Configuration, Finding, World, judge, origins
from popauthd.dovecotcheck.machine import journal, loose
from popauthd.errors import ConfigError
from popauthd.watch.assembly import followed


def judged(loaded: Config, configuration: Configuration) -> list[Finding]:
    """Every finding of Dovecot's configuration beside popauthd's."""
    return judge(configuration, world(loaded, configuration))


def world(loaded: Config, configuration: Configuration) -> World:
    """What this machine and popauthd's configuration add to Dovecot's."""
    sources: tuple[SourceConfig, ...]
    try:
        sources = followed(loaded)
    except ConfigError:  # nothing to follow was found: that is a finding, not an end
        sources = ()
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
    )


def named(source: SourceConfig, path: str) -> SourceConfig:
    """The source under Dovecot's own name for its file, where a link leads to it."""
    is_it = source.type == "file" and path and os.path.realpath(source.path) == os.path.realpath(path)
    return replace(source, path=path) if is_it else source
