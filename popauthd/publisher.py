"""Publishes what the books say: the relay map at once, the host list when it may. In a dry run: nothing."""

from __future__ import annotations

from collections.abc import Mapping

from popauthd.books import Books, Reading
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

    def apply(self, changes: Mapping[str, int | None]) -> None:
        """Publish what has changed; called inside the transaction of the books that changed it."""
        if changes and not self.dry_run:
            self._map.apply(changes)
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
