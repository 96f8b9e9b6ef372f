"""Publishes what the books say: the relay map at once, the host list when it may. In a dry run: nothing."""

from __future__ import annotations

from popauthd.books import Books, Reading, Writing
from popauthd.hostlist import HostList
from popauthd.relaymap import MapWriter


class Publisher:
    """Owns map and host list. Raises StoreError where they cannot be written."""

    def __init__(self, relay_map: MapWriter, host_list: HostList | None = None, *, dry_run: bool = False) -> None:
        self.dry_run = dry_run
        self._map = relay_map
        self._host_list = host_list

    def replace(self, reading: Reading) -> None:
        """Publish everything anew, for a start."""
        self._map.replace(() if self.dry_run else reading.published())

    def apply(self, writing: Writing) -> None:
        """Publish what a transaction of the books has changed; called inside it, at its end."""
        if (writing.changes or writing.cleared) and not self.dry_run:
            self._map.apply(writing.changes, cleared=writing.cleared)
            if self._host_list is not None:
                self._host_list.stale = True

    def tend(self, books: Books) -> None:
        """Write the host list if it must and may be written."""
        if self._host_list is not None and self._host_list.due():
            with books.reading() as reading:  # streamed: the list may be long
                self._host_list.write(() if self.dry_run else reading.host_list())

    def check_readers(self) -> None:
        """Free the slots of readers of the map that died."""
        self._map.check_readers()

    def close(self) -> None:
        """Close the map; what is published stays."""
        self._map.close()
