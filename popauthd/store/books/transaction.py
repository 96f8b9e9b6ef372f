"""One LMDB transaction of the books: reads and writes keys in any of their databases."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice, takewhile

import lmdb

from popauthd.store.block import ROWS, Block


class Transaction:
    """The transaction that every part of the books works on. Changing anything needs a write transaction.

    databases: the handles of the databases, by the names in the table of this folder's __init__.py.
    """

    def __init__(self, txn: lmdb.Transaction, databases: Mapping[str, lmdb._Database]) -> None:
        self.txn = txn
        self._db = databases

    def get(self, database: str, key: bytes) -> bytes | None:
        """A value, or None."""
        value = self.txn.get(key, db=self._db[database])
        return None if value is None else bytes(value)

    def get_many(self, database: str, keys: Collection[bytes]) -> dict[bytes, bytes]:
        """The values of these keys, without those that are not there. A list of keys is in their order."""
        stored = self.count(database)
        with self.txn.cursor(db=self._db[database]) as cursor:
            if stored < len(keys):
                wanted = keys if isinstance(keys, set) else set(keys)
                return {key: value for key, value in cursor if key in wanted} if stored else {}
            return dict(cursor.getmulti(keys if isinstance(keys, list) else sorted(keys)))

    def scan(self, database: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """The keys that begin with `prefix`, with their values, in order."""
        with self.txn.cursor(db=self._db[database]) as cursor:
            if not (cursor.set_range(prefix) if prefix else cursor.first()):
                return
            for key, value in cursor:
                if not key.startswith(prefix):
                    return
                yield bytes(key), bytes(value)

    def blocks(self, database: str, after: bytes = b"") -> Iterator[Block]:
        """The keys of a database after `after`, with their values, in order; many at once: there may be a million."""
        with self.txn.cursor(db=self._db[database]) as cursor:
            if not cursor.set_range(after + b"\0"):
                return
            rows = iter(cursor)
            while block := list(islice(rows, ROWS)):
                yield block

    def between(self, database: str, begin: bytes, end: bytes) -> Block:
        """The keys from `begin` to the one before `end`, with their values."""
        with self.txn.cursor(db=self._db[database]) as cursor:
            if not cursor.set_range(begin):
                return []
            return list(takewhile(lambda row: row[0] < end, cursor))

    def keys(self, database: str, first: bytes, last: bytes) -> Iterator[bytes]:
        """The keys from `first` to `last`, which count as well."""
        with self.txn.cursor(db=self._db[database]) as cursor:
            if cursor.set_range(first):
                yield from takewhile(lambda key: key <= last, cursor.iternext(values=False))

    def due(self, database: str, until: int, at_most: int) -> list[bytes]:
        """The keys (see rows.when) that are due at or before `until`, epoch seconds; at most so many, oldest first."""
        keys: list[bytes] = []
        for key, _ in self.scan(database):
            if int.from_bytes(key[:8], "big") > until or len(keys) == at_most:
                break
            keys.append(key)
        return keys

    def any_due(self, database: str, until: int) -> bool:
        """Whether any such key is due at or before `until`."""
        return next((int.from_bytes(key[:8], "big") <= until for key, _ in self.scan(database)), False)

    def count(self, database: str) -> int:
        """How many keys a database has."""
        return int(self.txn.stat(self._db[database])["entries"])

    def put(self, database: str, key: bytes, value: bytes) -> None:
        """Store a value; it replaces the one before."""
        self.txn.put(key, value, db=self._db[database])

    def put_many(self, database: str, items: list[tuple[bytes, bytes]]) -> None:
        """Store many values, in the order of their keys: another order takes five times as long."""
        if items:
            with self.txn.cursor(db=self._db[database]) as cursor:
                cursor.putmulti(items)

    def delete_many(self, database: str, keys: Iterable[bytes]) -> None:
        """Remove many keys; nothing happens for those that are not there."""
        db = self._db[database]
        for key in sorted(keys):
            self.txn.delete(key, db=db)

    def delete(self, database: str, key: bytes) -> None:
        """Remove a key; nothing happens if it is not there."""
        self.txn.delete(key, db=self._db[database])

    def empty(self, *databases: str) -> None:
        """Remove all keys from these databases."""
        for database in databases:
            self.txn.drop(self._db[database], delete=False)
