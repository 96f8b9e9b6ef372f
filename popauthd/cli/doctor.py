"""doctor: proves the installed system, from the configuration to a session with Exim."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from popauthd.cli.common import GREEN, RED, YELLOW, coloured
from popauthd.doctor import FAIL, OK, SKIP, WARN, Paths, Result, examine

WELL, ILL, INTERRUPTED = 0, 1, 130
COLOURS = {OK: GREEN, WARN: YELLOW, FAIL: RED}


def _doctor_arguments(parser: argparse.ArgumentParser, _common: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON array, at the end")
    parser.add_argument("--verbose", action="store_true", help="a line for each check that could not be made, too")
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
                if not options.json and (options.verbose or result.state != SKIP):
                    print(line(result), flush=True)
    except KeyboardInterrupt:
        return INTERRUPTED
    if options.json:
        print(json.dumps([asdict(result) for result in results], indent=1))
    else:
        for text in (*(() if options.verbose else skipped(results)), summary(results)):
            print(text)
    return ILL if any(result.state == FAIL for result in results) else WELL


def line(result: Result) -> str:
    """One result as it is printed."""
    state = coloured(f"{result.state:<4}", COLOURS.get(result.state, ""))
    return f"{state} {result.check}: {_said(result)}"


def _said(result: Result) -> str:
    return result.seen + (f"; {result.advice}" if result.advice else "")


def skipped(results: Sequence[Result]) -> Iterator[str]:
    """What was not looked at, a line for each reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for result in results:
        if result.state == SKIP:
            reason = (result.because, "") if result.because else ("", result.seen)
            reasons.setdefault(reason, []).append(result.check)
    for (because, why), checks in reasons.items():
        names = ", ".join(dict.fromkeys(checks))
        said = f"not looked at because of {because}: {names}" if because else f"not looked at: {names} ({why})"
        yield f"{SKIP:<4} {said}"


def summary(results: Sequence[Result]) -> str:
    """All of it in one line: what failed, and what to do first."""
    failed, warned, not_seen = (_checks(results, state) for state in (FAIL, WARN, SKIP))
    count = len({result.check for result in results})
    warnings = f", {len(warned)} warned: {', '.join(warned)}" if warned else ""
    unseen = f", {len(not_seen)} could not be looked at" if not_seen else ""
    if failed:
        first = next(result for result in results if result.state == FAIL)
        said = f"{len(failed)} of {count} checks failed: {', '.join(failed)}{warnings}{unseen}"
        return f"{said}. First: {first.check}: {_said(first)}"
    return f"none of {count} checks failed{warnings}{unseen}" if warned or not_seen else f"all {count} checks are well"


def _checks(results: Sequence[Result], state: str) -> list[str]:
    return list(dict.fromkeys(result.check for result in results if result.state == state))
