"""The queues of the books whose entries may be earlier than what they are for (published.py, login_rows.py)."""

from __future__ import annotations

from popauthd.store.books import Books
from popauthd.store.books.rows import light_row
from popauthd.store.books.transaction import Transaction

QUEUES = ("old", "due")


def queued(transaction: Transaction, queue: str) -> dict[bytes, list[int]]:
    """The times at which each key is looked at, in order."""
    found: dict[bytes, list[int]] = {}
    for entry, _ in transaction.scan(queue):
        found.setdefault(entry[8:], []).append(int.from_bytes(entry[:8], "big"))
    return found


def assert_queued(books: Books) -> None:
    """Every login and every published address is looked at when it has run out, or before."""
    with books.reading() as reading:
        old, due = (queued(reading.transaction, queue) for queue in QUEUES)
        for key, value in reading.transaction.scan("logins"):
            assert old[key][0] <= light_row(key, value)[3], key
        for key, value in reading.transaction.scan("published"):
            assert due[key][0] <= int(value), key
