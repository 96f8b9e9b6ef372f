"""The place in each log: how far it has been read. Database `places`."""

from __future__ import annotations

from popauthd.store.books.transaction import Transaction


class Places:
    """The saved places. A place is bytes that only its source understands."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def of(self, source: str) -> bytes | None:
        """The place saved for a source."""
        return self._transaction.get("places", source.encode())

    def set(self, source: str, place: bytes) -> None:
        """Save the place in a log, in the same transaction as what was learnt up to it."""
        self._transaction.put("places", source.encode(), place)
