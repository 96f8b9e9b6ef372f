"""status: how the running watcher is, and whether the responder answers."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from popauthd.as_user import LookError
from popauthd.cli.common import GREEN, RED, YELLOW, asked, coloured
from popauthd.conditions import Standing
from popauthd.config import Config
from popauthd.control_client import ask_responder, ask_status
from popauthd.counters import COUNTERS
from popauthd.status import PRESENT, FileStatus, JournalStatus, Status, to_json
from popauthd.text import ago, safe, stamp

WELL, DEGRADED = 0, 2


def _status_arguments(parser: argparse.ArgumentParser, _common: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=status)


ARGUMENTS = {"status": _status_arguments}


def status(options: argparse.Namespace) -> int:
    """What the running watcher says of itself. Exit 0 if all is well, 2 if it is degraded or nobody answers Exim."""
    found = asked(options, lambda path: with_responder(ask_status(path), str(Path(path).parent)))
    if options.json:
        print(json.dumps(to_json(found), indent=1))
    else:
        for line in lines(found):
            print(line)
    return DEGRADED if found.degraded else WELL


def with_responder(found: Status, run_dir: str) -> Status:
    """The status, with the condition in which the responder does not answer.

    Where it has no socket there need be none: readlookup and the host list do without. Nothing is said if we may not
    ask.
    """
    path = Config(run_dir=run_dir).lookup_path
    if not os.path.lexists(path):
        return found
    try:
        answer = ask_responder(run_dir, path)
    except LookError as error:
        if "Permission denied" in str(error):
            return found
        seen = f"it does not answer on {path} ({error})"
    else:
        if answer in ("yes", "no"):
            return found
        seen = f"it says {answer!r} on {path}, neither yes nor no"
    silent = Standing("responder-silent", "", seen, found.now)
    degraded = "; ".join(filter(None, (silent.text, found.degraded)))
    return replace(found, degraded=degraded, conditions=(silent, *found.conditions))


def lines(found: Status) -> Iterator[str]:
    """The status for people, a line each."""
    how = "degraded" if found.degraded else "well, with warnings" if found.conditions else "well"
    colour = RED if found.degraded else YELLOW if found.conditions else GREEN
    yield f"popauthd {safe(found.version)}, pid {found.pid}: {coloured(how, colour)}"
    for one in found.conditions:
        yield f"{one.severity} {one.word}, since {stamp(one.since)}: {safe(one.text, 400)}"
        yield f"  what to do: {one.advice}"
    if found.dry_run:
        yield "dry_run: everything is counted, nothing is published, no address may relay"
    yield f"addresses that may relay: {found.addresses}; logins held by open sessions: {found.held}"
    for shared in found.shared:
        since = stamp(shared.since)
        yield f"shared address, not granted: {safe(shared.address)}, {shared.users} users, since {since}"
    for source in found.sources:
        last = source.last_login_at
        seen = f"last login {ago(found.now - last)}" if last else "no login seen since the start"
        yield f"following {safe(source.name)}: {seen}"
        yield f"  {', '.join(_state(source.state, found.now))}"
    for pushed in found.pushed:
        yield f"hearing {safe(pushed.name)} on {safe(pushed.where)}"
    if found.cluster is not None:
        peers = len(found.cluster.peers)
        yield f"node {safe(found.cluster.node)} of a cluster, {peers} others heard of: see popauthctl cluster status"
    for note in found.notes:
        yield f"note: {safe(note, 400)}"
    yield "today:" if found.today else "today: nothing"
    for name, number in sorted(found.today.items()):
        yield f"  {safe(name)} {number}: {COUNTERS.get(name, 'counted by another version of popauthd.')}"


def _state(state: FileStatus | JournalStatus, now: int) -> Iterator[str]:
    """How far a log is read, in words."""
    if state.status != PRESENT:
        yield safe(f"{state.status}: {state.why}" if state.why else state.status, 400)
    if state.behind:
        yield f"{state.behind_text} behind"
    elif state.status == PRESENT:
        yield "read to its end" if state.at_end_at is not None else "nothing read yet"
    if state.last_read_at is not None:
        yield f"last read {ago(now - state.last_read_at)} ({stamp(state.last_read_at)})"
    if isinstance(state, JournalStatus):
        if state.dropped_messages:
            yield f"journald has suppressed {state.dropped_messages} messages"
        return
    if state.reading is not None and state.reading != state.path:
        yield f"reading {safe(state.reading)}"
    if state.old_files:
        yield f"rotated files watched for late lines: {state.old_files}"
    if state.long_lines:
        yield f"lines too long to be read: {state.long_lines}"
