"""The journal while it is open: opened when it is there, and closed when its directory was replaced."""

from __future__ import annotations

import errno
from collections.abc import Callable

from popauthd.sources.journal import reader as opening
from popauthd.sources.journal.gaps import Gaps
from popauthd.sources.journal.reader import Matches, RawRecord, Reader
from popauthd.sources.journal.wake import WakeDescriptor
from popauthd.status import PRESENT

DAMAGED_MOST = 100  # in a row, before the journal is opened anew


class Connection:
    """One journal, opened and closed as often as needed.

    survey: what was there to read at the last attempt to open it. title: its name in messages. reader: None while
    it is closed. path, matches: see `open_reader`.
    """

    def __init__(self, path: str, matches: Matches, gaps: Gaps) -> None:
        self.title = f"journal in {path}" if path else "journal"
        self.survey = opening.Survey("missing", "not looked at yet")
        self.reader: Reader | None = None
        self.wake = WakeDescriptor()
        self._path = path
        self._matches = matches
        self._gaps = gaps
        self._identity: tuple[opening.Identity, ...] = ()

    def open(self, seek: Callable[[Reader], None]) -> Reader | None:
        """Open it and let `seek` go to where reading begins; None while there is nothing that can be read.

        Raises OSError.
        """
        self._identity = opening.identity(self._path)
        self.survey = opening.survey(self._path)
        if self.survey.status != PRESENT:
            return None
        reader = opening.open_reader(self._path, self._matches)
        try:
            self.wake.watch(reader.fileno())
            seek(reader)
        except BaseException:
            reader.close()
            raise
        self.reader = reader
        return reader

    def moved(self) -> bool:
        """Whether a directory came, went or was replaced, which the library does not notice itself."""
        return opening.identity(self._path) != self._identity

    def next_record(self, reader: Reader) -> RawRecord:
        """The next record, empty at the end. One that is damaged is passed over, and a gap. Raises OSError."""
        for _ in range(DAMAGED_MOST):
            try:
                return reader.get_next()
            except (OSError, ValueError) as error:  # ValueError: a field's name is no text
                # The reader stands at it, so the next call gives the one that follows.
                self._gaps.note(f"a damaged record in the {self.title} was passed over: {error}")
        raise OSError(errno.EBADMSG, f"{DAMAGED_MOST} damaged records in a row")

    def close(self) -> None:
        """Close it; it can be opened again."""
        if self.reader is not None:
            self.reader.close()
        self.reader = None
