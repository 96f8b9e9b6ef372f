"""A process that writes a long host list, so that the watcher goes on meanwhile.

The watcher starts it when the list has become long, and asks for a list by a line on its standard input. It reads the
books by itself, read-only, writes the list, and answers with a line. It ends when its input ends, as it does when the
watcher dies. The watcher itself writes whatever must be there at once, such as a list without an address that was
revoked: then a process that is at work is killed first, so that no older list can come after a newer one.

A few addresses change the pieces of the list that they are in; the process keeps the others since the last time.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple

from popauthd.errors import StoreError
from popauthd.file_marks import Mark
from popauthd.store import host_list
from popauthd.store.block import ROWS
from popauthd.store.books import Books
from popauthd.store.books.published import Published

ANSWER_SECONDS = 60.0  # some hundred times what a million addresses need
BYTES = 4096
CHANGED_AT_MOST = 80  # addresses; one line of them is written to the pipe in one piece
KEPT_BYTES = 8 << 20  # some 300,000 addresses
BEFORE_ALL = b"\0"  # no key is less
ALL = "all"
ALL_BYTES = ALL.encode("ascii")
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class WriterError(Exception):
    """The process cannot be started, has ended, or could not write the list; why, in words."""


class Writer:
    """The watcher's end of the process. Raises WriterError, and is of no use then."""

    def __init__(self, books_path: str, list_path: str) -> None:
        isolated = ["-I"] if sys.flags.isolated else []  # as installed: no module of the current directory
        module = "popauthd.store.host_list_writer"
        command = [sys.executable, *isolated, "-m", module, books_path, list_path, str(os.getpid())]
        try:
            # A session of its own, out of Ctrl-C's reach.
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
            )
        except OSError as error:
            raise WriterError(f"cannot be started: {error.strerror}") from error
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._to, self._from = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._to, False)
        os.set_blocking(self._from, False)
        self._text = b""
        self._until = 0.0
        self._changed: set[str] | None = None

    @property
    def busy(self) -> bool:
        """Whether a list that was asked for has not been answered yet."""
        return self._until > 0

    def changed(self, addresses: Iterable[str]) -> None:
        """Note what has changed since the last list; `renewed` if that is not known."""
        if self._changed is not None:
            self._changed.update(addresses)
            if len(self._changed) > CHANGED_AT_MOST:
                self._changed = None

    def renewed(self) -> None:
        """Note that anything may have changed since the last list."""
        self._changed = None

    def ask(self, identity: tuple[int, int]) -> None:
        """Ask for a list of the books, whose file is `identity` (device and inode)."""
        changed = [ALL] if self._changed is None else sorted(self._changed)
        self._changed = set()
        try:
            os.write(self._to, " ".join([*map(str, identity), *changed]).encode("ascii") + b"\n")
        except OSError as error:
            raise WriterError(self._why()) from error
        self._until = time.monotonic() + ANSWER_SECONDS

    def answer(self) -> tuple[Mark, float] | None:
        """The mark of the list that was asked for, and its seconds of processor time; None if it is not there yet."""
        with contextlib.suppress(BlockingIOError):
            text = os.read(self._from, BYTES)
            if not text:
                raise WriterError(self._why())
            self._text += text
        if b"\n" not in self._text:
            if self.busy and time.monotonic() > self._until:
                raise WriterError(f"has not answered for {ANSWER_SECONDS:.0f} s")
            return None
        found = json.loads(self._text)
        self._text, self._until = b"", 0.0
        if isinstance(found, str):
            raise WriterError(found)
        *mark, seconds = found
        return Mark(*mark), seconds

    def _why(self) -> str:
        try:
            status = self._process.wait(1)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        return f"ended with {status}" if status >= 0 else f"was killed by signal {-status}"

    def end(self) -> None:
        """End the process, whatever it does; it has ended when this returns."""
        self._process.kill()
        self._process.communicate()


class Pieces:
    """The text of the list in pieces, with the key that each begins at; none of a list that is too long to keep."""

    def __init__(self) -> None:
        self._begins: list[bytes] = []
        self._texts: list[bytes] = []

    def all(self, published: Published) -> Iterator[bytes]:
        """The text of the whole list, and keep it."""
        self._begins, self._texts, size = [], [], 0
        for begin, rows in published.host_pieces():
            text = host_list.lines(rows)
            size += len(text)
            if size <= KEPT_BYTES:
                self._begins.append(begin if self._begins else BEFORE_ALL)
                self._texts.append(text)
            yield text
        if size > KEPT_BYTES:
            self._begins, self._texts = [], []

    def with_changes(self, published: Published, addresses: Sequence[bytes]) -> Iterator[bytes]:
        """The text of the list, of which only these addresses have changed since it was kept."""
        numbers = {bisect_right(self._begins, address) - 1 for address in addresses}
        if len(self._begins) < 2 or any(address == ALL_BYTES or address.endswith(b"/64") for address in addresses):
            return self.all(published)  # a network changes the lines of the addresses in it
        for number in numbers:
            rows = published.host_piece(self._begins[number], self._begins[number + 1])
            self._texts[number] = host_list.lines(rows)
            if len(rows) > 4 * ROWS:
                return self.all(published)
        return iter(self._texts)


def write(
    books_path: str, list_path: str, identity: tuple[int, int], addresses: Sequence[bytes], pieces: Pieces, parent: int
) -> Mark:
    """Write the list of these books, in which these addresses have changed.

    Raises StoreError. The process ends if it is no longer its parent's.
    """
    books = Books(books_path, readonly=True)
    try:
        if books.identity != identity:
            raise StoreError(f"host list {list_path}: the books {books_path} were removed or replaced")
        with books.reading() as reading:
            text = pieces.with_changes(reading.published, addresses)
            return host_list.write_text(list_path, _while_asked(text, parent))
    finally:
        books.close()


def _while_asked(pieces: Iterator[bytes], parent: int) -> Iterator[bytes]:
    """The pieces; at their end, before the list takes its place, the process ends if its watcher has died meanwhile."""
    yield from pieces
    if os.getppid() != parent:
        sys.exit(0)  # a new watcher may have written a newer list


def main(books_path: str, list_path: str, parent: int) -> None:
    """Answer each line with the mark of a new list and its processor time, or with a text: why there is none."""
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)  # systemd tells all processes of the unit; we end with the watcher
    pieces = Pieces()
    for line in sys.stdin.buffer:
        device, inode, *addresses = line.split()
        said: object
        try:
            began = time.process_time()
            mark = write(books_path, list_path, (int(device), int(inode)), addresses, pieces, parent)
            said = (*astuple(mark), time.process_time() - began)
        except StoreError as error:
            said = str(error)
        try:
            os.write(sys.stdout.fileno(), json.dumps(said).encode("ascii") + b"\n")
        except BrokenPipeError:
            return


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
