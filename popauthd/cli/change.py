"""grant and revoke: changes, all made by the running watcher through its control socket."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from popauthd import address
from popauthd.cli.common import ask_watcher, client
from popauthd.cli.own_addresses import own_addresses
from popauthd.config.values import duration_ms
from popauthd.errors import StoreError, UsageError
from popauthd.text import length_of_time, safe, stamp


def _grant_arguments(parser: argparse.ArgumentParser, _common: argparse.ArgumentParser) -> None:
    parser.add_argument("address", metavar="ADDRESS")
    parser.add_argument("--for", dest="length", metavar="TIME", help="such as 30m or 2h; default: the lifetime")
    parser.set_defaults(run=grant)


def _revoke_arguments(parser: argparse.ArgumentParser, _common: argparse.ArgumentParser) -> None:
    whom = parser.add_mutually_exclusive_group(required=True)
    whom.add_argument("address", metavar="ADDRESS", nargs="?", help="this address, or an IPv6 /64 with all in it")
    whom.add_argument("--user", help="revoke this user; others on the same addresses keep theirs")
    whom.add_argument("--all", action="store_true", help="revoke everybody")
    parser.set_defaults(run=revoke)


ARGUMENTS = {"grant": _grant_arguments, "revoke": _revoke_arguments}


def grant(options: argparse.Namespace) -> int:
    """Grant an address by hand."""
    wanted = client(options.address)
    request: dict[str, object] = {
        "command": "grant",
        "address": wanted,
        "own_addresses": own_addresses(first=wanted),
    }
    if options.length is not None:
        text = options.length
        try:
            request["seconds"] = duration_ms(int(text) if text.isdigit() else text) // 1000
        except ValueError as error:
            raise UsageError(f"--for {safe(text)}: {error}") from error
    reply = ask_watcher(options, **request)
    left = length_of_time(reply["expires_at"] - int(time.time()))
    print(f"{safe(reply['address'])} may relay for {left}, until {stamp(reply['expires_at'])}")
    return 0


def revoke(options: argparse.Namespace) -> int:
    """Revoke an address, a user or everybody; a newer login opens the address again."""
    if options.all:
        reply, whom = ask_watcher(options, command="revoke", what="all"), "everybody"
    elif options.user is not None:
        reply, whom = ask_watcher(options, command="revoke", user=options.user), safe(options.user)
    else:
        whom = options.address if address.key(options.address) else client(options.address, "; for a user: --user")
        reply = ask_watcher(options, command="revoke", address=whom)
    for line in told(reply, whom, int(time.time()), everybody=options.all, user=options.user is not None):
        print(line)
    if warning := reply.get("warning"):
        print(f"popauthctl: {safe(str(warning), 400)}", file=sys.stderr)
        return StoreError.exit_code
    return 0


def told(reply: Mapping[str, Any], whom: str, now: int, *, everybody: bool, user: bool) -> Iterator[str]:
    """What was undone, a line each, from the watcher's reply."""
    number = reply["addresses"]
    if number:
        ends = "a newer login opens it again" if number == 1 else "newer logins open them again"
        yield f"revoked {whom}: {_addresses(number)} may no longer relay by it; {ends}"
    elif everybody:
        yield "revoked everybody: no address could relay"
    elif reply["known"]:
        yield f"revoked {whom}: no login of {'that user' if user else 'that address'} was in force"
    else:
        nobody = "nobody of that name is known" if user else "that address is not known"
        yield f"revoked {whom}: {nobody}, no login is remembered; is it written rightly?"
    shown = [one for row in reply["closed"] if (one := _closed(row)) is not None]
    for text, until, still_until in shown:
        would = f"would have stood for {length_of_time(until - now)} more, until {stamp(until)}"
        still = f"still may, by another login, until {stamp(still_until)}" if still_until else would
        yield f"  {safe(text)}: {still}"
    if number > len(shown):
        yield f"  and {number - len(shown)} more"


def _addresses(number: int) -> str:
    return "1 address" if number == 1 else f"{number} addresses"


def _closed(row: object) -> tuple[str, int, int] | None:
    """A row of the reply, if it is one: the address, until when it could relay, and until when it still may."""
    if not isinstance(row, dict):
        return None
    text, until, still_until = row.get("address"), row.get("until"), row.get("still_until") or 0
    if isinstance(text, str) and isinstance(until, int) and isinstance(still_until, int):
        return text, until, still_until
    return None
