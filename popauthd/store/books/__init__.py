"""The books: everything that the watcher has learnt, in one private LMDB file (0600).

What was learnt from a log and the place in that log are written in ONE transaction, so a restart
loses nothing and invents nothing. The relay map is made from `published` and can be thrown away.

| database    | key                        | value                                                    |
| ----------- | -------------------------- | -------------------------------------------------------- |
| logins      | address NUL user           | the latest login; see rows.login_value                |
| users       | 16 bytes of a user, login key | empty: the logins of each user                        |
| old         | time (8 bytes) login key   | empty: when to look whether a login may be forgotten     |
| published   | address                    | expires_at: what the relay map must hold                 |
| due         | time (8 bytes) address     | empty: when to look whether `published` has run out      |
| revocations | `a` NUL address, `u` NUL user, `*`, | times; see rows.Times                        |
|             | `n` NUL /64, `c` or `w` NUL a cut user | (also in a file of their own, see revocation_file.py)        |
| held        | address NUL user           | open sessions of that login; see sessions.py             |
| sessions    | session id                 | the login's key, or `-ended_at`                          |
| renew       | renew_at (8 bytes) login key | empty: `held` in the order it must be looked at        |
| gone        | forget_at (8 bytes) session id | empty: ended sessions in the order they are forgotten |
| shared      | address                    | `since until users`: not granted, too many users         |
| refusals    | address                    | `at reason` NUL user: the latest, to explain a refusal   |
| outbox      | kind, key                  | what other nodes are to be told; see outbox.py           |
| places      | source name                | the place in that log, the source's own bytes            |
| counters    | day NUL name               | number                                                   |
| meta        | `schema`, `clock`, `silence` NUL source | version; boot and clock offset; longest silence |
|             | `latest`, `stamped`, `furthest`, `limits`, `ends`, `own` | latest time and stamps known; …  |

An address may relay while a login from it has not expired and is newer than every revocation that applies to it,
unless the address is shared. An administrator's own grant is a login with an empty user name.
A login's effective time is its stamp, or the time when it was first seen if that is earlier. Two logins of a user from
an address are the same login if they have the same stamp. Books of an older schema are migrated when they are opened
for writing (migrations/).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from popauthd import file_marks
from popauthd.errors import StoreBrokenError, StoreError, StoreFullError
from popauthd.store import disk_says
from popauthd.store.books.migrations import guess, migrate
from popauthd.store.books.reading import Reading
from popauthd.store.books.revocation_file import RevocationFile, RevocationRecord
from popauthd.store.books.rows import LoginRow
from popauthd.store.books.rules import Rules
from popauthd.store.books.transaction import Transaction
from popauthd.store.books.writing import Writing
from popauthd.store.map_size import grow, map_bytes

__all__ = ["DATABASES", "SCHEMA", "Books", "LoginRow", "Reading", "Rules", "Writing"]

SCHEMA = b"4"
BOOKS_BYTES = map_bytes(4 << 30)  # address space, not disk
DATABASES = (
    "logins",
    "users",
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
    "outbox",
    "places",
    "counters",
    "meta",
)
NOT_TO_READ = ("outbox",)  # for the watcher alone; books that it has not opened since an upgrade have none


class Books:
    """The open file. Raises StoreError, with the reason, if it cannot be opened, read or written.

    identity: the device and the inode of the file.
    """

    def __init__(
        self, path: str, rules: Rules | None = None, *, readonly: bool = False, size_bytes: int = BOOKS_BYTES
    ) -> None:
        """size_bytes: the address space at first; `grow` makes it larger."""
        self.path = path
        self.rules = rules or Rules()
        self.revocations = RevocationFile(str(Path(path).with_name("revocations.jsonl")))
        self.notes: list[str] = []
        self._undone: set[str] = set()
        self._all_undone = False
        try:
            size = max(size_bytes, _space(path))
            self._env = lmdb.open(
                path, map_size=size, subdir=False, mode=0o600, max_dbs=20, readonly=readonly, create=not readonly
            )
            try:
                self._begin(readonly=readonly)
            except BaseException:
                self._env.close()  # a kept error would keep it open, and newer lmdb opens a file only once in a process
                raise
        except (lmdb.Error, OSError) as error:
            raise StoreError(f"books {path}: cannot be opened: {disk_says.why(path, error)}") from error

    def _begin(self, *, readonly: bool) -> None:
        """Open the databases, and bring older books up to date."""
        found = Path(self.path).stat()
        self.identity = found.st_dev, found.st_ino
        if readonly:
            self._check_schema()
        # Not in one transaction: py-lmdb forgets the handles that were opened in a read transaction.
        names = {name: name.encode("ascii") for name in DATABASES if not (readonly and name in NOT_TO_READ)}
        self._db = {name: self._env.open_db(key, create=not readonly) for name, key in names.items()}
        if not readonly:
            self._bring_up_to_date()

    def _check_schema(self) -> None:
        try:
            meta = self._env.open_db(b"meta", create=False)
        except lmdb.NotFoundError:
            schema = None
        else:
            with self._env.begin(db=meta) as txn:
                schema = txn.get(b"schema")
        if schema != SCHEMA:
            raise StoreError(
                f"books {self.path}: schema {schema!r} is not {SCHEMA!r}: written by another version; older books are "
                "brought up to date when the watcher starts"
            )

    def _bring_up_to_date(self) -> None:
        """Migrate older books. Then give the books and the file of revocations the revocations of both."""
        with self.writing() as writing:
            txn, meta = writing.transaction.txn, self._db["meta"]
            schema = txn.get(b"schema", db=meta) or guess(txn, self._db)
            if schema is not None and migrate(txn, self._db, schema) != SCHEMA:
                raise StoreError(f"books {self.path}: schema {schema!r} is not {SCHEMA!r}: written by another version")
            txn.put(b"schema", SCHEMA, db=meta)
            if schema not in (None, SCHEMA):
                self.notes.append(f"books {self.path}: brought from schema {schema.decode()} to {SCHEMA.decode()}")
            known, bad = self.take_in_revocations(writing)
            mine = list(writing.revocations.all())
        if bad:
            self.notes.append(f"revocations {self.revocations.path}: {bad} line(s) could not be read and were left out")
        if schema is None and known:
            self.notes.append(f"revocations that outlived the books: {len(known)}, from {self.revocations.path}")
        if bad or self.revocations.lines > 2 * len(mine) + 100 or {found.key: found for found in mine} != known:
            self.revocations.write(mine)

    def take_in_revocations(self, writing: Writing) -> tuple[dict[bytes, RevocationRecord], int]:
        """Enter the revocations of the file; returns them and the number of bad lines. Raises StoreError."""
        known, bad = self.revocations.load()
        if fresh := [found for found in known.values() if writing.revocations.merge(found)]:
            writing.revocations.close(fresh, writing.meta.latest_at)
        return known, bad

    @contextmanager
    def reading(self) -> Iterator[Reading]:
        """A read transaction. End it soon: while it is open, the pages that it reads cannot be reused."""
        try:
            with self._env.begin() as txn:
                yield Reading(Transaction(txn, self._db), self.rules)
        except lmdb.Error as error:
            raise StoreError(f"books {self.path}: cannot be read: {error}") from error

    @contextmanager
    def writing(self) -> Iterator[Writing]:
        """A write transaction. It is committed at its end, and any exception undoes all of it.

        Before it is committed, the revocations made in it are written to their file and synced to disk. Raises
        StoreFullError if the map size is reached: forget something or `grow`, and try again.
        """
        writing: Writing | None = None
        try:
            with self._env.begin(write=True) as txn:
                writing = Writing(Transaction(txn, self._db), self.rules)
                self._tell_undone(writing)
                yield writing
                writing.finish()
                if writing.revocations.made:
                    self.revocations.append(writing.revocations.made)
            writing = None
        except lmdb.PanicError as error:
            raise StoreBrokenError(f"books {self.path}: LMDB gave up on them: {error}") from error
        except lmdb.MapFullError as error:
            raise StoreFullError(f"books {self.path}: cannot be written: full at {self.map_bytes >> 20} MiB") from error
        except lmdb.Error as error:
            raise StoreError(f"books {self.path}: cannot be written: {disk_says.why(self.path, error)}") from error
        finally:
            if writing is not None:
                self._undone.update(writing.published.changes)
                self._all_undone = self._all_undone or writing.published.cleared

    @property
    def undone(self) -> bool:
        """Whether a transaction was undone whose changes may be published: the next ones publish them as well."""
        return self._all_undone or bool(self._undone)

    def undone_is_told(self) -> None:
        """Note that the addresses of undone transactions have been published as they stand now."""
        self._undone.clear()
        self._all_undone = False

    def _tell_undone(self, writing: Writing) -> None:
        published = writing.published
        if self._all_undone:
            published.publish_all()
        else:
            published.changes.update({address: published.expiry(address) for address in self._undone})

    def tend_revocations(self) -> None:
        """Write the file of revocations anew if it does not hold all of them, or holds many that are over."""
        if self.revocations.trouble or self.revocations.lines > 2 * self.revocations.needed + 10_000:
            with self.reading() as reading:
                self.revocations.write(list(reading.revocations.all()))

    def lost(self) -> str:
        """A sentence for the administrator if the books' file was removed or replaced; "" if it is still there."""
        now = file_marks.at(self.path)
        if now is not None and (now.device, now.inode) == self.identity:
            return ""
        return (
            f"books {self.path}: were removed or replaced while the watcher runs; answers are right, but what is "
            "learnt now is lost when it stops. Restart it: systemctl restart popauthd"
        )

    @property
    def map_bytes(self) -> int:
        """The address space of the books."""
        return int(self._env.info()["map_size"])

    def grow(self) -> bool:
        """Double the books' address space; False if this machine has no more. Not for use within a transaction."""
        return grow(self._env, f"books {self.path}")

    def check_readers(self) -> int:
        """Free the slots of readers whose process has died, so that pages can be reused; returns their number."""
        try:
            return int(self._env.reader_check())
        except lmdb.Error as error:
            raise StoreError(f"books {self.path}: their readers cannot be looked at: {error}") from error

    def close(self) -> None:
        """Close the file."""
        self._env.close()


def _space(path: str) -> int:
    """The address space for books that have grown before: twice the size of the file."""
    try:
        return map_bytes(2 * Path(path).stat().st_size)
    except OSError:
        return 0
