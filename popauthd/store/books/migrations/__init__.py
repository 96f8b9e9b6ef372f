"""Books grow up: how each older schema becomes the next one, in the transaction that opens the books.

One module a step, named by the schemas it leads from and to; tests/books has books of each older schema. Databases
that are missing have been made by then. A step reads and writes nothing but the transaction it is given. After the
last one the books are of today's schema. Books older than the first step are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import lmdb

from popauthd.store.books.migrations import from_2_to_3

Databases = Mapping[str, "lmdb._Database"]
Step = Callable[[lmdb.Transaction, Databases], None]

# schema -> (the step that leads on, the schema it leads to)
STEPS: Mapping[bytes, tuple[Step, bytes]] = {
    b"2": (from_2_to_3.migrate, b"3"),
}


def guess(txn: lmdb.Transaction, databases: Databases) -> bytes | None:
    """The schema of books that do not tell it, as their `meta` is gone: None if they are new."""
    with txn.cursor(db=databases["logins"]) as cursor:
        if not cursor.first():
            return None
        facts = bytes(cursor.value()).partition(b"\0")[0]
    return b"2" if facts.count(b" ") == 2 else b"3"


def migrate(txn: lmdb.Transaction, databases: Databases, schema: bytes) -> bytes:
    """Take the steps that lead on from `schema`; returns the schema that the books have then."""
    while schema in STEPS:
        step, schema = STEPS[schema]
        step(txn, databases)
        txn.put(b"schema", schema, db=databases["meta"])
    return schema
