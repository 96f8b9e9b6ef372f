"""A log file as a source: followed through rotation, truncation, absence and restarts.

`read` hands out what is unread in order: the rotated files that were not read yet, then the log
itself; late writes to files that were rotated a short while ago take turns with them. At the end of
a file, the rotation is asked whether the log was rotated, and what comes next. The place that goes
with a block names the file by its content, not by its name, so a restart finds it again as `.1`,
`.7.gz` or a copy. When it is in no file any more, what was not read is a Gap, and reading begins
anew with the last window of time, which may hand out lines a second time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from popauthd.errors import SourceError
from popauthd.sources import Chunk, Gap
from popauthd.sources.file.blocks import Rewritten
from popauthd.sources.file.old_files import OldFiles
from popauthd.sources.file.place import OLD_MOST, Mark, Place, decode, encode
from popauthd.sources.file.rotation import Plan, Rotation, Snapshot, Unsettled
from popauthd.sources.file.tail import BLOCK_BYTES, Tail
from popauthd.sources.file.window import Window
from popauthd.sources.gaps import Gaps
from popauthd.status import PRESENT, FileStatus

TURNS = 2000  # empty rotated files passed in one call


@dataclass(frozen=True, slots=True)
class Start:
    """Where to begin when no file is open: at a mark, or with the last window of time.

    why_lost: how the gap begins that is told when the mark is in no file.
    """

    mark: Mark | None = None
    why_lost: str = ""


@dataclass(slots=True)
class Progress:
    """How far reading has come.

    last_read_at: when a block was handed out. at_end_at: when nothing was unread; None since reading
    began anew. late: the last block was a late write. unsettled: the log is being rotated just now,
    and what comes next cannot be told yet.
    """

    last_read_at: int | None = None
    at_end_at: int | None = None
    late: bool = False
    unsettled: bool = False


class LogFile:
    """Follows one log file; see `popauthd.sources.Source` for the methods.

    stamp: the time of a raw line without its LF, epoch seconds, or None if it has none; given the
    wall clock, for stamps that name no year. keep_old_seconds: for how long a rotated file must be
    quiet until it is given up. Raises nothing at construction.
    """

    def __init__(
        self,
        path: str,
        stamp: Callable[[bytes, int], int | None],
        *,
        clock: Callable[[], float] = time.time,
        keep_old_seconds: float = 600.0,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        self.name = path
        self._window = Window(stamp, clock)
        self._gaps = Gaps()
        self._rotation = Rotation(path, self._window.stamp)
        self._tail = Tail(path, block_bytes)
        self._old_files = OldFiles(self._gaps, block_bytes, keep_old_seconds)
        self._start = Start()
        self._progress = Progress()
        self._snapshot: Snapshot | None = None  # of the rotated files when the last plan was made

    def resume(self, place: bytes | None, oldest: int) -> None:
        self.close()
        self._window.set(oldest)
        found = None if place is None else decode(place)
        if place is not None and found is None:
            self._gap(f"the saved place in {self.name} is damaged: lines may be missing or come twice")
        self._start = Start()
        self._old_files.resume(())
        if found is not None:
            self._recall(found)

    def read(self, now: int) -> Chunk | None:
        self._window.now = now
        try:
            chunk = self._read(now)
        except OSError as error:
            # A stale or broken descriptor (network file system, failing disk): open all of it anew.
            self._reopen()
            raise SourceError(f"reading {self.name}: {error.strerror}; will be tried again") from error
        if chunk is not None:
            self._progress.last_read_at = now
        return chunk

    def take_gaps(self) -> list[Gap]:
        return self._gaps.take()

    def state(self) -> FileStatus:
        trouble, reader = self._rotation.trouble, self._tail.reader
        return FileStatus(
            self.name,
            status=PRESENT if trouble is None else trouble.kind,
            why="" if trouble is None else str(trouble),
            reading=None if reader is None else reader.handle.path,
            offset=None if reader is None else reader.offset,
            behind_bytes=self._tail.behind_bytes,
            last_read_at=self._progress.last_read_at,
            at_end_at=self._progress.at_end_at,
            old_files=len(self._old_files),
            long_lines=self._old_files.long_lines + (0 if reader is None else reader.long_lines),
        )

    def close(self) -> None:
        self._tail.drop()
        self._old_files.close()
        self._progress.at_end_at = None

    def _read(self, now: int) -> Chunk | None:
        """The next block. Late writes and the log take turns, so that neither of them has to wait for the other."""
        for _ in range(TURNS):
            if self._tail.reader is None and not self._begin(now):
                return None
            turn_of_log = self._progress.late
            block = None if turn_of_log else self._old_files.next_block(now)
            self._progress.late = block is not None
            block = block or self._log_block(now)
            if block:
                return self._chunk(block)
            if not self._go_on() and not turn_of_log:
                break
        self._settle(now)
        return None

    def _begin(self, now: int) -> bool:
        """Open what is to be read; False while there is nothing."""
        try:
            self._old_files.reopen(self._rotation, now)
            plan = self._first_plan()
        except Unsettled:
            return False
        if plan is None:
            return False
        self._start = Start()
        self._follow(plan)
        return True

    def _first_plan(self) -> Plan | None:
        """What to read first; None while there is no log. Raises Unsettled."""
        start, begins_at = self._start, self._window.begins_at
        if start.mark is not None:
            plan = self._rotation.from_mark(start.mark, begins_at)
            if plan is not None or self._rotation.trouble is not None:
                return plan  # while the log itself is away, it may come back with our place in it
            notes = "".join(f"; {note}" for note in self._rotation.unread)
            where = ", ".join(self._rotation.directories)
            self._gap(f"{start.why_lost}, and no copy of it was found in {where}: what was not read yet is lost{notes}")
            self._begin_anew(Start())
        return self._rotation.from_window(begins_at, self._old_files.done)

    def _log_block(self, now: int) -> bytes | None:
        """The next block of the log or of a rotated file before it; nothing at a file's end, or if it was rewritten."""
        try:
            block: bytes | None = next(self._tail, None)
        except Rewritten as error:
            mark = error.mark if error.mark.offset else None
            self._begin_anew(Start(mark, f"{self.name} was truncated or written anew"))
            block = None
        finally:
            for ended in self._tail.take_ended():
                self._old_files.add(ended, now)
        if self._swapped():
            self._begin_anew(Start())
            block = None
        return block

    def _swapped(self) -> bool:
        """Whether an empty log may have been filled, copied and emptied again since it was opened.

        Nothing had been read of it that could be compared, but then a rotated file is new.
        """
        reader = self._tail.reader
        if self._snapshot is None or reader is None or not (self._tail.from_start and self._tail.on_newest):
            return False
        return self._rotation.changed(reader.handle, self._snapshot)

    def _go_on(self) -> bool:
        """Whether there is more to look at, after a look that gave no block."""
        reader = self._tail.reader
        if reader is None:  # the file was rewritten: begin anew
            return True
        if reader.behind:  # there is so much to skip that it is left for the next call
            return False
        if not self._tail.on_newest:
            return True
        try:
            plan = self._rotation.after(reader, self._window.begins_at, self._old_files.done)
        except Unsettled:
            self._progress.unsettled = True
            return False
        self._progress.unsettled = False
        if plan is not None:
            self._follow(plan)
        return plan is not None

    def _follow(self, plan: Plan) -> None:
        """Read the files of a plan, after the one at hand if there is one."""
        for what in plan.gaps:
            self._gap(what)
        self._snapshot = plan.snapshot
        self._tail.add(plan.handles, plan.offset, plan.skipping)

    def _begin_anew(self, start: Start) -> None:
        """Let go of the log, so that the next look opens it again from this start."""
        self._tail.drop()
        self._start = start
        self._progress.at_end_at = None

    def _reopen(self) -> None:
        """Let go of all files, so that the next look opens them again at the same places."""
        place = self._place()
        self.close()
        if place is not None:
            self._recall(place)

    def _recall(self, place: Place) -> None:
        """Go on at a place. A file that was empty cannot be recognised: then begin with the window."""
        known = all(mark.offset for mark in (place.at, *place.old))
        self._start = Start(place.at if known else None, f"{self.name} went on elsewhere while nothing read it")
        self._old_files.resume(tuple(mark for mark in place.old if mark.offset))
        self._rotation.trusted = (place.linked, place.owner)

    def _chunk(self, block: bytes) -> Chunk:
        place = self._place()
        assert place is not None
        return Chunk(block, encode(place), self._progress.at_end_at, self._tail.behind_bytes)

    def _place(self) -> Place | None:
        """The place after what was handed out; None before the first file was opened."""
        reader = self._tail.reader
        if reader is None:
            return None
        return Place(reader.mark(), tuple(self._old_files.marks()[-OLD_MOST:]), *self._rotation.trusted)

    def _settle(self, now: int) -> None:
        """No block was found: remember that nothing was unread at this time, if that is certain."""
        trouble = self._rotation.trouble
        unreadable = trouble is not None and trouble.kind != "missing"  # there may be lines in it
        if not unreadable and not self._progress.unsettled and self._tail.behind_bytes == 0:
            self._progress.at_end_at = now

    def _gap(self, what: str) -> None:
        self._gaps.add(what, self._window.now)
