"""The files of one log in order of time: the log itself and its rotated siblings.

Answers with a plan: which files to read, oldest first, and where to begin in the first.
- `after`: the file at hand is at its end. If the log's name means another file now, what comes next?
- `from_mark`: where is the file of a saved place now, and which files are newer?
- `from_window`: there is no place; which files hold lines that are young enough?

Files are opened while planning, the log before its siblings are listed. So a file that is rotated in
between is neither missed nor planned twice, and one that is made later is found by the next plan.
If the log was rotated twice in between, a sibling is newer than what was opened as the log. Such a
look raises Unsettled: a saved place names one file, and a file older than it counts as read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from popauthd.sources.file import find_start, logrotate
from popauthd.sources.file.blocks import BlockReader
from popauthd.sources.file.open_file import Handle, Trouble, followed, open_file, trouble
from popauthd.sources.file.place import Mark, matches
from popauthd.sources.file.siblings import Sibling, settled
from popauthd.sources.file.tail import rotated_name

SKIP_ABOVE_BYTES = 64 << 20  # unread: less than that is read whole, more only from the last window on
UNSTAMPED_MOST = 3  # rotated files read whole because no line of theirs has a stamp
Snapshot = frozenset[tuple[int, int, int]]  # of files: inode, size, time of the last change


class Unsettled(Exception):
    """The files are being renamed just now, so their order cannot be told: try again."""


@dataclass(slots=True)
class Plan:
    """Open files to read, oldest first; `offset` is for the first one. gaps: what is known to be lost.

    snapshot: of the rotated files when the plan was made, None if nobody looked at them.
    """

    handles: list[Handle]
    offset: int = 0
    skipping: bool = False
    gaps: list[str] = field(default_factory=list)
    snapshot: Snapshot | None = None


class Rotation:
    """Finds the files of the log at `path`. `trouble`: why the log itself cannot be opened, or None."""

    def __init__(
        self,
        path: str,
        stamp: find_start.Stamp,
        old_directories: Callable[[str], tuple[str, ...]] = logrotate.old_directories,
    ) -> None:
        self.path = path
        self._old_directories = old_directories
        self._elsewhere: tuple[str, ...] = ()  # directories with rotated files, as of the last plan
        self.trouble: Trouble | None = Trouble("missing", f"{path} was not looked for yet")
        self.unread: list[str] = []  # files in which a mark could not be looked for, the last time
        self._stamp = stamp
        linked = _linked(path)
        # Whether to follow a link, and to files of which user (-1: of the first that turns up).
        self.trusted = (linked, _owner(path) if linked else -1)

    def moved(self, handle: Handle) -> bool:
        """Whether the log's name now stands for another file than the one that is open."""
        try:
            info = Path(self.path).stat(follow_symlinks=self.trusted[0])
        except OSError as error:
            self.trouble = trouble(self.path, error)
            return False
        if (info.st_dev, info.st_ino) == (handle.dev, handle.ino):
            self.trouble = None
            return False
        return True

    @property
    def directories(self) -> tuple[str, ...]:
        """Where rotated files were looked for, the last time."""
        return (str(Path(self.path).parent), *self._elsewhere)

    def changed(self, handle: Handle, snapshot: Snapshot) -> bool:
        """Whether a rotated file that is older than this one is new since the snapshot, or may be."""
        found = settled(self.path, rotated_name(self.path), self._elsewhere)
        if found is None:
            return True
        place = [(one.dev, one.ino) == (handle.dev, handle.ino) for one in found]
        return bool(_snapshot(found[place.index(True) + 1 :] if True in place else found) - snapshot)

    def from_mark(self, mark: Mark, target: int) -> Plan | None:
        """Go on at a mark, wherever its file is now; None if it is nowhere. Raises Unsettled.

        Much unread is cut down to the lines stamped `target` or later.
        """
        with _Opened() as opened:
            live = self._live(opened)
            if live is not None and mark.offset and matches(live, mark):
                return opened.plan([live], self._ahead(live, mark.offset, target), mark.skipping)
            newer: list[Handle] = []
            notes: list[str] = []
            siblings = self._siblings(opened, live, mark.path)
            for one in siblings:
                handle = opened.add(one.path, one, notes)
                if handle is None:
                    continue
                if matches(handle, mark):
                    notes += _missing(self.path, one, opened.numbers)
                    offset = self._ahead(handle, mark.offset, target)
                    chain = [handle, *reversed(newer), *([live] if live else [])]
                    return opened.plan(chain, offset, mark.skipping, notes)
                newer.append(handle)
        self.unread = notes
        return None

    def from_window(self, target: int, done: Iterable[Mark]) -> Plan | None:
        """Begin at the first line stamped `target` or later; None while there is no file at all."""
        with _Opened() as opened:
            notes: list[str] = []
            live = self._live(opened)
            chain: list[Handle] = []
            unstamped = 0
            if live is not None:
                chain = [live]
                first = find_start.first_stamp(live, self._stamp)
                if first is not None and first < target:
                    return opened.plan(chain, self._since(live, target))
            for one in self._siblings(opened, live, None):
                handle = opened.add(one.path, one, notes)
                if handle is None or any(mark.offset and matches(handle, mark) for mark in done):
                    continue
                first = find_start.first_stamp(handle, self._stamp)
                chain.insert(0, handle)
                if first is None and handle.read(0, 1):
                    unstamped += 1
                    if unstamped == UNSTAMPED_MOST:
                        break
                if first is not None and first < target:
                    return opened.plan(chain, self._since(handle, target), gaps=notes)
            return opened.plan(chain, gaps=notes) if chain else None

    def after(self, reader: BlockReader, target: int, done: Iterable[Mark]) -> Plan | None:
        """What comes after a file that is no longer the log; None while it is. Raises Unsettled."""
        held = reader.handle
        if not self.moved(held):
            return None
        with _Opened() as opened:
            live = self._live(opened)
            if live is None or (live.dev, live.ino) == (held.dev, held.ino):
                return None
            siblings = self._siblings(opened, live, held.path)
            same = next((one for one in siblings if (one.dev, one.ino) == (held.dev, held.ino)), None)
            notes: list[str] = []
            newer: list[Handle] = []
            for one in siblings:
                if one is same:
                    break
                handle = opened.add(one.path, one, notes)
                if handle is None:
                    continue
                if same is None and reader.offset and matches(handle, reader.mark()):
                    same = one
                    break
                newer.append(handle)
            if same is not None:
                notes += _missing(self.path, same, opened.numbers)
                return opened.plan([*reversed(newer), live], gaps=notes)
        # Gone (removed, or moved to a directory that nothing names): take what is young and not yet read.
        return self.from_window(target, [*done, reader.mark()])

    def find(self, mark: Mark) -> Handle | None:
        """The file a mark was made in, or None. Raises Unsettled."""
        with _Opened() as opened:
            for one in self._siblings(opened, None, mark.path):
                handle = opened.add(one.path, one, [])
                if handle is not None and matches(handle, mark):
                    return opened.plan([handle]).handles[0]
        return None

    def _live(self, opened: _Opened) -> Handle | None:
        """The log itself, opened; None, and `trouble`, if that cannot be."""
        linked, owner = self.trusted
        try:
            real = followed(self.path, owner) if linked else self.path
            handle = opened.keep(open_file(real))
        except Trouble as error:
            self.trouble = error
            return None
        self.trouble = None
        if linked and owner < 0:
            self.trusted = (linked, _owner(real))
        return handle

    def _siblings(self, opened: _Opened, live: Handle | None, also: str | None) -> list[Sibling]:
        """Newest first, without the log itself. `also`: a name that is looked at last, or None. Raises Unsettled."""
        self._elsewhere = self._old_directories(self.path)
        found = settled(self.path, rotated_name(self.path), self._elsewhere)
        if found is None or (live is not None and self._overtaken(live, found)):
            raise Unsettled
        opened.snapshot = _snapshot(found)
        if also is not None and also not in (self.path, *(one.path for one in found)):
            found += settled(also, also) or []
        opened.numbers = {one.number for one in found}
        return [one for one in found if live is None or (one.dev, one.ino) != (live.dev, live.ino)]

    def _overtaken(self, live: Handle, found: list[Sibling]) -> bool:
        """Whether the file that was opened as the log was rotated since, and then the file that followed it too.

        A log that still has its name is the newest, even if it is listed: it is a link to a name that is.
        """
        place = [(one.dev, one.ino) == (live.dev, live.ino) for one in found]
        if True not in place[1:] or place[0]:
            return False
        return self.moved(live) or self.trouble is not None

    def _ahead(self, handle: Handle, offset: int, target: int) -> int:
        """Where to go on in a file that was read up to `offset`."""
        if handle.packed or handle.left(offset) < SKIP_ABOVE_BYTES:
            return offset
        return find_start.first_since(handle, offset + handle.left(offset), self._stamp, target, offset)

    def _since(self, handle: Handle, target: int) -> int:
        """Where the window begins in a file.

        LIMIT: a compressed file is read from its start; what is too old grants nothing.
        """
        if handle.packed:
            return 0
        return find_start.first_since(handle, handle.left(0), self._stamp, target)


class _Opened:
    """Files opened while planning; closed at the end unless the plan took them."""

    def __init__(self) -> None:
        self.snapshot: Snapshot | None = None
        self.numbers: set[int | None] = set()  # of all rotated files that are there
        self._handles: list[Handle] = []

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.close()

    def keep(self, handle: Handle) -> Handle:
        self._handles.append(handle)
        return handle

    def add(self, path: str, listed: Sibling, notes: list[str]) -> Handle | None:
        """Open a sibling; a note if that cannot be. Raises Unsettled if it is another file by now."""
        try:
            handle = self.keep(open_file(path))
        except Trouble as error:
            if error.kind == "missing":
                raise Unsettled from error
            notes.append(f"{error}; the lines in it are not read")
            return None
        if (handle.dev, handle.ino) != (listed.dev, listed.ino):
            raise Unsettled
        return handle

    def plan(
        self, handles: list[Handle], offset: int = 0, skipping: bool = False, gaps: list[str] | None = None
    ) -> Plan:
        self._handles = [one for one in self._handles if all(one is not taken for taken in handles)]
        return Plan(handles, offset, skipping, gaps or [], self.snapshot)


def _missing(path: str, last: Sibling, there: set[int | None]) -> list[str]:
    """A gap for each number that should stand between the log and `last` and does not."""
    if last.number is None:
        return []
    return [
        f"{path}.{number} is not there: it was removed before it was read"
        for number in range(0 if 0 in there else 1, last.number)
        if number not in there
    ]


def _snapshot(siblings: list[Sibling]) -> Snapshot:
    return frozenset((one.ino, one.bytes, one.changed_ns) for one in siblings)


def _linked(path: str) -> bool:
    try:
        return Path(path).is_symlink()
    except OSError:  # no permission: not followed, should it turn out to be one
        return False


def _owner(path: str) -> int:
    try:
        return Path(path).stat().st_uid
    except OSError:
        return -1
