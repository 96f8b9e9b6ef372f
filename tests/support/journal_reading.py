"""What the tests of the journal source share: a source, its recogniser, and reading to the end."""

from __future__ import annotations

from pathlib import Path

from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Login
from popauthd.sources.journal.source import JournalSource

NOW = 1795467700
THEN = NOW - 100
OLDEST = NOW - 900
A, B, C, D = "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"


def source(where: Path, place: bytes | None = None, oldest: int = OLDEST, block_bytes: int = 262144) -> JournalSource:
    made = JournalSource(path=str(where), clock=lambda: NOW, block_bytes=block_bytes)
    made.resume(place, oldest)
    return made


def recogniser() -> Recogniser:
    return Recogniser(Options(framing="journal"))


def drain(journal: JournalSource, now: int = NOW) -> tuple[list[str], bytes | None]:
    """The addresses of the logins that are unread, and the place after them."""
    found, place = [], None
    while (chunk := journal.read(now)) is not None:
        assert chunk.records
        events, _count = recogniser().records(chunk.records)
        found += [event.address for event in events if isinstance(event, Login)]
        place = chunk.place
    return found, place


def gaps(journal: JournalSource) -> list[str]:
    return [gap.what for gap in journal.take_gaps()]
