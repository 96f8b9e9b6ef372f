"""One LMDB transaction of the books: reading and writing keys, in whichever database."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import lmdb


class Transaction:
    """What every part of the books works on. Changing anything needs a write transaction.

    databases: their handles, by the names of the table in this folder's __init__.py.
    """

    def __init__(self, txn: lmdb.Transaction, databases: Mapping[str, lmdb._Database]) -> None:
        self.txn = txn
        self._db = databases

    def get(self, database: str, key: bytes) -> bytes | None:
        """A value, or None."""
        value = self.txn.get(key, db=self._db[database])
        return None if value is None else bytes(value)

    def scan(self, database: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Keys that begin so, with their values, in order."""
        with self.txn.cursor(db=self._db[database]) as cursor:
            if not (cursor.set_range(prefix) if prefix else cursor.first()):
                return
            for key, value in cursor:
                if not key.startswith(prefix):
                    return
                yield bytes(key), bytes(value)

    def due(self, database: str, until: int, at_most: int) -> list[bytes]:
        """The keys of a database in the order of time that lie at or before `until`, epoch seconds."""
        keys: list[bytes] = []
        for key, _ in self.scan(database):
            if int.from_bytes(key[:8], "big") > until or len(keys) == at_most:
                break
            keys.append(key)
        return keys

    def any_due(self, database: str, until: int) -> bool:
        """Whether a key of such a database lies at or before `until`."""
        return next((int.from_bytes(key[:8], "big") <= until for key, _ in self.scan(database)), False)

    def count(self, database: str) -> int:
        """How many keys a database has."""
        return int(self.txn.stat(self._db[database])["entries"])

    def put(self, database: str, key: bytes, value: bytes) -> None:
        """Store a value in the place of the one before."""
        self.txn.put(key, value, db=self._db[database])

    def delete(self, database: str, key: bytes) -> None:
        """Take a key out; nothing happens if it is not there."""
        self.txn.delete(key, db=self._db[database])

    def empty(self, *databases: str) -> None:
        """Take everything out of these databases."""
        for database in databases:
            self.txn.drop(self._db[database], delete=False)
