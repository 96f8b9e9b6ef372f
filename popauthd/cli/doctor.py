"""doctor: proves the installed system, from the configuration to a session with Exim."""

from __future__ import annotations

import argparse
import contextlib
import json
from dataclasses import asdict

from popauthd.doctor import FAIL, Paths, Result, examine

WELL, ILL, INTERRUPTED = 0, 1, 130


def _doctor_arguments(parser: argparse.ArgumentParser, _common: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON array, at the end")
    plain = Paths()
    parser.add_argument("--exim", default=plain.exim, help=argparse.SUPPRESS)
    parser.add_argument("--exim-config", default=plain.exim_config, help=argparse.SUPPRESS)
    parser.add_argument("--readlookup", default=plain.readlookup, help=argparse.SUPPRESS)
    parser.add_argument("--doveconf", default=plain.doveconf, help=argparse.SUPPRESS)
    parser.add_argument("--exim-acl", default=plain.exim_acl, help=argparse.SUPPRESS)
    parser.set_defaults(run=doctor)


ARGUMENTS = {"doctor": _doctor_arguments}


def doctor(options: argparse.Namespace) -> int:
    """Make every check. Exit 0 if none failed, 1 otherwise."""
    paths = Paths(options.exim, options.exim_config, options.readlookup, options.doveconf, options.exim_acl)
    results = []
    # closing: what was granted is revoked even if nobody reads our output to its end
    try:
        with contextlib.closing(examine(options.config, paths)) as found:
            for result in found:
                results.append(result)
                if not options.json:
                    print(line(result), flush=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    if options.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
    return ILL if any(result.state == FAIL for result in results) else WELL


def line(result: Result) -> str:
    """One result as it is printed."""
    return f"{result.state:<4} {result.check}: {result.seen}" + (f"; {result.advice}" if result.advice else "")
