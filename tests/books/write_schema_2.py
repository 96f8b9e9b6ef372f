"""Wrote schema-2.mdb.xz and schema-2.json: books of schema 2, as popauthd 0.1.0 left them on disk, and what they hold.

It runs the code of the commit that it is run in, not of this one. It was run so, with Debian 12's Python and lmdb:

    git archive 5dd0109 --prefix=old/ | tar -C /tmp -xf -
    cd /tmp/old && PYTHONPATH=/tmp/old python3 -B ROOT/tests/books/write_schema_2.py ROOT/tests/books

A real watcher of that time reads a real Dovecot log, minute by minute, by a clock that the script sets; the commands
of an administrator come between. All times are epoch seconds; the last moment is `now` of the JSON.

The JSON: `now`; `limits` and `rules` of the watcher; `log`, its lines in the order in which they were read; then
what the code of that time reads in the books: `logins`, `published`, `revocations`, `held`, `ended`, `refusals`,
`shared`, `places`, `counters`, `meta`, and the number of `entries` of each database. Keys of LMDB are Latin-1 text.
"""

from __future__ import annotations

import json
import lzma
import os
import shutil
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lmdb

from popauthd import address, clock, commands
from popauthd.assembly import recogniser
from popauthd.books import DATABASES, SCHEMA, Books, Rules
from popauthd.config import plain_source
from popauthd.house import House
from popauthd.policy import Limits
from popauthd.publisher import Publisher
from popauthd.relaymap import MapWriter
from popauthd.sources.logfile import LogFile
from popauthd.watcher import Followed, Watcher

NOW = 1_795_467_600  # 2026-11-23 21:00:00 UTC
MINUTE, HOUR = 60, 3600
BOOT_ID, OFFSET = "11111111-2222-4333-8444-555555555555", NOW - 86400  # the machine had been up for a day
NEVER, SHARED_USERS = "192.0.2.66", 3
HERE = Path("/tmp/popauthd-schema-2")
LONG, LONGER = ("long" * number + "@example.org" for number in (60, 80))  # the books keep a digest as their key

Step = tuple[int, str] | tuple[int, dict[str, Any]]


def login(before: int, user: str, client: str, session: str = "", *, protocol: str = "imap", ahead: int = 0) -> Step:
    """A login `before` seconds before the end; its stamp lies `ahead` of the time at which it is read."""
    server = "2001:db8:2::1" if client.startswith("2001:db8:2:") else "198.51.100.5"
    tail = f", session=<{session}>" if session else ""
    words = f"user=<{user}>, method=PLAIN, rip={client}, lip={server}, mpid=7, TLS{tail}"
    return before, f"{stamp(NOW - before + ahead)} mail dovecot: {protocol}-login: Login: {words}"


def end(before: int, user: str, session: str, protocol: str = "imap") -> Step:
    """The end of a session."""
    return before, f"{stamp(NOW - before)} mail dovecot: {protocol}({user})<7><{session}>: Logged out in=1 out=2"


def command(before: int, **request: Any) -> Step:
    """A command of the administrator."""
    return before, request


def stamp(at: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000000+00:00", time.gmtime(at))


STEPS: tuple[Step, ...] = (
    # Revoked with everybody, three hours ago; one of them was let in again.
    login(3 * HOUR + 4 * MINUTE, "gus", "192.0.2.30", "gus+1"),
    login(3 * HOUR + 3 * MINUTE, "anna", "192.0.2.10", "anna+0"),
    command(3 * HOUR, command="revoke", what="all"),
    # Held: open since two hours, and renewed ever since.
    login(2 * HOUR, "anna", "192.0.2.10", "anna+1"),
    login(2 * HOUR - MINUTE, "pia", "192.0.2.11", "pia+1", protocol="pop3"),
    end(2 * HOUR - 5 * MINUTE, "pia", "pia+1", "pop3"),
    # Run out long ago, but remembered.
    login(70 * MINUTE, "kim", "192.0.2.32"),
    # Ended: stands for a lifetime from its end.
    login(50 * MINUTE, "otto", "192.0.2.13", "otto+1"),
    # By hand: for seven days, for one hour, and for one that was revoked.
    command(40 * MINUTE, command="grant", address="203.0.113.7", seconds=7 * 86400),
    command(40 * MINUTE, command="grant", address="2001:db8:3::7", seconds=HOUR),
    command(40 * MINUTE, command="grant", address="203.0.113.8", seconds=7 * 86400),
    command(30 * MINUTE, command="revoke", address="203.0.113.8"),
    # IPv6: a whole /64 that is held; an address in the server's own /64, which is granted by itself.
    login(20 * MINUTE, "dora", "2001:db8:1::7", "dora+1"),
    login(10 * MINUTE, "eve", "2001:db8:2::9"),
    login(10 * MINUTE, "carl", "192.0.2.12"),
    end(10 * MINUTE, "otto", "otto+1"),
    # Revoked by address; the second one logged in again.
    login(9 * MINUTE, "fred", "192.0.2.20", "fred+1"),
    login(9 * MINUTE, "hugo", "192.0.2.23", "hugo+1"),
    command(8 * MINUTE, command="revoke", address="192.0.2.20"),
    command(8 * MINUTE, command="revoke", address="192.0.2.23"),
    # Revoked by user: on two addresses, one of which another user has opened as well; iris logged in again.
    login(8 * MINUTE, "mallory", "192.0.2.21", "mallory+1"),
    login(8 * MINUTE, "mallory", "192.0.2.22"),
    login(8 * MINUTE, "nora", "192.0.2.22"),
    login(8 * MINUTE, "iris", "192.0.2.24"),
    login(8 * MINUTE, LONG, "192.0.2.25"),
    login(8 * MINUTE, LONG, "192.0.2.26"),
    command(6 * MINUTE, command="revoke", user="mallory"),
    command(6 * MINUTE, command="revoke", user="iris"),
    command(6 * MINUTE, command="revoke", address="192.0.2.26"),
    login(6 * MINUTE, LONGER, "192.0.2.27"),
    command(5 * MINUTE, command="revoke", user=LONGER),
    # Too many users for one address.
    *(login(5 * MINUTE, f"guest{number}", "198.51.100.77") for number in range(SHARED_USERS + 2)),
    login(4 * MINUTE, "hugo", "192.0.2.23", "hugo+2"),
    login(4 * MINUTE, "iris", "192.0.2.24"),
    login(4 * MINUTE, "anna", "192.0.2.12"),
    login(4 * MINUTE, "j\N{LATIN SMALL LETTER U WITH DIAERESIS}rgen", "192.0.2.14"),
    # Begun and ended within the last ten minutes, in one look and in two: their ends are still known.
    login(5 * MINUTE, "quinn", "192.0.2.15", "quinn+1", protocol="pop3"),
    end(5 * MINUTE, "quinn", "quinn+1", "pop3"),
    login(4 * MINUTE, "rosa", "192.0.2.16", "rosa+1", protocol="pop3"),
    end(3 * MINUTE, "rosa", "rosa+1", "pop3"),
    # Refused.
    login(3 * MINUTE, "root", "127.0.0.1"),
    login(3 * MINUTE, "victor", NEVER),
    login(3 * MINUTE, "late", "192.0.2.31", ahead=-2 * HOUR),
    login(3 * MINUTE, "again", "192.0.2.20", ahead=-5 * MINUTE - 1),
    # A stamp ahead of the clock: one that stands, one that was revoked after it was read (0.1.0 lets it stand).
    login(2 * MINUTE, "zoe", "192.0.2.40", ahead=90),
    login(2 * MINUTE, "yves", "192.0.2.41", "yves+1", ahead=100),
    command(MINUTE, command="revoke", address="192.0.2.41"),
    login(0, "last", "192.0.2.50"),
)


def main(into: Path) -> None:
    """Live through the steps, and write the two files."""
    HERE.mkdir()
    found = {"now": NOW, **live(HERE), **read(HERE / "books.mdb")}
    with lmdb.open(str(HERE / "books.mdb"), subdir=False, readonly=True, max_dbs=20) as env:
        env.copy(str(HERE / "compact.mdb"), compact=True)
    data = (HERE / "compact.mdb").read_bytes()
    shutil.rmtree(HERE)
    (into / "schema-2.mdb.xz").write_bytes(lzma.compress(data, preset=9))
    (into / "schema-2.json").write_text(json.dumps(found, indent=1) + "\n", encoding="ascii")


def live(here: Path) -> dict[str, Any]:
    """Run the watcher through all steps; what it was set to, and the log that it read."""
    log = here / "mail.log"
    log.touch()
    begins = at = NOW - 4 * HOUR
    limits = Limits(never=(address.network(NEVER),), ipv6_prefix=64)
    rules = Rules(shared_users=SHARED_USERS, hold_seconds=12 * HOUR)
    books = Books(str(here / "books.mdb"), rules)
    publisher = Publisher(MapWriter(str(here / "relay.mdb")))
    lines_of = recogniser(plain_source(path=str(log)))
    source = LogFile(str(log), lines_of.stamp, clock=lambda: at)
    watcher = Watcher(
        books, publisher, House(books, publisher, limits, clock_offset=lambda: OFFSET),
        [Followed(source, lines_of)], pushed=True, clock=lambda: at,
    )  # fmt: skip
    watcher.start()
    for at in range(begins, NOW + 1, MINUTE):
        for request in [what for before, what in STEPS if NOW - before == at and isinstance(what, dict)]:
            commands.handle(watcher, request)
        lines = [what for before, what in STEPS if NOW - before == at and isinstance(what, str)]
        with log.open("a", encoding="utf-8") as file:
            file.writelines(line + "\n" for line in lines)
        os.utime(log, (at, at))
        while watcher.turn():
            pass
        watcher.turn()
    with books.writing() as writing:
        writing.set_clock(BOOT_ID, OFFSET)
    watcher.close()
    return {
        "limits": {"never": [NEVER], "ipv6_prefix": 64, "lifetime_seconds": limits.lifetime_seconds},
        "rules": {"shared_users": rules.shared_users, "hold_seconds": rules.hold_seconds},
        "log": log.read_text("utf-8").splitlines(),
    }


def read(path: Path) -> dict[str, Any]:
    """What the books hold, as the code of their time reads it."""
    books = Books(str(path), readonly=True)
    with books.reading() as reading:
        found: dict[str, Any] = {
            "logins": [asdict(row) for row in reading.logins()],
            "published": dict(reading.published()),
            "held": [list(held) for held in reading.open_sessions()],
            "shared": [asdict(found) for found in reading.all_shared()],
            "counters": reading.counters(),
        }
    books.close()
    with lmdb.open(str(path), subdir=False, readonly=True, max_dbs=20) as env, env.begin() as txn:
        raw = {name: dict(pairs(txn, env.open_db(name.encode(), txn))) for name in DATABASES}
    found["revocations"] = {key: int(value) for key, value in raw["revocations"].items()}
    found["ended"] = {key: -int(value) for key, value in raw["sessions"].items() if value.startswith("-")}
    found |= {name: raw[name] for name in ("refusals", "places", "meta")}
    found["entries"] = {name: len(raw[name]) for name in DATABASES}
    return found


def pairs(txn: lmdb.Transaction, database: object) -> Mapping[str, str]:
    """All records of one database."""
    with txn.cursor(db=database) as cursor:
        return {bytes(key).decode("latin-1"): bytes(value).decode("latin-1") for key, value in cursor}


if __name__ == "__main__":
    assert SCHEMA == b"2", "run it in a tree of schema 2, as the docstring says"
    assert clock.STEP_SECONDS, "and with the code of its time"
    main(Path(sys.argv[1]))
