"""The one door for changes: books, relay map and host list are changed together, or not at all.

`change` opens a write transaction of the books. At its end, and inside it, the relay map is changed. Then the
books are committed. A crash between the two leaves a map that the next start derives anew from the books.
Nobody else may open a write transaction of the books: tests/unit/test_layers.py sees to that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from popauthd.errors import StoreError
from popauthd.store import quarantine
from popauthd.store.books import SCHEMA, Books, Reading, Rules, Writing
from popauthd.store.publisher import Publisher


class Ledger:
    """Owns books, relay map and host list. Every method may raise StoreError, and can be called again then."""

    def __init__(self, books: Books, publisher: Publisher) -> None:
        self._books = books
        self._publisher = publisher

    @property
    def rules(self) -> Rules:
        """What the books know of the configuration."""
        return self._books.rules

    @property
    def dry_run(self) -> bool:
        """Whether nothing is published, whatever the books say."""
        return self._publisher.dry_run

    @contextmanager
    def change(self) -> Iterator[Writing]:
        """A transaction of the books: published and committed on leaving, undone wholly by any exception.

        Raises StoreFullError where the books are full.
        """
        with self._books.writing() as writing:
            yield writing
            self._publisher.apply(writing)

    def preparing(self) -> AbstractContextManager[Writing]:
        """A transaction of the books before the first one that publishes."""
        return self._books.writing()

    @contextmanager
    def beginning(self) -> Iterator[Writing]:
        """The first transaction after a start: everything is published anew at its end."""
        with self._books.writing() as writing:
            yield writing
            self._publisher.replace(writing.published)

    @contextmanager
    def going_by(self, rules: Rules, *, dry_run: bool) -> Iterator[Writing]:
        """The same as `change`, and from it on by other rules. An exception leaves those from before in force."""
        before = self._books.rules, self._publisher.dry_run
        self._books.rules, self._publisher.dry_run = rules, dry_run
        try:
            with self.change() as writing:
                yield writing
                if dry_run != before[1]:
                    writing.published.publish_all()
        except BaseException:
            self._books.rules, self._publisher.dry_run = before
            raise

    def list_into(self, path: str) -> None:
        """Keep the host list there from now on, "" for none. One that is kept no longer is emptied."""
        self._publisher.list_into(path)

    def reading(self) -> AbstractContextManager[Reading]:
        """A read transaction of the books; leave it soon, as it pins pages."""
        return self._books.reading()

    def take_back(self) -> None:
        """Publish again what a transaction that was undone may have published: the map is written before the books."""
        if self._books.undone:
            with self.change():
                pass
            self._books.undone_is_told()

    def publish_due(self) -> list[tuple[str, str]]:
        """Write the host list if it is due, and make again what was lost.

        Returns what an administrator should know: the name to count it under, and a sentence.
        """
        return self._publisher.tend(self._books)

    def wait(self, at_most_seconds: float) -> float:
        """How long to wait before the next `publish_due`."""
        return self._publisher.wait(at_most_seconds)

    def publish_now(self) -> list[str]:
        """Bring relay map and host list up to date at once; returns what could not be done, a sentence each."""
        failed = []
        for publish, where in (
            (self._publisher.mend, "relay map"),
            (self._publisher.write_host_list, "host list"),
        ):
            try:
                publish(self._books)
            except StoreError as error:
                failed.append(f"{error}; until it is, Exim lets relay whom it names, where it asks the {where}")
        return failed

    def take_in_revocations(self) -> str:
        """Take in what somebody else did to the file of revocations; a sentence about it, or "" for nothing."""
        file = self._books.revocations
        touched = "" if file.trouble else file.touched()
        if not touched:
            return ""
        with self.change() as writing:
            with contextlib.suppress(StoreError):  # a file that cannot be read cannot be written: `trouble` tells
                self._books.take_in_revocations(writing)
            writing.revocations.name_peers(writing.meta.latest_at)
            mine = list(writing.revocations.all())
        file.write(mine)
        return f"revocations {file.path} {touched}; what it tells was taken in, and it was written again"

    def rewrite_revocations(self) -> None:
        """Write the file of revocations anew where it does not hold everything, or holds much that is over."""
        self._books.tend_revocations()

    @property
    def revocations_trouble(self) -> str:
        """Why the file of revocations does not hold everything, or ""."""
        return self._books.revocations.trouble

    @property
    def trouble(self) -> str:
        """What is wrong with the files, though the watcher goes on; "" if nothing is."""
        return "; ".join(filter(None, (self.revocations_trouble, self._books.lost())))

    @property
    def stopped_reader(self) -> str:
        """Who stands still in the middle of reading the relay map, in words; "" for nobody."""
        return self._publisher.stopped_reader

    def check_readers(self) -> None:
        """Free the slots of readers of books and map that died, which would pin pages."""
        self._books.check_readers()
        self._publisher.check_readers()

    @property
    def path(self) -> str:
        """Where the books are."""
        return self._books.path

    @property
    def book_bytes(self) -> int:
        """The address space that the books may fill."""
        return self._books.map_bytes

    def grow(self) -> bool:
        """Give the books twice the address space; False if this machine has no more."""
        return self._books.grow()

    def leave(self) -> None:
        """Nothing is changed any more: finish the host list, and note that books and map need not be read through."""
        with contextlib.suppress(StoreError):  # the next start writes it anyway
            self._publisher.write_host_list(self._books)
        quarantine.leave(self._books.path, SCHEMA.decode("ascii"))
        quarantine.leave(self._publisher.map_path)

    def close(self) -> None:
        """Close the map, then the books; what is published stays."""
        self._publisher.close()
        self._books.close()
