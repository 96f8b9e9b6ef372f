"""Publishes what the books say: the relay map at once, the host list as often as it may be written.

In a dry run nothing is published. Somebody else may remove, replace or cut short the two files while the watcher runs.
`tend` looks for that every LOOK_SECONDS, and every change of the map looks too. A file that is lost is made anew from
the books. A long host list is written by a process of its own (host_list_writer.py), so that `tend` never takes long.
"""

from __future__ import annotations

import time

from popauthd.errors import StoreBrokenError, StoreError
from popauthd.store.books import Books, Writing
from popauthd.store.books.published import Published
from popauthd.store.host_list import LONG_BYTES, HostList, leave_nobody
from popauthd.store.host_list_writer import Writer, WriterError
from popauthd.store.relay_map import MapWriter
from popauthd.store.stopped_reader import StoppedReader

LOOK_SECONDS = 0.5
HEAR_SECONDS = 0.05  # how often an answer of the host list's process is looked for while a newer list is wanted
WRITER_AGAIN_SECONDS = 30.0


class Publisher:
    """Writes the relay map and the host list. Raises StoreError if they cannot be written."""

    def __init__(self, relay_map: MapWriter, host_list: HostList | None = None, *, dry_run: bool = False) -> None:
        self.dry_run = dry_run
        self._map = relay_map
        self._reader = StoppedReader(relay_map.oldest_reader)
        self._host_list = host_list
        self._look_at = 0.0
        self._lost_map = ""
        self._trouble: StoreError | None = None
        self._news: list[tuple[str, str]] = []
        self._writer: Writer | None = None
        self._writer_not_before = 0.0

    @property
    def map_path(self) -> str:
        """Where the relay map is."""
        return self._map.path

    def list_into(self, path: str) -> None:
        """Write the host list there from now on, "" for none. One that is kept no longer is emptied."""
        before = self._host_list
        if path and before is None:
            self._host_list = HostList(path)
        elif before is not None and not path:
            self._host_list = None
            self._end_writer()
            leave_nobody(before.path)

    def replace(self, published: Published) -> None:
        """Publish everything anew, when the watcher starts."""
        self._map.replace(() if self.dry_run else published.blocks())

    def apply(self, writing: Writing) -> None:
        """Publish what a transaction of the books has changed. It is called at the end of this transaction, inside it.

        LIMIT: if the map was lost, the next `tend` or `mend` publishes the change, after it is in the books.
        """
        published = writing.published
        changes = {} if self.dry_run else published.changes
        if changes or published.cleared:
            if self._lost_map or self._map.lost():
                self._look_at = 0.0
            else:
                self._map.apply(changes, cleared=published.cleared)
            if self._host_list is not None:
                self._host_list.stale = True
            if self._writer is not None and not published.cleared:
                self._writer.changed(changes)
            elif self._writer is not None:
                self._writer.renewed()

    def tend(self, books: Books) -> list[tuple[str, str]]:
        """Make anew a file that was lost, and write the host list if it is stale and may be written now.

        Returns the news for the administrator: for each, the counter's name and a sentence. Raises StoreError if a
        file cannot be written, and at each call until it has been made anew.
        """
        self._hear_writer()
        lost = ""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_SECONDS
            self._trouble = None
            lost = self._lost_list()
            self._mend_map(books)
        if self._host_list is not None and self._host_list.due():
            if lost or not self._ask_writer(books, self._host_list):
                self.write_host_list(books)
                self._start_writer(books, self._host_list)
            if lost:
                self._news.append(("hostlist.remade", f"host list {self._host_list.path} {lost}; made again"))
        if self._trouble is not None:
            raise self._trouble
        news, self._news = self._news, []
        return news

    def wait(self, at_most_seconds: float) -> float:
        """How long to wait before the next `tend`."""
        if self._host_list is None:
            return at_most_seconds
        if self._host_list.stale and self._writer is not None and self._writer.busy:
            return min(at_most_seconds, HEAR_SECONDS)
        return self._host_list.wait(at_most_seconds)

    def mend(self, books: Books) -> None:
        """Make a lost map anew at once, from what the books say now. Raises StoreError if that is not possible."""
        self._trouble = None
        self._mend_map(books)
        if self._trouble is not None:
            raise self._trouble

    def write_host_list(self, books: Books) -> None:
        """Write the host list at once if it differs from the books, or if another process is about to write it."""
        if self._host_list is not None and self._writer is not None and self._writer.busy:
            self._end_writer()
            self._host_list.stale = True
        if self._host_list is not None and self._host_list.stale:
            with books.reading() as reading:  # streamed: the list may be long
                self._host_list.write(() if self.dry_run else reading.published.host_list())

    def _lost_list(self) -> str:
        """What somebody else did to the host list; "" for nothing, or if it is being written."""
        if self._host_list is None or (self._writer is not None and self._writer.busy):
            return ""
        return self._host_list.lost()

    def _start_writer(self, books: Books, listed: HostList) -> Writer | None:
        """The process that writes a long list; None if the list is short, or if there is no such process."""
        if listed.size > LONG_BYTES and self._writer is None and time.monotonic() >= self._writer_not_before:
            try:
                self._writer = Writer(books.path, listed.path)
            except WriterError as error:
                self._without_writer(listed, error)
        return self._writer

    def _ask_writer(self, books: Books, listed: HostList) -> bool:
        """Have a long list written by a process of its own; False if this process must write it."""
        writer = None if self.dry_run else self._start_writer(books, listed)
        if writer is None:
            return False
        if not writer.busy:
            try:
                writer.ask(books.identity)
            except WriterError as error:
                self._without_writer(listed, error)
                return False
            listed.asked()
        return True

    def _hear_writer(self) -> None:
        """Take in what the process that writes the list has done."""
        if self._host_list is not None and self._writer is not None:
            try:
                written = self._writer.answer()
            except WriterError as error:
                self._without_writer(self._host_list, error)
            else:
                if written is not None:
                    self._host_list.was_written(*written)

    def _without_writer(self, listed: HostList, error: WriterError) -> None:
        """Do without the process for a while: this one writes the list."""
        self._end_writer()
        self._writer_not_before = time.monotonic() + WRITER_AGAIN_SECONDS
        listed.stale = True
        self._news.append(
            (
                "hostlist.writer",
                f"the process that writes the host list {error}; the watcher writes it for now, and reads no log "
                "meanwhile",
            )
        )

    def _end_writer(self) -> None:
        if self._writer is not None:
            self._writer.end()
        self._writer = None

    def _mend_map(self, books: Books) -> None:
        self._lost_map = self._lost_map or self._map.lost() or self._reader.found()
        if not self._lost_map:
            return
        try:
            with books.reading() as reading:
                number = self._map.remake(() if self.dry_run else reading.published.blocks())
        except StoreBrokenError:
            raise
        except StoreError as error:
            self._trouble = error
            return
        self._news.append(
            ("map.remade", f"relay map {self._map.path} {self._lost_map}; made again ({number} addresses)")
        )
        self._lost_map = ""

    @property
    def stopped_reader(self) -> str:
        """Who stands still in the middle of reading the map, in words; "" for nobody."""
        return self._reader.standing

    def check_readers(self) -> None:
        """Free the slots of map readers whose process has died."""
        if not self._map.lost():
            self._map.check_readers()

    def close(self) -> None:
        """Close the map; what is published stays published."""
        self._end_writer()
        self._map.close()
