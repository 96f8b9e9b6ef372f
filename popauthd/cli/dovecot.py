"""dovecot status: which log to follow, and what in Dovecot's configuration makes it unsafe."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, replace

from popauthd.assembly import followed
from popauthd.cli.common import Commands, settings
from popauthd.config import SourceConfig
from popauthd.dovecotconf import Configuration, Finding, World, judge, origins
from popauthd.errors import ConfigError
from popauthd.machine import dovecot, journal, loose

FINE, TROUBLE = 0, 1


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add this group's command."""
    group = commands.add_parser("dovecot", parents=[common], help="look at Dovecot's configuration")
    what = group.add_subparsers(metavar="status", required=True)
    status_parser = what.add_parser(
        "status", parents=[common], help="which log to follow, and is it safe? exit 1 on a warning"
    )
    status_parser.add_argument("--json", action="store_true", help="one JSON array")
    status_parser.add_argument("--doveconf", metavar="FILE", help=argparse.SUPPRESS)  # the output of doveconf -n
    status_parser.set_defaults(run=status)


def status(options: argparse.Namespace) -> int:
    """Judge Dovecot's configuration and what popauthd makes of it. Exit 0 if fine, 1 on a warning or worse."""
    configuration = dovecot(options.doveconf)
    findings = judge(configuration, world(options, configuration))
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        major, minor = configuration.version
        print(f"Dovecot {major}.{minor}")
        for finding in findings:
            print(line(finding))
    return TROUBLE if any(finding.severity in ("warning", "danger") for finding in findings) else FINE


def line(finding: Finding) -> str:
    """One finding as it is printed; what is dangerous stands out."""
    word = {"danger": "DANGER", "warning": "WARNING"}.get(finding.severity, finding.severity)
    return f"{word:<7} {finding.check}: {finding.seen}" + (f"; {finding.advice}" if finding.advice else "")


def world(options: argparse.Namespace, configuration: Configuration) -> World:
    """What this machine and popauthd's configuration add. Raises ConfigError if that is wrong."""
    loaded = settings(options)
    sources: tuple[SourceConfig, ...]
    try:
        sources = followed(loaded)
    except ConfigError:  # nothing to follow was found: that is a finding, not an end
        sources = ()
    kind, path = origins.written(configuration)
    why = loose(path) if kind == "file" else ""
    return World(
        tuple(named(source, path) for source in sources),
        pushed=loaded.post_login or bool(loaded.auth_policy_listen),
        hold_sessions=loaded.hold_sessions and not loaded.ask_doveadm,
        loose={path: why} if why else {},
        journal=journal(),
    )


def named(source: SourceConfig, path: str) -> SourceConfig:
    """The source under Dovecot's own name for its file, where a link leads to it."""
    is_it = source.type == "file" and path and os.path.realpath(source.path) == os.path.realpath(path)
    return replace(source, path=path) if is_it else source
