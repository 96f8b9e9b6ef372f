"""dovecot status: which log to follow, and what in Dovecot's configuration makes it unsafe."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from popauthd.cli import steps
from popauthd.cli.common import RED, YELLOW, coloured, settings
from popauthd.control_client import ask_status
from popauthd.dovecotcheck import Finding
from popauthd.dovecotcheck.check import evidence, judged
from popauthd.dovecotcheck.machine import dovecot
from popauthd.errors import PopauthdError
from popauthd.status import Status

FINE, TROUBLE = 0, 1


def _dovecot_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    what = steps(parser, "status")
    status_parser = what.add_parser(
        "status", parents=[common], help="which log to follow, and is it safe? exit 1 on a warning"
    )
    status_parser.add_argument("--json", action="store_true", help="one JSON array")
    status_parser.add_argument("--doveconf", metavar="FILE", help=argparse.SUPPRESS)  # the output of doveconf -n
    status_parser.set_defaults(run=status)


ARGUMENTS = {"dovecot": _dovecot_arguments}


def status(options: argparse.Namespace) -> int:
    """Judge Dovecot's configuration and what popauthd makes of it. Exit 0 if fine, 1 on a warning or worse."""
    configuration = dovecot(options.doveconf)
    loaded = settings(options)
    findings = judged(loaded, configuration, evidence(loaded, _told(options)))
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        major, minor = configuration.version
        print(f"Dovecot {major}.{minor}")
        for finding in findings:
            print(line(finding))
    return TROUBLE if any(finding.severity in ("warning", "danger") for finding in findings) else FINE


def _told(options: argparse.Namespace) -> Status | None:
    """The running watcher's status; None if none answers, as Dovecot may be asked about before it is started."""
    try:
        return ask_status(settings(options).control_path)
    except PopauthdError:
        return None


def line(finding: Finding) -> str:
    """One finding as it is printed; what is dangerous stands out."""
    word = {"danger": "DANGER", "warning": "WARNING"}.get(finding.severity, finding.severity)
    shown = coloured(f"{word:<7}", {"danger": RED, "warning": YELLOW}.get(finding.severity, ""))
    return f"{shown} {finding.check}: {finding.seen}" + (f"; {finding.advice}" if finding.advice else "")
