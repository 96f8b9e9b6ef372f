"""The systemd journal as a source: followed by cursor through rotation, vacuuming and restarts.

Records are handed over by their fields (fields.py). A record is chosen by its SYSLOG_IDENTIFIER, which
anybody can forge, and nothing more: whether it is Dovecot's is for the recogniser to say, by the fields
that journald adds (formats/journal_fields.py), so that a forged record is seen and counted.

The place is the cursor of the last record and its time. When that record is gone (vacuumed, or a
cursor that the library refuses), reading begins anew with the last window of time (start.py), which may
hand out records twice; if the journal begins later than what was read and than the window, that is a
Gap (vacuumed.py). So is a notice by journald itself that it dropped messages of Dovecot's unit (suppressed.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from popauthd.errors import SourceError
from popauthd.formats.journal_fields import UNIT, Fields
from popauthd.sources import Chunk, Gap
from popauthd.sources.journal import reader as opening
from popauthd.sources.journal.connection import Connection
from popauthd.sources.journal.fields import chosen, size
from popauthd.sources.journal.gaps import Gaps
from popauthd.sources.journal.place import MICRO, LastRecord, decode, encode
from popauthd.sources.journal.reader import RawRecord, Reader
from popauthd.sources.journal.start import Window, seek
from popauthd.sources.journal.suppressed import NOTICES, Suppressed, is_notice
from popauthd.sources.journal.vacuumed import Vacuumed
from popauthd.status import JournalStatus


@dataclass(slots=True)
class Progress:
    """How far reading has come.

    last: the last record that was read. at_end_at: when the source last stood at the end, in epoch seconds; None
    while it catches up. last_read_at: when records were last handed out.
    """

    last: LastRecord | None = None
    at_end_at: int | None = None
    last_read_at: int | None = None

    @property
    def last_at(self) -> int:
        """The time of the last record in microseconds; 0 if there is none."""
        return 0 if self.last is None else self.last.at


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
        self._block_bytes = block_bytes
        self._window = Window(clock)
        self._progress = Progress()
        self._gaps = Gaps(int(clock()))
        self._connection = Connection(path, ([f"SYSLOG_IDENTIFIER={name}" for name in programs], NOTICES), self._gaps)
        self._suppressed = Suppressed(unit, self._gaps)
        self._vacuumed = Vacuumed(path, self._connection.title, self._gaps)
        self._ahead: RawRecord = {}  # the next record, if it was looked for already

    def resume(self, place: bytes | None, oldest: int) -> None:
        self._disconnect()
        self._connection.wake.open_again()
        self._window.set(oldest)
        self._progress.last = None if place is None else decode(place)
        if place is not None and self._progress.last is None:
            title = self._connection.title
            self._gaps.note(f"the saved place in the {title} is damaged: lines may be missing or come twice")

    def read(self, now: int) -> Chunk | None:
        self._gaps.now = now
        try:
            if self._progress.at_end_at not in (None, now) and self._connection.moved():
                self._disconnect()
            reader = self._connection.reader or self._connect(now)
            return None if reader is None else self._read(reader, now)
        except OSError as error:
            self._disconnect()
            title = self._connection.title
            raise SourceError(f"reading the {title}: {error.strerror or error}; will be tried again") from error

    def take_gaps(self) -> list[Gap]:
        return self._gaps.take()

    def state(self) -> JournalStatus:
        progress, survey = self._progress, self._connection.survey
        last = progress.last_at // MICRO or None
        behind = None if last is None or self._connection.reader is None else max(0, self._gaps.now - last)
        return JournalStatus(
            self.name,
            status=survey.status,
            why=survey.why,
            behind_seconds=behind if progress.at_end_at is None else 0,
            last_record_at=last,
            last_read_at=progress.last_read_at,
            at_end_at=progress.at_end_at,
            dropped_messages=self._suppressed.count,
        )

    def close(self) -> None:
        self._disconnect()
        self._connection.wake.close()

    def fileno(self) -> int | None:
        """A descriptor that becomes readable when the journal changed; the same until `close`."""
        return self._connection.wake.fileno()

    def process(self) -> None:
        """Take what made the descriptor readable; call `read` afterwards."""
        self._connection.wake.clear()

    def unread(self) -> bool:
        """Whether there is a record to read, or trouble that `read` tells of; False while the journal is not open."""
        reader = self._connection.reader
        if reader is None:
            return False
        try:
            self._ahead = self._next(reader)
        except OSError:
            return True
        return bool(self._ahead)

    def _connect(self, now: int) -> Reader | None:
        """Open the journal and go to the place; None while there is nothing that can be read."""
        self._vacuumed.look_at_files()
        window = self._window.begins(now)
        return self._connection.open(lambda reader: seek(reader, self._progress.last, window, self._vacuumed))

    def _disconnect(self) -> None:
        self._connection.close()
        self._progress.at_end_at = None
        self._ahead = {}

    def _read(self, reader: Reader, now: int) -> Chunk | None:
        progress = self._progress
        records: list[Fields] = []
        taken_bytes = 0
        at_end = False
        self._changed(reader)
        while taken_bytes < self._block_bytes and not at_end:
            record = self._next(reader)
            if not record:
                at_end = True
            elif self._enter(record):
                records.append(chosen(record))
                taken_bytes += size(records[-1])
        chunk = None
        if records and progress.last is not None:
            progress.last_read_at = now
            chunk = Chunk(b"", encode(progress.last), progress.at_end_at, 0 if at_end else 1, tuple(records))
        progress.at_end_at = now if at_end else None
        if at_end:
            self._vacuumed.read_until = max(progress.last_at, now * MICRO)
        else:
            self._changed(reader)
        return chunk

    def _next(self, reader: Reader) -> RawRecord:
        """The next record; empty if there is none, not even after a look for files that came."""
        ahead, self._ahead = self._ahead, {}
        following = ahead or self._connection.next_record(reader)
        if not following and self._changed(reader):
            following = self._connection.next_record(reader)
        return following

    def _changed(self, reader: Reader) -> bool:
        """Let the library look for files that came or went; whether there may be more to read."""
        change = reader.process()
        if change != opening.NOP:
            self._vacuumed.after_change(change)
        self._vacuumed.read_until = max(self._vacuumed.read_until, self._progress.last_at)
        return change != opening.NOP

    def _enter(self, record: RawRecord) -> bool:
        """Note that this record was read; whether it is to be handed over."""
        last = self._progress.last = LastRecord(record["__CURSOR"], int(record["__REALTIME_TIMESTAMP"]))
        return not is_notice(record) or self._suppressed.enter(record, last.at)
