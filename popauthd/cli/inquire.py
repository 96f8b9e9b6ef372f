"""check, list, status: questions that change nothing."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import replace

from popauthd.address import keys, network, parse
from popauthd.cli.common import Commands, PrivateError, ask_books, ask_watcher, client, map_has, settings
from popauthd.config import Config
from popauthd.errors import StoreError
from popauthd.formats import REASONS as FORMAT_REASONS
from popauthd.policy import REASONS as POLICY_REASONS
from popauthd.policy import Limits, never_reason
from popauthd.store.books import Books, LoginRow
from popauthd.text import length_of_time, safe, stamp
from popauthd.watch.assembly import limits

MAY, MAY_NOT, TROUBLE = 0, 1, 2


def add(commands: Commands, common: argparse.ArgumentParser) -> None:
    """Add this group's commands."""
    check_parser = commands.add_parser(
        "check", parents=[common], help="may ADDRESS relay, and why (exit 0 yes, 1 no, 2 trouble)"
    )
    check_parser.add_argument("address", metavar="ADDRESS")
    check_parser.set_defaults(run=check, trouble=TROUBLE)
    list_parser = commands.add_parser("list", parents=[common], help="every address that may relay now")
    list_parser.add_argument("--json", action="store_true", help="one JSON array")
    list_parser.set_defaults(run=list_addresses)
    status_parser = commands.add_parser("status", parents=[common], help="how the running watcher is")
    status_parser.add_argument("--json", action="store_true", help="one JSON object")
    status_parser.set_defaults(run=status)


def check(options: argparse.Namespace) -> int:
    """Ask the map as Exim does, and the books for the reason."""
    loaded = settings(options)
    wanted = client(options.address)
    now = int(time.time())
    try:
        expires_at = map_has(loaded, wanted)
    except StoreError:
        tell_why(loaded, wanted, now, may=False)
        raise
    may = expires_at is not None and now < expires_at
    if may and expires_at is not None:
        print(f"{wanted}: yes, for {length_of_time(expires_at - now)} more (until {stamp(expires_at)})")
    else:
        print(f"{wanted}: no")
    tell_why(loaded, wanted, now, may=may)
    return MAY if may else MAY_NOT


def tell_why(loaded: Config, wanted: str, now: int, *, may: bool) -> None:
    """Print what the books know of an address; whoever may not read them gets the bare answer."""
    try:
        print(ask_books(loaded, lambda books: explain(books, wanted, now, limits(loaded), may=may)), end="")
    except PrivateError:
        return
    except StoreError as error:
        print(f"  why cannot be told: {error}")


def explain(books: Books, wanted: str, now: int, limit: Limits, *, may: bool) -> Iterator[str]:
    """Lines that say what the books know of an address: its logins, what stands against them, what was refused.

    limit: those of the configuration; the server's own addresses that logins told of are in the books.
    """
    client = parse(wanted)
    with books.reading() as reading:
        own = (*limit.own_addresses, *map(network, reading.meta.own_addresses()))
        rows = sorted((row for key in keys(wanted) for row in reading.logins.of(key)), key=lambda row: -row.login_at)
        revoked = {row: reading.revocations.latest_at(row.address, row.user) for row in rows}
        held = {(address, user) for key in keys(wanted) for address, user, _at in reading.sessions.all(key)}
        shared = [found for key in keys(wanted) if (found := reading.shared.of(key)) and found.until]
        refused = [last for key in keys(wanted) if (last := reading.refusals.of(key)) is not None]
    for row in rows[:10]:
        through = f", through {row.address}" if row.address != wanted else ""
        open_session = ", a session is open" if (row.address, row.user) in held else ""
        yield line(login_line(row, revoked[row], now) + open_session + through)
    for found in shared:
        yield line(
            f"shared-address since {stamp(found.since)}: {found.users} users. {POLICY_REASONS['shared-address']}"
        )
    barred = never_reason(client, replace(limit, own_addresses=own)) if client is not None and not may else ""
    if barred:
        yield line(f"it may never relay by address: {barred}. {POLICY_REASONS[barred]}")
    elif not rows:
        yield line("no login from this address is remembered; has its user fetched mail, and from this address?")
    elif not may and not shared:
        yield line("to relay again: fetch mail from this address, then send")
    refusal = max(refused, key=lambda last: last.at or 0, default=None)
    if refusal is not None and refusal.at is not None:
        why = {**FORMAT_REASONS, **POLICY_REASONS}.get(refusal.reason, "")
        user = f" by {safe(refusal.user)}" if refusal.user else ""
        yield line(f"last refused login: {stamp(refusal.at)}{user}: {refusal.reason}. {why}")


def line(text: str) -> str:
    """A line of an explanation, whatever the books hold."""
    return f"  {safe(text, 400)}\n"


def login_line(row: LoginRow, revoked_at: int, now: int) -> str:
    """One remembered login as a line."""
    who = f"login by {safe(row.user)}" if row.user else "granted by hand"
    if row.login_at <= revoked_at:
        state = f"revoked {length_of_time(now - revoked_at)} ago"
    elif row.expires_at <= now:
        state = f"expired {length_of_time(now - row.expires_at)} ago"
    else:
        state = f"{length_of_time(row.expires_at - now)} left"
    return f"{stamp(row.login_at)} {who} ({row.format}): {state}"


def list_addresses(options: argparse.Namespace) -> int:
    """Every address that may relay, with the time left and who opened it."""
    now = int(time.time())
    said = ask_books(settings(options), lambda books: listed(books, now))
    found = []
    for entry in said.splitlines():
        address, expires_at, users = json.loads(entry)
        found.append({"address": address, "expires_at": expires_at, "seconds_left": expires_at - now, "users": users})
    if options.json:
        print(json.dumps(found, indent=1))
        return 0
    for one in sorted(found, key=lambda one: -int(one["seconds_left"])):
        users = [safe(user) or "(by hand)" for user in one["users"][:5]]
        print(f"{safe(one['address']):<39} {length_of_time(one['seconds_left']):>8}  {', '.join(users)}")
    return 0


def listed(books: Books, now: int) -> Iterator[str]:
    """A line of JSON for each address that may relay: [address, expiry, [user, ...]]."""
    with books.reading() as reading:
        for address, expires_at in reading.published.all():
            if expires_at > now:
                users = [
                    row.user
                    for row in reading.logins.of(address)
                    if row.expires_at > now and row.login_at > reading.revocations.latest_at(address, row.user)
                ]
                yield json.dumps([address, expires_at, users]) + "\n"


def status(options: argparse.Namespace) -> int:
    """What the running watcher says of itself. Exit 0 if all is well, 2 if it is degraded."""
    reply = ask_watcher(options, command="status")
    if options.json:
        print(json.dumps(reply, indent=1))
        return TROUBLE if reply["degraded"] else 0
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
    return TROUBLE if reply["degraded"] else 0


def _told(key: str, value: object) -> str:
    """A value of a source's state for people: a time as a stamp, anything else as it is."""
    return stamp(value) if key.endswith("_at") and isinstance(value, int) else safe(str(value))
