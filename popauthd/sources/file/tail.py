"""pygtail, mended: what is unread, and when to go on to the next file, in blocks of bytes.

pygtail's own `next` stays in charge: it takes what is unread in the file at hand; at the end of one
that was rotated it closes it, sets the offset to 0 and goes on with what `_filehandle` opens then.
Replaced are the parts that lose or invent lines: it reads text and knows any line end that Python
knows, splits an unfinished line, finds one rotated file at most, forgets the old descriptor, raises
when the log is away, and keeps its place in a file of its own.

Works with 0.6.1 (Debian) and 0.14.0 (PyPI), whose attributes differ by an underscore: each is one
slot here under both names.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable

from pygtail import Pygtail

from popauthd.sources.file.blocks import Reader, Rewritten
from popauthd.sources.file.open_file import Handle
from popauthd.sources.file.place import Mark
from popauthd.sources.file.rotation import Looks, Plan, Shelf, Unsettled


def _slot(name: str) -> property:
    """An attribute kept under one name, whatever name it is asked for by."""

    def get(self: Tail) -> object:
        return self.__dict__.get(name)

    def put(self: Tail, value: object) -> None:
        self.__dict__[name] = value

    return property(get, put)


class _Held:
    """What pygtail takes for an open file. Its `close` means: done with it, go on."""

    def __init__(self, reader: Reader, retire: Callable[[Reader], None]) -> None:
        self.reader = reader
        self.closed = False
        self._retire = retire

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._retire(self.reader)


class Tail(Pygtail):  # type: ignore[misc]
    """Iterates over blocks of whole lines of a log and of what it was rotated to.

    after: what to read after a file that is at its end, None if nothing yet. retire: takes the
    readers that are done. `lost`: the mark of a file that was rewritten under us, else None.
    waiting: the log is being rotated just now, what comes next cannot be told yet.
    """

    fh = _fh = _slot("held")
    offset = _offset = _slot("start")
    rotated_logfile = _rotated_logfile = _slot("rotated")

    def __init__(
        self,
        shelf: Shelf,
        block_bytes: int,
        after: Callable[[Reader], Plan | None],
        retire: Callable[[Reader], None],
    ) -> None:
        # The null device is an empty offset file: pygtail finds no place in it and starts at 0.
        super().__init__(shelf.path, offset_file=os.devnull)
        self.waiting = False
        self._shelf = shelf
        self._begin_at = 0
        self.gaps: list[str] = []
        self.lost: Mark | None = None
        self._queue: deque[Handle] = deque()
        self._skipping = False
        self._block_bytes = block_bytes
        self._after = after
        self._retire = retire
        self._beside: Looks | None = None

    def begin(self, plan: Plan) -> None:
        """Read these files, the first from the plan's offset, and then whatever follows them."""
        self.drop()
        self._queue.extend(plan.handles)
        self.gaps += plan.gaps
        self._begin_at, self._skipping, self._beside = plan.offset, plan.skipping, plan.beside
        self._filehandle()

    def drop(self) -> None:
        """Let go of all files."""
        if self.reader is not None:
            self.reader.close()
        while self._queue:
            self._queue.popleft().close()
        self.fh = self.rotated_logfile = self.lost = None

    @property
    def reader(self) -> Reader | None:
        """The file at hand."""
        return None if self.fh is None or self.fh.closed else self.fh.reader

    @property
    def begun(self) -> bool:
        return self.reader is not None or bool(self._queue)

    @property
    def queued_bytes(self) -> int:
        return sum(handle.left(0) for handle in self._queue)

    def guess(self) -> str | None:
        """The rotated file that pygtail itself would take."""
        try:
            name: str | None = self._check_rotated_filename_candidates()
        except OSError:  # it looks in two steps, and the file may go in between
            return None
        return name

    def _filehandle(self) -> _Held:
        if self.fh is None or self.fh.closed:
            handle = self._queue.popleft()
            reader = Reader(handle, self._begin_at or self.offset, self._block_bytes, self._skipping)
            self._begin_at, self._skipping = 0, False
            self.fh = _Held(reader, self._retire)
            self.rotated_logfile = handle.path if self._queue else None
        held: _Held = self.fh
        return held

    def _get_next_line(self) -> bytes:
        """The next block; StopIteration at the end, as pygtail expects it."""
        if not self.begun:
            raise StopIteration
        reader = self._filehandle().reader
        fresh = reader.offset == 0
        try:
            block = reader.next_block()
        except Rewritten:
            self._give_up(reader)
            raise StopIteration from None
        if fresh and not self._queue and self._swapped(reader):
            self._give_up(reader, from_start=True)
            raise StopIteration
        if block:
            return block
        if self.rotated_logfile is None and not reader.behind:
            self._go_on(reader)
        raise StopIteration

    def _go_on(self, reader: Reader) -> None:
        """If the log's name stands for another file by now, let pygtail close this one and go on."""
        self.waiting = True
        try:
            plan = self._after(reader)
        except Unsettled:
            return
        self.waiting = False
        if plan is not None:
            self._queue.extend(plan.handles)
            self._begin_at, self._beside = plan.offset, plan.beside
            self.gaps += plan.gaps
            self.rotated_logfile = reader.handle.path

    def _swapped(self, reader: Reader) -> bool:
        """Whether an empty log may have been filled, copied and emptied again since we looked.

        Nothing had been read of it that could be compared, but then a rotated file is new.
        """
        return self._beside is not None and self._shelf.changed(reader.handle, self._beside)

    def _give_up(self, reader: Reader, from_start: bool = False) -> None:
        mark = reader.mark()
        self.drop()
        self.lost = Mark(*_EMPTY, False) if from_start else mark

    def _is_new_file(self) -> bool:
        return bool(self.rotated_logfile)

    def _update_offset_file(self) -> None:
        """The place is kept by the caller, with what was learnt from the lines before it."""

    update_offset_file = _update_offset_file

    def __del__(self) -> None:
        """Pygtail's own would open the log again, and raise when it is away."""


_EMPTY = ("", 0, 0, 0, 0, "", 0, "")
