"""Migrations: how books of an older schema become books of the next one, in the transaction that opens them.

Each step is a module, named by the schemas that it leads from and to. tests/books has books of each older schema.
Databases that are missing have been made before a step runs. A step reads and writes only the transaction that it is
given. After the last step the books have today's schema. Books older than the first step are refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import lmdb

from popauthd.store.books.migrations import from_2_to_3, from_3_to_4

Databases = Mapping[str, "lmdb._Database"]
Step = Callable[[lmdb.Transaction, Databases], None]

# schema -> (the next step, the schema that it leads to)
STEPS: Mapping[bytes, tuple[Step, bytes]] = {
    b"2": (from_2_to_3.migrate, b"3"),
    b"3": (from_3_to_4.migrate, b"4"),
}


def guess(txn: lmdb.Transaction, databases: Databases) -> bytes | None:
    """The schema of books whose `meta` does not name it; None if the books are new."""
    with txn.cursor(db=databases["logins"]) as cursor:
        if not cursor.first():
            return None
        facts = bytes(cursor.value()).partition(b"\0")[0]
    return b"2" if facts.count(b" ") == 2 else b"3"


def migrate(txn: lmdb.Transaction, databases: Databases, schema: bytes) -> bytes:
    """Take all steps from `schema` on; returns the schema that the books have then."""
    while schema in STEPS:
        step, schema = STEPS[schema]
        step(txn, databases)
        txn.put(b"schema", schema, db=databases["meta"])
    return schema
