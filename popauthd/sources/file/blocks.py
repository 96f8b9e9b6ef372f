"""One file of a log, read in blocks of whole lines.

Only LF ends a line. An unfinished last line waits for its LF. A line longer than LINE_BYTES is
skipped and counted, in bounded memory. NULs in front of a line are the hole that a crash or a
truncation under a writer leaves; they are no part of the line.

After each read the bytes read before are looked at again: if they are not what they were, the file
has been rewritten under us (copytruncate, `> log`) and what was just read is thrown away.
"""

from __future__ import annotations

from popauthd.sources.file.open_file import Handle
from popauthd.sources.file.place import PRINT_BYTES, Mark, fingerprint

LINE_BYTES = 65536
STEPS = 64  # blocks looked at in one call when nothing in them can be handed out


class Rewritten(Exception):
    """The file no longer holds what was read from it; `mark` is the place up to which it was read."""

    def __init__(self, mark: Mark) -> None:
        super().__init__(f"{mark.path} was written anew")
        self.mark = mark


class BlockReader:
    """Reads a handle from `offset` on; closes it when it is closed itself."""

    def __init__(self, handle: Handle, offset: int, block_bytes: int, skipping: bool = False) -> None:
        self.handle = handle
        self.offset = offset
        self.skipping = skipping
        self.behind = 0
        self.long_lines = 0
        self.unfinished = 0  # bytes of the last line that has no LF yet, at the last look
        self._limit = max(block_bytes, LINE_BYTES + 1)
        self._head = handle.read(0, min(offset, PRINT_BYTES)) if offset else b""
        count = min(offset, PRINT_BYTES)
        self._tail = handle.read(offset - count, count) if offset else b""

    def next_block(self) -> bytes:
        """Whole lines, or b"" when there is none to hand out now; raises Rewritten, OSError."""
        for _ in range(STEPS):
            data = self.handle.read(self.offset, self._limit)
            if not self._intact(data):
                raise Rewritten(self.mark())
            ended = len(data) < self._limit
            self.unfinished = len(data) if ended else 0
            if not data:
                self.behind = 0
                return b""
            used, block = self._cut(data, ended)
            if not used:
                self.behind = 0
                return b""
            self._consume(data, used)
            if block:
                self.unfinished = len(data) - used if ended else 0
                # What is left after the last LF of a whole file is an unfinished line: not behind.
                last = ended and data.find(b"\n", used) < 0
                self.behind = 0 if last else self.handle.left(self.offset)
                return block
        self.behind = max(1, self.handle.left(self.offset))
        return b""

    def mark(self) -> Mark:
        """The place after all that has been handed out."""
        handle, head, tail = self.handle, self._head, self._tail
        prints = (len(head), fingerprint(head), len(tail), fingerprint(tail))
        return Mark(handle.path, handle.dev, handle.ino, self.offset, *prints, self.skipping)

    def close(self) -> None:
        self.handle.close()

    def _cut(self, data: bytes, ended: bool) -> tuple[int, bytes]:
        """How many bytes to pass over, and which of them to hand out."""
        if self.skipping:
            end = data.find(b"\n") + 1
            self.skipping = end == 0
            return end or len(data), b""
        if data[0] == 0:
            return self._hole(data, ended), b""
        end = whole_lines(data)
        if end:
            return end, data if end == len(data) else data[:end]
        if len(data) > LINE_BYTES:
            self.skipping = True
            self.long_lines += 1
            return LINE_BYTES, b""
        return 0, b""

    def _hole(self, data: bytes, ended: bool) -> int:
        """How many NULs to pass over; none while they reach to the end, where they may yet be filled."""
        nuls = len(data) - len(data.lstrip(b"\0"))
        return nuls if nuls < len(data) or not ended else 0

    def _consume(self, data: bytes, used: int) -> None:
        self.offset += used
        if len(self._head) < PRINT_BYTES:
            self._head = (self._head + data[: min(used, PRINT_BYTES)])[:PRINT_BYTES]
        last = data[max(0, used - PRINT_BYTES) : used]
        self._tail = last if len(last) == PRINT_BYTES else (self._tail + last)[-PRINT_BYTES:]
        if data[0] == 0 and used == len(data):
            beyond = self.handle.data_after(self.offset)
            if beyond > self.offset + PRINT_BYTES:
                self._tail = bytes(PRINT_BYTES)
                self.offset = beyond

    def _intact(self, data: bytes) -> bool:
        """Whether the file still is what it was before `data` was read, so that `data` is of one piece."""
        if self.handle.packed:
            return True
        head = self._head or data[:PRINT_BYTES]
        tail = self.handle.read(self.offset - len(self._tail), len(self._tail)) if self.offset else b""
        return tail == self._tail and self.handle.read(0, len(head)) == head


def whole_lines(data: bytes) -> int:
    """Length of the lines at the start of `data` that can be handed out.

    Stops before an unfinished line, one that is too long, and one with NULs in front.
    """
    stop = len(data)
    if b"\0" in data:
        hole = data.find(b"\n\0")
        stop = stop if hole < 0 else hole + 1
    position = 0
    while position < stop:
        end = data.rfind(b"\n", position, min(stop, position + LINE_BYTES + 1))
        if end < 0:
            break
        position = end + 1
    return position
