"""Publishes what the books say: the relay map at once, the host list when it may. In a dry run: nothing.

Both are files that somebody else may remove, replace or cut short while we run. `tend` sees that when it looks, every
LOOK_SECONDS, and so does every change of the map; then the file is made anew from the books.
"""

from __future__ import annotations

import time

from popauthd.errors import StoreBrokenError, StoreError
from popauthd.store.books import Books, Writing
from popauthd.store.books.published import Published
from popauthd.store.host_list import HostList
from popauthd.store.relay_map import MapWriter

LOOK_SECONDS = 0.5


class Publisher:
    """Owns map and host list. Raises StoreError where they cannot be written."""

    def __init__(self, relay_map: MapWriter, host_list: HostList | None = None, *, dry_run: bool = False) -> None:
        self.dry_run = dry_run
        self._map = relay_map
        self._host_list = host_list
        self._look_at = 0.0
        self._lost_map = ""
        self._trouble: StoreError | None = None
        self._news: list[tuple[str, str]] = []

    def replace(self, published: Published) -> None:
        """Publish everything anew, for a start."""
        self._map.replace(() if self.dry_run else published.all())

    def apply(self, writing: Writing) -> None:
        """Publish what a transaction of the books has changed; called inside it, at its end.

        LIMIT: where the map was lost, the change is published by the next `tend` or `mend`, once it is in the books.
        """
        published = writing.published
        if (published.changes or published.cleared) and not self.dry_run:
            if self._lost_map or self._map.lost():
                self._look_at = 0.0
            else:
                self._map.apply(published.changes, cleared=published.cleared)
            if self._host_list is not None:
                self._host_list.stale = True

    def tend(self, books: Books) -> list[tuple[str, str]]:
        """Make anew what was lost, and write the host list if it must and may be written.

        Returns what an administrator should know: the name to count it under, and a sentence. Raises StoreError, also
        while something that was lost could not be made again and is not due to be tried again yet.
        """
        lost = ""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._trouble = None
            lost = self._host_list.lost() if self._host_list is not None else ""
            self._mend_map(books)
        if self._host_list is not None and self._host_list.due():
            self.write_host_list(books)
            if lost:
                self._news.append(("hostlist.remade", f"host list {self._host_list.path} {lost}; made again"))
        if self._trouble is not None:
            raise self._trouble
        news, self._news = self._news, []
        return news

    def mend(self, books: Books) -> None:
        """Make a map that was lost at once again, with what the books say now. Raises StoreError where it cannot be."""
        self._trouble = None
        self._mend_map(books)
        if self._trouble is not None:
            raise self._trouble

    def write_host_list(self, books: Books) -> None:
        """Write the host list at once if it is not what the books say."""
        if self._host_list is not None and self._host_list.stale:
            with books.reading() as reading:  # streamed: the list may be long
                self._host_list.write(() if self.dry_run else reading.published.host_list())

    def _mend_map(self, books: Books) -> None:
        self._lost_map = self._lost_map or self._map.lost()
        if not self._lost_map:
            return
        try:
            with books.reading() as reading:
                number = self._map.remake(() if self.dry_run else reading.published.all())
        except StoreBrokenError:
            raise
        except StoreError as error:
            self._trouble = error
            return
        self._news.append(
            ("map.remade", f"relay map {self._map.path} {self._lost_map}; made again ({number} addresses)")
        )
        self._lost_map = ""

    def check_readers(self) -> None:
        """Free the slots of readers of the map that died."""
        if not self._map.lost():
            self._map.check_readers()

    def close(self) -> None:
        """Close the map; what is published stays."""
        self._map.close()
