"""pygtail, mended: reads the log and the rotated files before it, in blocks of bytes.

pygtail's own `next` stays in charge: it asks for what is unread in the file at hand; when that is at
its end and was rotated, it closes it, and goes on with the file that `_filehandle` opens then.
Replaced are the parts that lose or invent lines: it reads text and knows any line end that Python
knows, splits an unfinished line, finds one rotated file at most, forgets the old descriptor, raises
when the log is away, and keeps its place in a file of its own.

Works with 0.6.1 (Debian) and 0.14.0 (PyPI), whose attributes differ by an underscore: each is one
slot here under both names.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from pygtail import Pygtail

from popauthd.sources.file.blocks import BlockReader
from popauthd.sources.file.open_file import Handle

BLOCK_BYTES = 131072  # with more, the C library gives memory back and asks for it again at each block


def _slot(name: str) -> property:
    """An attribute kept under one name, whatever name it is asked for by."""

    def get(self: Tail) -> object:
        return self.__dict__.get(name)

    def put(self: Tail, value: object) -> None:
        self.__dict__[name] = value

    return property(get, put)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An open file that is to be read later, and where to begin in it."""

    handle: Handle
    offset: int
    skipping: bool


class _Held:
    """What pygtail takes for an open file. It closes it when it goes on: then the reader has ended."""

    def __init__(self, reader: BlockReader, ended: list[BlockReader]) -> None:
        self.reader = reader
        self.closed = False
        self._ended = ended

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self._ended.append(self.reader)


class Tail(Pygtail):  # type: ignore[misc]
    """Iterates over blocks of whole lines of the files that `add` is given.

    A block is b"" when nothing can be handed out yet though the file goes on. The iteration stops at
    the end of the file at hand, and goes on when more was written or `add` gave it another file.
    Raises Rewritten and OSError.

    from_start: the last block was looked for at the very start of a file.
    """

    fh = _fh = _slot("held")
    rotated_logfile = _rotated_logfile = _slot("rotated")

    def __init__(self, path: str, block_bytes: int = BLOCK_BYTES) -> None:
        # The null device is an empty offset file: pygtail finds no place in it.
        super().__init__(path, offset_file=os.devnull)
        self.from_start = False
        self._block_bytes = block_bytes
        self._waiting: deque[_Waiting] = deque()
        self._ended: list[BlockReader] = []

    def add(self, handles: Sequence[Handle], offset: int, skipping: bool) -> None:
        """Read these files, oldest first, after the one at hand, which was rotated.

        offset, skipping: where to begin in the first, and whether that is within a line to skip.
        """
        first, *others = handles
        self._waiting.append(_Waiting(first, offset, skipping))
        self._waiting.extend(_Waiting(handle, 0, False) for handle in others)
        if self.reader is None:
            self._filehandle()
        else:
            self.rotated_logfile = self.reader.handle.path

    def drop(self) -> None:
        """Let go of all files."""
        if self.reader is not None:
            self.reader.close()
        while self._waiting:
            self._waiting.popleft().handle.close()
        self.fh = self.rotated_logfile = None

    @property
    def reader(self) -> BlockReader | None:
        """The file at hand; None before `add` and after `drop`."""
        return None if self.fh is None or self.fh.closed else self.fh.reader

    @property
    def on_newest(self) -> bool:
        """Whether no other file is to be read after the one at hand."""
        return not self._waiting

    @property
    def behind_bytes(self) -> int:
        """Unread bytes, as far as is known."""
        behind = 0 if self.reader is None else self.reader.behind
        return behind + sum(one.handle.left(0) for one in self._waiting)

    def take_ended(self) -> list[BlockReader]:
        """The files, still open, that were rotated and have been read to their end since the last call."""
        ended = list(self._ended)
        self._ended.clear()
        return ended

    def _filehandle(self) -> _Held:
        if self.fh is None or self.fh.closed:
            one = self._waiting[0]
            reader = BlockReader(one.handle, one.offset, self._block_bytes, one.skipping)
            self._waiting.popleft()
            self.fh = _Held(reader, self._ended)
            self.rotated_logfile = one.handle.path if self._waiting else None
        held: _Held = self.fh
        return held

    def _get_next_line(self) -> bytes:
        """The next block; StopIteration at the end, as pygtail expects it."""
        reader = self._filehandle().reader
        self.from_start = reader.offset == 0
        block = reader.next_block()
        if not block and not reader.behind:
            raise StopIteration
        return block

    def _is_new_file(self) -> bool:
        return bool(self.rotated_logfile)

    def _update_offset_file(self) -> None:
        """The place is kept by the caller, with what was learnt from the lines before it."""

    update_offset_file = _update_offset_file

    def __del__(self) -> None:
        """Pygtail's own would open the log again, and raise when it is away."""


def rotated_name(path: str) -> str | None:
    """The name that pygtail itself would take for the newest rotated file of a log; None if it sees none."""
    try:
        name: str | None = Tail(path)._check_rotated_filename_candidates()
    except OSError:  # it looks in two steps, and the file may go in between
        return None
    return name
