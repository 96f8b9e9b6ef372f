"""The books: everything the watcher has learnt, in one private LMDB file (0600).

What was learnt from a log and the place in that log are written in ONE transaction, so a restart
neither loses nor invents. The relay map is derived from `published` and can be thrown away.

| database    | key                        | value                                                    |
| ----------- | -------------------------- | -------------------------------------------------------- |
| logins      | address NUL user           | `login_at expires_at format` NUL user: the latest login  |
| old         | expires_at (8 bytes) login key | empty: logins in the order they may be forgotten     |
| published   | address                    | expires_at: what the relay map must hold                 |
| due         | expires_at (8 bytes) address | empty: `published` in the order it runs out            |
| revocations | `a` NUL address, `u` NUL user, `*` | revoked_at                                       |
| held        | address NUL user           | open sessions of that login; see sessions.py             |
| sessions    | session id                 | the login's key, or `-ended_at`                          |
| renew       | renew_at (8 bytes) login key | empty: `held` in the order it must be looked at        |
| gone        | forget_at (8 bytes) session id | empty: ended sessions in the order they are forgotten |
| shared      | address                    | `since until users`: not granted, too many users         |
| refusals    | address                    | `at reason` NUL user: the latest, to explain a refusal   |
| places      | source name                | the place in that log, the source's own bytes            |
| counters    | day NUL name               | number                                                   |
| meta        | `schema`, `clock`, `silence` NUL source | version; boot and clock offset; longest silence |

An address may relay while a login on it is newer than every revocation that applies and its expiry
lies ahead, unless it is shared. An administrator's own grant is a login with an empty user name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import lmdb

from popauthd.books.entries import Rules
from popauthd.books.reading import LoginRow, Reading, Shared
from popauthd.books.writing import Writing
from popauthd.errors import StoreBrokenError, StoreError
from popauthd.sizes import map_bytes

__all__ = ["DATABASES", "SCHEMA", "Books", "LoginRow", "Reading", "Rules", "Shared", "Writing"]

SCHEMA = b"2"
BOOKS_BYTES = map_bytes(4 << 30)  # address space, not disk
DATABASES = (
    "logins",
    "old",
    "published",
    "due",
    "revocations",
    "held",
    "sessions",
    "renew",
    "gone",
    "shared",
    "refusals",
    "places",
    "counters",
    "meta",
)


class Books:
    """The open file. Raises StoreError when it cannot be opened, read or written, and says why."""

    def __init__(self, path: str, rules: Rules | None = None, *, readonly: bool = False) -> None:
        self.path = path
        self.rules = rules or Rules()
        try:
            self._env = lmdb.open(
                path, map_size=BOOKS_BYTES, subdir=False, mode=0o600, max_dbs=20, readonly=readonly, create=not readonly
            )
            # Not in one transaction: py-lmdb forgets handles opened in a read transaction.
            names = {name: name.encode("ascii") for name in DATABASES}
            self._db = {name: self._env.open_db(key, create=not readonly) for name, key in names.items()}
            with self._env.begin(write=not readonly) as txn:
                schema = txn.get(b"schema", db=self._db["meta"])
                if schema is None and not readonly:
                    txn.put(b"schema", SCHEMA, db=self._db["meta"])
                elif schema != SCHEMA:
                    raise StoreError(f"books {path}: schema {schema!r} is not {SCHEMA!r}: written by another version")
        except (lmdb.Error, OSError) as error:
            raise StoreError(f"books {path}: cannot be opened: {error}") from error

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """A read transaction; leave it soon, as it pins pages."""
        try:
            with self._env.begin() as txn:
                yield Reading(txn, self._db)
        except lmdb.Error as error:
            raise StoreError(f"books {self.path}: cannot be read: {error}") from error

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """A write transaction: committed on leaving, undone wholly by any exception."""
        try:
            with self._env.begin(write=True) as txn:
                yield Writing(txn, self._db, self.rules)
        except lmdb.PanicError as error:
            raise StoreBrokenError(f"books {self.path}: LMDB gave up on them: {error}") from error
        except lmdb.Error as error:
            raise StoreError(f"books {self.path}: cannot be written: {error}") from error

    def check_readers(self) -> int:
        """Free the slots of readers that died, which would pin pages; returns how many."""
        return int(self._env.reader_check())

    def close(self) -> None:
        """Close the file."""
        self._env.close()
