"""status: how the running watcher is."""

from __future__ import annotations

import argparse
import json

from popauthd.cli.common import ask_watcher
from popauthd.text import length_of_time, safe, stamp

WELL, DEGRADED = 0, 2


def _status_arguments(parser: argparse.ArgumentParser, _common: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.set_defaults(run=status)


ARGUMENTS = {"status": _status_arguments}


def status(options: argparse.Namespace) -> int:
    """What the running watcher says of itself. Exit 0 if all is well, 2 if it is degraded."""
    reply = ask_watcher(options, command="status")
    if options.json:
        print(json.dumps(reply, indent=1))
        return DEGRADED if reply["degraded"] else WELL
    print(f"popauthd {safe(reply['version'])}, pid {reply['pid']}: {safe(reply['degraded'], 400) or 'well'}")
    if reply["dry_run"]:
        print("dry_run: everything is counted, nothing is published, no address may relay")
    print(f"addresses that may relay: {reply['addresses']}; logins held by open sessions: {reply['held']}")
    for shared in reply["shared"]:
        since = stamp(shared["since"])
        print(f"shared address, not granted: {shared['address']}, {shared['users']} users, since {since}")
    for source in reply["sources"]:
        last = source.pop("last_login_at")
        name = source.pop("name")
        seen = f"last login {length_of_time(reply['now'] - last)} ago" if last else "no login seen since the start"
        print(f"following {safe(name)}: {seen}")
        state = [f"{key} {_told(key, value)}" for key, value in source.items() if value not in ("", None)]
        print("  " + ", ".join(state))
    for heard in reply.get("pushed", ()):
        print(f"hearing {safe(heard['name'])} on {safe(heard['where'])}")
    for note in reply["notes"]:
        print(f"note: {safe(note, 400)}")
    print("today: " + (", ".join(f"{name} {number}" for name, number in sorted(reply["today"].items())) or "nothing"))
    return DEGRADED if reply["degraded"] else WELL


def _told(key: str, value: object) -> str:
    """A value of a source's state for people: a time as a stamp, anything else as it is."""
    return stamp(value) if key.endswith("_at") and isinstance(value, int) else safe(str(value))
