"""The systemd journal as a source: followed by cursor through rotation, vacuuming and restarts.

The blocks are lines in the shape of `journalctl -o json` (see `journal_json`). A record is chosen by
its SYSLOG_IDENTIFIER, which anybody can forge, and nothing more: whether it is Dovecot's is for the
recogniser to say, by the fields that journald adds, so that a forged record is seen and counted.

The place is the cursor of the last record and its time. When that record is gone (vacuumed, or a
cursor that the library refuses), reading begins anew with the last window of time, which may hand
out records twice; if the journal begins later than what was read and than the window, that is a
Gap. So is a notice by journald itself that it dropped messages of Dovecot's unit.

LIMIT: a start without a place looks for the window by time, and the library bisects each file as if
its times only grew: logins logged just before the wall clock was set back may be missed then.
"""

from __future__ import annotations

import errno
import select
import time
from collections import deque
from collections.abc import Callable, Sequence

from popauthd.errors import SourceError
from popauthd.formats.journal_fields import UNIT
from popauthd.sources import Chunk, Gap
from popauthd.sources.journal import reader as opening
from popauthd.sources.journal.json_lines import line
from popauthd.sources.journal.place import MICRO, Place, decode, encode, utc
from popauthd.sources.journal.reader import Reader, Record

GAPS_MOST = 100  # kept until they are taken
DAMAGED_MOST = 100  # in a row, before the journal is opened anew
# SD_MESSAGE_JOURNAL_DROPPED in systemd/sd-messages.h. Only journald itself can write with _TRANSPORT=driver.
DROPPED = "a596d6fe7bfa4994828e72309e95d61e"


class JournalSource:
    """Follows Dovecot in the journal; see `popauthd.sources.Source` for the methods.

    programs: the syslog identifiers. path: a directory of journal files, "" for the machine's
    journal. unit: whose dropped messages are a Gap. Raises ConfigError if python3-systemd is missing.
    """

    def __init__(
        self,
        programs: Sequence[str] = ("dovecot",),
        *,
        path: str = "",
        unit: str = UNIT,
        clock: Callable[[], float] = time.time,
        block_bytes: int = 262144,
    ) -> None:
        opening.library()
        self.name = path or "journal"
        self._path = path
        self._matches = (
            [f"SYSLOG_IDENTIFIER={name}" for name in programs],
            [f"MESSAGE_ID={DROPPED}", "_TRANSPORT=driver"],
        )
        self._dropped_from = b" from " + unit.encode()
        self._clock = clock
        self._block_bytes = block_bytes
        self._waker = select.epoll()
        self._reader: Reader | None = None
        self._survey = opening.Survey("missing", "not looked at yet")
        self._identity: tuple[opening.Identity, ...] = ()
        self._files: frozenset[int] = frozenset()
        self._place: Place | None = None
        self._now = int(clock())
        self._oldest, self._oldest_at = 0, self._now
        self._sure = 0  # microseconds: what is older was read, as of the last look at the files
        self._at_end: int | None = None
        self._last_read: int | None = None
        self._dropped = 0
        self._gaps: deque[Gap] = deque(maxlen=GAPS_MOST)

    def resume(self, place: bytes | None, oldest: int) -> None:
        self._drop()
        if self._waker.closed:
            self._waker = select.epoll()
        self._oldest, self._oldest_at = oldest, int(self._clock())
        self._place = None if place is None else decode(place)
        if place is not None and self._place is None:
            self._gap(f"the saved place in the {self._title} is damaged: lines may be missing or come twice")

    def read(self, now: int) -> Chunk | None:
        self._now = now
        try:
            if self._at_end is not None and self._at_end != now and self._moved():
                self._drop()
            reader = self._reader or self._open()
            return None if reader is None else self._read(reader)
        except OSError as error:
            self._drop()
            raise SourceError(f"reading the {self._title}: {error.strerror or error}; will be tried again") from error

    def take_gaps(self) -> list[Gap]:
        gaps = list(self._gaps)
        self._gaps.clear()
        return gaps

    def state(self) -> dict[str, str | int | None]:
        last = self._last_at // MICRO or None
        behind = None if last is None or self._reader is None else max(0, self._now - last)
        return {
            "path": self.name,
            "status": self._survey.status,
            "why": self._survey.why,
            "behind_seconds": behind if self._at_end is None else 0,
            "last_record_at": last,
            "last_read_at": self._last_read,
            "at_end_at": self._at_end,
            "dropped_messages": self._dropped,
        }

    def close(self) -> None:
        self._drop()
        self._waker.close()

    def fileno(self) -> int | None:
        """A descriptor that becomes readable when the journal changed; the same until `close`.

        LIMIT: late by a quarter of a second or more (POST_CHANGE_TIMER_INTERVAL_USEC in systemd's
        journal-file.h), though what was written can be read at once: who is in a hurry reads more often.
        """
        return None if self._waker.closed else self._waker.fileno()

    def process(self) -> None:
        """Take what made the descriptor readable; call `read` afterwards."""
        # What changed is for `read` to find out.
        self._waker.poll(0)

    @property
    def _last_at(self) -> int:
        return 0 if self._place is None else self._place.at

    @property
    def _title(self) -> str:
        return f"journal in {self._path}" if self._path else "journal"

    def _drop(self) -> None:
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        self._at_end = None

    def _moved(self) -> bool:
        """Whether a directory came, went or was replaced, which the library does not notice itself."""
        return opening.identity(self._path) != self._identity

    def _open(self) -> Reader | None:
        """Open and go to the place; None while there is nothing that can be read."""
        self._identity = opening.identity(self._path)
        self._files = opening.files(self._path)
        self._survey = opening.survey(self._path)
        if self._survey.status != "present":
            return None
        reader = opening.open_reader(self._path, self._matches)
        try:
            # Edge-triggered: a daemon that cannot read on now must not be woken for the same change again.
            self._waker.register(reader.fileno(), select.EPOLLIN | select.EPOLLET)
            self._seek(reader)
        except BaseException:
            reader.close()
            raise
        self._reader = reader
        return reader

    def _seek(self, reader: Reader) -> None:
        window = self._window()
        if self._place is None:
            reader.seek_realtime(window)
        elif not _stands_at(reader, self._place.cursor):
            if begins := self._begins_after(max(self._place.at, window)):
                self._gap(self._lost(self._place.at, begins))
            # Not the place alone: its time may be one that the wall clock was set back from since.
            reader.seek_realtime(min(self._place.at, window))
        self._sure = max(self._last_at, window)

    def _begins_after(self, sure: int) -> int:
        """The time of the first record there is if that is later than `sure`, else 0; in microseconds.

        Without any record it is now, or just after `sure`: all that was written after that is gone.
        """
        begins = opening.begins_at(self._path)
        if begins is None:
            return max(self._now * MICRO, sure + 1)
        return begins if begins > sure else 0

    def _lost(self, after: int, before: int) -> str:
        return (
            f"the {self._title} was vacuumed or replaced: what was logged after {utc(after)} and before "
            f"{utc(before)} may be lost"
        )

    def _window(self) -> int:
        """Microseconds: what is older can grant nothing any more."""
        return max(0, self._oldest + max(0, self._now - self._oldest_at)) * MICRO

    def _read(self, reader: Reader) -> Chunk | None:
        lines: list[bytes] = []
        size = 0
        at_end = False
        self._changed(reader)
        while size < self._block_bytes and not at_end:
            record = self._next(reader) or (self._changed(reader) and self._next(reader))
            if record:
                lines.append(self._line(record))
                size += len(lines[-1])
            else:
                at_end = True
        chunk = None
        if size and self._place is not None:
            self._last_read = self._now
            chunk = Chunk(b"".join(lines), encode(self._place), self._at_end, 0 if at_end else 1)
        self._at_end = self._now if at_end else None
        if at_end:
            self._sure = max(self._last_at, self._now * MICRO)
        else:
            self._changed(reader)
        return chunk

    def _changed(self, reader: Reader) -> bool:
        """Let the library look for files that came or went; whether there may be more to read."""
        change = reader.process()
        if change != opening.NOP:
            # Vacuuming empties a file even while it is open (unlinkat_deallocate in systemd), and the library
            # passes it over without a word. Either sign may be missing: process() does not count a file that
            # was dropped while reading, and an inode may be used again at once.
            files, self._files = self._files, opening.files(self._path)
            gone = change == opening.INVALIDATE or files - self._files
            if gone and (begins := self._begins_after(self._sure)):
                self._gap(self._lost(self._sure, begins))
        self._sure = max(self._sure, self._last_at)
        return change != opening.NOP

    def _next(self, reader: Reader) -> Record:
        """The next record, empty at the end. One that is damaged is passed over, and a Gap."""
        for _ in range(DAMAGED_MOST):
            try:
                return reader.get_next()
            except (OSError, ValueError) as error:  # ValueError: a field's name is no text
                # The reader stands at it, so the next call gives the one that follows.
                self._gap(f"a damaged record in the {self._title} was passed over: {error}")
        raise OSError(errno.EBADMSG, f"{DAMAGED_MOST} damaged records in a row")

    def _line(self, record: Record) -> bytes:
        self._place = Place(record["__CURSOR"], int(record["__REALTIME_TIMESTAMP"]))
        if record.get("MESSAGE_ID") == DROPPED.encode() and record.get("_TRANSPORT") == b"driver":
            return self._note_dropped(record)
        return line(record)

    def _note_dropped(self, record: Record) -> bytes:
        """Tell what journald dropped. Other units' notices are no lines of this source."""
        message = record.get("MESSAGE")
        if not isinstance(message, bytes) or not message.endswith(self._dropped_from):
            return b""
        count = record.get("N_DROPPED", "")
        number = int(count) if isinstance(count, str) and count.isascii() and count.isdigit() else 0
        self._dropped += number
        unit = self._dropped_from.decode().removeprefix(" from ")
        self._gap(
            f"journald dropped {number or 'some'} messages of {unit} before {utc(self._last_at)} (its rate limit): "
            f"logins may be among them; set LogRateLimitIntervalSec=0 with systemctl edit {unit}"
        )
        return line(record)

    def _gap(self, what: str) -> None:
        self._gaps.append(Gap(what, self._now))


def _stands_at(reader: Reader, cursor: str) -> bool:
    """Go to the record of the cursor; False, and nowhere in particular, if it is not there any more."""
    try:
        reader.seek_cursor(cursor)
        # A cursor whose record was vacuumed lands on the next one, which is new.
        return bool(reader.get_next()) and reader.test_cursor(cursor)
    except ValueError:
        return False
