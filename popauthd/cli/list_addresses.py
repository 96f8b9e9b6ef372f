"""list: every address that may relay."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from popauthd.cli.common import ask_books, settings
from popauthd.text import length_of_time, safe

if TYPE_CHECKING:
    from popauthd.store.books import Books


def _list_arguments(parser: argparse.ArgumentParser, _common: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one JSON array")
    parser.set_defaults(run=list_addresses)


ARGUMENTS = {"list": _list_arguments}


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
    if not found:
        print("no address may relay now")
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
