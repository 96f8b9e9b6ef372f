"""Where log lines come from: what a log file and the journal have in common.

A source hands out chunks, of whole lines or of journal records, and with each chunk the place that follows it.
The caller saves that place in the same transaction as what it learnt from the chunk; after a restart
it gives the place back and the source goes on there. A chunk may come twice, never not at all:
what cannot be handed out because no copy of it is left is told as a Gap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from popauthd.status import FileStatus, JournalStatus


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a source read at once, and what is known about it: whole lines of a file, or records of the journal.

    block: the lines, each with its LF; b"" where there are records. records: their fields, in order; () where
    there are lines. place: opaque bytes for `Source.resume`, at most a few KiB.
    written_after: epoch seconds at which the source last stood at the end of the log, so that every
    line or record here was written after it; None while it catches up. behind_bytes: unread bytes known to
    remain after this block, 0 at the end.
    """

    block: bytes
    place: bytes
    written_after: int | None
    behind_bytes: int
    records: tuple[Mapping[str, object], ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """Lines that are lost, or may be, because no copy is left: a sentence for the administrator."""

    what: str
    at: int


class Source(Protocol):
    """One log that is followed. Used from one thread."""

    name: str

    def resume(self, place: bytes | None, oldest: int) -> None:
        """Go on at a place saved earlier, or, without one, at the first line stamped `oldest` or later.

        A place that cannot be read counts as none, and as a Gap. Never raises.
        """

    def read(self, now: int) -> Chunk | None:
        """The next chunk, or None when no whole line or record is unread.

        Raises SourceError when the system refuses to read; the source goes on by itself at the next
        call. A log that is missing, unreadable or refused is None, and told by `state`.
        """

    def take_gaps(self) -> list[Gap]:
        """The gaps found since the last call."""

    def state(self) -> FileStatus | JournalStatus:
        """How this source is, for `popauthctl status`."""

    def close(self) -> None:
        """Let go of all files. The source can be resumed again."""


@runtime_checkable
class Waking(Protocol):
    """A source that has a descriptor of its own to wait for. That may be readable late: it is asked in between."""

    def fileno(self) -> int | None:
        """Becomes readable when there may be something to read; the same until `close`. None: poll."""

    def process(self) -> None:
        """Take the readiness away; call `read` afterwards."""

    def unread(self) -> bool:
        """Whether `read` would find something: it is asked often, so it costs little. Never raises."""
