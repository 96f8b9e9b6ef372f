"""dovecot status: which log to follow, and what in Dovecot's configuration makes it unsafe."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict

from popauthd.cli.common import settings
from popauthd.dovecotcheck import Finding
from popauthd.dovecotcheck.check import judged
from popauthd.dovecotcheck.machine import dovecot

FINE, TROUBLE = 0, 1


def _dovecot_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    what = parser.add_subparsers(metavar="status", required=True)
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
    findings = judged(settings(options), configuration)
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
