"""Wrote schema-3.mdb.xz and schema-3.json: books of schema 3, as the code of its time left them, and what they hold.

It runs the code of the commit that it is run in, not of this one. It was run so, with Debian 12's Python and lmdb:

    git archive b2468a0 --prefix=old/ | tar -C /tmp -xf -
    cd /tmp/old && PYTHONPATH=/tmp/old python3 -B ROOT/tests/books/write_schema_3.py ROOT/tests/books

That code brings the books of schema-2.mdb.xz up to date. Then users log in anew, log in again, and open and end
sessions, at the `now` of those books. The JSON has the fields of schema-2.json, but no `log` and no `meta`.
"""

from __future__ import annotations

import json
import lzma
import shutil
import sys
from pathlib import Path
from typing import Any

import lmdb

from popauthd.model import Grant
from popauthd.store.books import DATABASES, SCHEMA, Books, Rules
from tests.books import unpack

HERE = Path("/tmp/popauthd-schema-3")
LIFETIME = 900


def grant(at: int, address: str, user: str) -> Grant:
    return Grant(address, user, at, at + LIFETIME, "dovecot", 0, "imap", "PLAIN", True)


def live(path: Path, before: dict[str, Any]) -> None:
    """Bring the books up to date, and enter more into them."""
    now = before["now"]
    books = Books(str(path), Rules(before["rules"]["shared_users"], hold_seconds=before["rules"]["hold_seconds"]))
    for again in (0, 60):
        with books.writing() as writing:
            for number in range(8):
                made = grant(now - 300 + again, f"192.0.2.{100 + number}", f"user{number}@example.org")
                writing.logins.grant(made, now)
                writing.sessions.open(f"session{number}+{again}", made, now)
            for number in range(4):
                writing.sessions.end(f"session{number}+{again}", now - 30, now)
    with books.writing() as writing:
        writing.revocations.revoke_user("user7@example.org", now)
        writing.published.sweep(now)
    books.close()


def read(path: Path) -> dict[str, Any]:
    """What the books hold, as the code of their time reads it."""
    books = Books(str(path), readonly=True)
    with books.reading() as reading:
        rows = [row._asdict() for row in reading.logins.of()]
        raw = {name: _pairs(list(reading.transaction.scan(name))) for name in DATABASES}
        found: dict[str, Any] = {
            "logins": rows,
            "published": dict(reading.published.all()),
            "held": [list(held) for held in reading.sessions.all()],
            "shared": raw["shared"],
            "counters": reading.counters.of(),
            "revocations": {one.key.decode("latin-1"): one.at for one in reading.revocations.all()},
        }
    books.close()
    found["ended"] = {key: -int(value) for key, value in raw["sessions"].items() if value.startswith("-")}
    found |= {name: raw[name] for name in ("refusals", "places")}
    found["entries"] = {name: len(raw[name]) for name in DATABASES}
    return found


def _pairs(records: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {key.decode("latin-1"): value.decode("latin-1") for key, value in records}


def main(into: Path) -> None:
    """Write the two files."""
    HERE.mkdir()
    path = HERE / "books.mdb"
    before = unpack(2, path)
    live(path, before)
    found = {name: before[name] for name in ("now", "limits", "rules")} | read(path)
    with lmdb.open(str(path), subdir=False, readonly=True, max_dbs=20) as env:
        env.copy(str(HERE / "compact.mdb"), compact=True)
    data = (HERE / "compact.mdb").read_bytes()
    shutil.rmtree(HERE)
    (into / "schema-3.mdb.xz").write_bytes(lzma.compress(data, preset=9))
    (into / "schema-3.json").write_text(json.dumps(found, indent=1) + "\n", encoding="ascii")


if __name__ == "__main__":
    assert SCHEMA == b"3", "run it in a tree of schema 3, as the docstring says"
    main(Path(sys.argv[1]))
