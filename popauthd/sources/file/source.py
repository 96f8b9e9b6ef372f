"""A log file as a source: followed through rotation, truncation, absence and restarts.

`read` hands out what is unread in order: late writes to files that were rotated a short while ago,
the rotated siblings that were not read yet, then the log itself. The place it gives names the file
by its content, not by its name, so a restart finds it again as `.1`, `.7.gz` or a copy. When it is
in no file any more, what was not read is a Gap, and reading begins anew with the last window of
time, which may hand out lines a second time.

The clock only tells when a rotated file has been quiet long enough (`keep_old_seconds`).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from popauthd.errors import SourceError
from popauthd.sources import Chunk, Gap
from popauthd.sources.file.blocks import Reader, Rewritten
from popauthd.sources.file.open_file import Packed
from popauthd.sources.file.place import OLD_MOST, Mark, Place, decode, encode
from popauthd.sources.file.rotation import Plan, Shelf, Unsettled
from popauthd.sources.file.tail import Tail

MARGIN_SECONDS = 60  # how far the lines of a log may be out of order
GAPS_MOST = 100  # kept until they are taken
TURNS = 2000  # empty rotated files passed in one call
DONE_MOST = 64


class LogFile:
    """Follows one log file; see `popauthd.sources.Source` for the methods.

    stamp: the time of a raw line without its LF, epoch seconds, or None if it has none; given the
    wall clock, for stamps that name no year. Raises nothing at construction.
    """

    def __init__(
        self,
        path: str,
        stamp: Callable[[bytes, int], int | None],
        *,
        clock: Callable[[], float] = time.time,
        keep_old_seconds: float = 600.0,
        block_bytes: int = 262144,
    ) -> None:
        self.name = path
        self._clock = clock
        self._keep_old_seconds = keep_old_seconds
        self._block_bytes = block_bytes
        self._shelf = Shelf(path, lambda line: stamp(line, self._now), self._guess)
        self._tail = Tail(self._shelf, block_bytes, self._after, self._retire)
        self._now = int(clock())
        self._oldest, self._oldest_at = 0, self._now
        self._mark: Mark | None = None  # where to go on; None: at the last window
        self._old_marks: tuple[Mark, ...] = ()
        self._why_lost = ""
        self._old: list[Reader] = []
        self._old_last = False
        self._done: deque[Mark] = deque(maxlen=DONE_MOST)
        self._gaps: deque[Gap] = deque(maxlen=GAPS_MOST)
        self._at_end: int | None = None
        self._last_read: int | None = None
        self._long_lines = 0

    def resume(self, place: bytes | None, oldest: int) -> None:
        self.close()
        self._oldest, self._oldest_at = oldest, int(self._clock())
        found = None if place is None else decode(place)
        if place is not None and found is None:
            self._gap(f"the saved place in {self.name} is damaged: lines may be missing or come twice")
        self._mark, self._old_marks = None, ()
        if found is not None:
            self._recall(found)
        self._why_lost = f"{self.name} went on elsewhere while nothing read it"

    def read(self, now: int) -> Chunk | None:
        self._now = now
        try:
            chunk = self._read(now)
        except OSError as error:
            # A stale or broken descriptor (network file system, failing disk): open all of it anew.
            self._restart()
            raise SourceError(f"reading {self.name}: {error.strerror}; will be tried again") from error
        if chunk is not None:
            self._last_read = now
        return chunk

    def take_gaps(self) -> list[Gap]:
        gaps = list(self._gaps)
        self._gaps.clear()
        return gaps

    def state(self) -> dict[str, str | int | None]:
        trouble, reader = self._shelf.trouble, self._tail.reader
        return {
            "path": self.name,
            "status": "present" if trouble is None else trouble.kind,
            "why": "" if trouble is None else str(trouble),
            "reading": None if reader is None else reader.handle.path,
            "offset": None if reader is None else reader.offset,
            "behind_bytes": self._behind(reader),
            "last_read_at": self._last_read,
            "at_end_at": self._at_end,
            "old_files": len(self._old),
            "long_lines": self._long_lines + sum(one.long_lines for one in self._readers()),
        }

    def close(self) -> None:
        self._tail.drop()
        while self._old:
            self._old.pop().close()
        self._done.clear()
        self._at_end = None

    def _read(self, now: int) -> Chunk | None:
        for _ in range(TURNS):
            if not self._tail.begun and not self._begin():
                return None
            turn, self._old_last = self._old_last, False  # in turns, so that neither starves
            block = None if turn else self._old_block()
            self._old_last = block is not None
            block = block or next(self._tail, None)
            self._take_tail_gaps()
            if block:
                return self._chunk(block)
            if self._tail.lost is not None:
                self._rewritten(self._tail.lost)
            elif not turn and self._tail.rotated_logfile is None:
                break
        self._settle(now)
        return None

    def _begin(self) -> bool:
        """Open what is to be read; False while there is nothing."""
        try:
            self._reopen_old()
            plan = self._plan()
        except Unsettled:
            return False
        if plan is None:
            return False
        self._mark = None
        self._tail.begin(plan)
        return True

    def _plan(self) -> Plan | None:
        if self._mark is None:
            return self._shelf.from_window(self._target(), self._done)
        plan = self._shelf.from_mark(self._mark, self._target())
        if plan is not None or self._shelf.trouble is not None:
            return plan  # while the log itself is away, it may come back with our place in it
        notes = "".join(f"; {note}" for note in self._shelf.unread)
        self._gap(f"{self._why_lost}, and no copy of it was found: what was not read yet is lost{notes}")
        self._mark = self._at_end = None
        return self._shelf.from_window(self._target(), self._done)

    def _reopen_old(self) -> None:
        """Files that were watched for late writes when the place was saved."""
        while self._old_marks:
            mark, *rest = self._old_marks
            handle = self._shelf.find(mark)
            if handle is not None:
                reader = Reader(handle, mark.offset, self._block_bytes, mark.skipping)
                reader.until = self._clock() + self._keep_old_seconds
                self._old.append(reader)
                self._done.append(mark)
            self._old_marks = tuple(rest)

    def _rewritten(self, mark: Mark) -> None:
        self._tail.drop()
        self._mark = mark if mark.offset else None
        self._at_end = None
        self._why_lost = f"{self.name} was truncated or written anew"

    def _restart(self) -> None:
        place = self._place()
        self.close()
        if place is not None:
            self._recall(place)

    def _recall(self, place: Place) -> None:
        """Go on at a place; where a file was empty it cannot be known again, and the window is read."""
        marks = (place.at, *place.old)
        self._mark = place.at if all(mark.offset for mark in marks) else None
        self._old_marks = tuple(mark for mark in place.old if mark.offset)
        self._shelf.trusted = (place.linked, place.owner)

    def _after(self, reader: Reader) -> Plan | None:
        return self._shelf.after(reader, self._target(), self._done)

    def _retire(self, reader: Reader) -> None:
        """A rotated file is at its end: look for late writes for a while."""
        self._done.append(reader.mark())
        handle = reader.handle
        if isinstance(handle, Packed) and handle.damage:
            self._gap(f"{handle.path} is damaged ({handle.damage}): the lines after the damage are lost")
        reader.until = self._clock() + self._keep_old_seconds
        self._old.append(reader)
        if handle.packed:
            self._forget(reader)

    def _old_block(self) -> bytes | None:
        """Late writes to a file that was rotated; None if there are none."""
        for reader in list(self._old):
            try:
                block = reader.next_block()
            except Rewritten:
                reader.unfinished = 0
                self._forget(reader)
                continue
            if block:
                reader.until = self._clock() + self._keep_old_seconds
                return block
            if self._clock() >= reader.until or reader.handle.packed:
                self._forget(reader)
        while len(self._old) > OLD_MOST:
            self._forget(self._old[0])
        return None

    def _forget(self, reader: Reader) -> None:
        if reader.unfinished:
            size = reader.unfinished
            self._gap(f"the last line of {reader.handle.path} was never finished ({size} bytes)")
        self._long_lines += reader.long_lines
        self._old.remove(reader)
        reader.close()

    def _chunk(self, block: bytes) -> Chunk:
        place = self._place()
        assert place is not None
        return Chunk(block, encode(place), self._at_end, self._behind(self._tail.reader))

    def _settle(self, now: int) -> None:
        """Nothing is unread: remember when, unless there may be lines that we are not let see."""
        trouble = self._shelf.trouble
        hidden = trouble is not None and trouble.kind != "missing"
        if not hidden and not self._tail.waiting and self._behind(self._tail.reader) == 0:
            self._at_end = now

    def _place(self) -> Place | None:
        """Where we stand; None before the first file was opened."""
        reader = self._tail.reader
        if reader is None:
            return None
        old = [*self._old_marks, *(one.mark() for one in self._old)]
        return Place(reader.mark(), tuple(old[-OLD_MOST:]), *self._shelf.trusted)

    def _behind(self, reader: Reader | None) -> int:
        return (0 if reader is None else reader.behind) + self._tail.queued_bytes

    def _readers(self) -> list[Reader]:
        reader = self._tail.reader
        return [*self._old, *([] if reader is None else [reader])]

    def _target(self) -> int:
        return self._oldest + max(0, self._now - self._oldest_at) - MARGIN_SECONDS

    def _take_tail_gaps(self) -> None:
        for what in self._tail.gaps:
            self._gap(what)
        self._tail.gaps.clear()

    def _guess(self) -> str | None:
        return self._tail.guess()

    def _gap(self, what: str) -> None:
        self._gaps.append(Gap(what, self._now))
