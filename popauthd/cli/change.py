"""grant and revoke: changes, all made by the running watcher through its control socket."""

from __future__ import annotations

import argparse
import sys

from popauthd import address
from popauthd.cli.common import ask_watcher, client
from popauthd.cli.own_addresses import own_addresses
from popauthd.config.values import duration_ms
from popauthd.errors import StoreError, UsageError
from popauthd.text import safe, stamp


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
    print(f"{reply['address']} may relay until {stamp(reply['expires_at'])}")
    return 0


def revoke(options: argparse.Namespace) -> int:
    """Revoke an address, a user or everybody; a newer login opens the address again."""
    if options.all:
        reply, whom = ask_watcher(options, command="revoke", what="all"), "everybody"
    elif options.user is not None:
        reply, whom = ask_watcher(options, command="revoke", user=options.user), safe(options.user)
    else:
        whom = options.address if address.key(options.address) else client(options.address)
        reply = ask_watcher(options, command="revoke", address=whom)
    print(f"revoked {whom}: {reply['addresses']} address(es) could relay until now; a newer login opens it again")
    if warning := reply.get("warning"):
        print(f"popauthctl: {safe(str(warning), 400)}", file=sys.stderr)
        return StoreError.exit_code
    return 0
