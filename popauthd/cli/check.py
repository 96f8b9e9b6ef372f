"""check: may an address relay, asked of the map as Exim asks, and what the books know of it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from popauthd.address import keys, network, parse
from popauthd.cli.common import PrivateError, ask_books, client, map_has, settings
from popauthd.config import Config
from popauthd.config.limits import limits
from popauthd.errors import StoreError
from popauthd.formats.reasons import REASONS as FORMAT_REASONS
from popauthd.policy import REASONS as POLICY_REASONS
from popauthd.policy import Limits, never_reason
from popauthd.text import length_of_time, safe, stamp

if TYPE_CHECKING:
    from popauthd.store.books import Books, LoginRow

MAY, MAY_NOT, TROUBLE = 0, 1, 2


def _check_arguments(parser: argparse.ArgumentParser, _common: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS")
    parser.set_defaults(run=check, trouble=TROUBLE)


ARGUMENTS = {"check": _check_arguments}


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
