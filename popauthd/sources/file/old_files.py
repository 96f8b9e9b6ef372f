"""Rotated files that have been read to their end, and are watched for late writes.

A server may go on writing to the file that it holds open, until it is told to open the log anew. So
a rotated file stays open until it was quiet for a while, or until OLD_MOST newer ones are watched.
A place holds a mark for each, so that they are found and watched again after a restart. Nobody
writes into a compressed file: it is closed at once.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from popauthd.sources.file.blocks import BlockReader, Rewritten
from popauthd.sources.file.open_file import Packed
from popauthd.sources.file.place import OLD_MOST, Mark
from popauthd.sources.file.rotation import Rotation
from popauthd.sources.gaps import Gaps

DONE_MOST = 64


@dataclass(slots=True)
class _Watched:
    """A file that is watched until a time, epoch seconds; each late write puts it off."""

    reader: BlockReader
    until: float


class OldFiles:
    """The watched files of one log, oldest first. `done`: marks of the last files that were read to their end."""

    def __init__(self, gaps: Gaps, block_bytes: int, keep_seconds: float) -> None:
        self.done: deque[Mark] = deque(maxlen=DONE_MOST)
        self._gaps = gaps
        self._block_bytes = block_bytes
        self._keep_seconds = keep_seconds
        self._watched: list[_Watched] = []
        self._saved: tuple[Mark, ...] = ()  # marks of a place, whose files are not open yet
        self._long_lines = 0  # of files that are closed

    def resume(self, saved: tuple[Mark, ...]) -> None:
        """The files to watch, by their marks in a saved place; `reopen` opens them."""
        self._saved = saved

    def reopen(self, rotation: Rotation, now: int) -> None:
        """Open the files of a saved place that are still there. Raises Unsettled: call it again then."""
        while self._saved:
            mark, *rest = self._saved
            handle = rotation.find(mark)
            if handle is not None:
                self._watch(BlockReader(handle, mark.offset, self._block_bytes, mark.skipping), now)
                self.done.append(mark)
            self._saved = tuple(rest)

    def add(self, reader: BlockReader, now: int) -> None:
        """Watch a file that was rotated and has been read to its end."""
        self.done.append(reader.mark())
        handle = reader.handle
        if isinstance(handle, Packed) and handle.damage:
            what = f"{handle.path} is damaged ({handle.damage}): the lines after the damage are lost"
            self._gaps.add(what, now)
        self._watch(reader, now)
        if handle.packed:
            self._forget(self._watched[-1], now)

    def next_block(self, now: int) -> bytes | None:
        """Lines that were written late, or None if there are none."""
        for one in list(self._watched):
            try:
                block = one.reader.next_block()
            except Rewritten:  # what is in it now was read before, or is not of this log
                one.reader.unfinished = 0
                self._forget(one, now)
                continue
            if block:
                one.until = now + self._keep_seconds
                return block
            if now >= one.until or one.reader.handle.packed:
                self._forget(one, now)
        while len(self._watched) > OLD_MOST:
            self._forget(self._watched[0], now)
        return None

    def marks(self) -> list[Mark]:
        """What a place must hold of these files."""
        return [*self._saved, *(one.reader.mark() for one in self._watched)]

    def __len__(self) -> int:
        return len(self._watched)

    @property
    def long_lines(self) -> int:
        return self._long_lines + sum(one.reader.long_lines for one in self._watched)

    def close(self) -> None:
        """Let go of all files."""
        while self._watched:
            self._watched.pop().reader.close()
        self.done.clear()

    def _watch(self, reader: BlockReader, now: int) -> None:
        self._watched.append(_Watched(reader, now + self._keep_seconds))

    def _forget(self, one: _Watched, now: int) -> None:
        reader = one.reader
        if reader.unfinished:
            what = f"the last line of {reader.handle.path} was never finished ({reader.unfinished} bytes)"
            self._gaps.add(what, now)
        self._long_lines += reader.long_lines
        self._watched.remove(one)
        reader.close()
