"""The place in each log, saved with what was learnt up to it. Database `places`."""

from __future__ import annotations

from popauthd.store.books.transaction import Transaction


class Places:
    """A place is the source's own bytes; only the source can read it."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def of(self, source: str) -> bytes | None:
        """The place saved for a source."""
        return self._transaction.get("places", source.encode())

    def set(self, source: str, place: bytes) -> None:
        """Save the place in a log, in the transaction with what was learnt up to it."""
        self._transaction.put("places", source.encode(), place)
