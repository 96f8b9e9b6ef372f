"""The sample files of tests/corpus: framing, verdict and bytes of each line."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.formats.servers import FORMATS
from popauthd.model import Event, Ignored, Login, Refusal, SessionEnd

CORPUS = Path(__file__).parent.parent / "corpus"
NOW = 1795467610  # 2026-11-23T21:00:10Z
FRAMING = {
    "f": "dovecot-file",
    "s": "syslog",
    "a": "auto",
    "q": "qpopper-file",
    "n": "nginx-file",
    "z": "zimbra-file",
    "w": "stalwart-file",
}
FILES = sorted(CORPUS.glob("*.txt"))


# Refused before the message was read: neither time nor format is known.
UNREAD = {"bad-record", "other-host", "other-program", "raw-pri", "too-long", "undecided", "unframed"}


class Sample(NamedTuple):
    """One line of a sample file. number: of its line there."""

    number: int
    framing: str
    verdict: str
    raw: bytes


def samples(path: Path) -> list[Sample]:
    """Every sample of a file, in order."""
    rows = []
    for number, text in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if text and not text.startswith("#"):
            head, _, line = text.partition(" | ")
            framings, _, verdict = head.partition(" ")
            raw = re.sub(rb"\\x([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), line.encode())
            rows += [Sample(number, FRAMING[letter], verdict, raw) for letter in framings]
    return rows


def reading(path: Path, framing: str) -> Options:
    """How the lines of a sample file are read: with its own format alone."""
    row = next(row for row in FORMATS if row.name == path.stem)
    return Options(framing, formats=(row.part_of,), proxy_lines=row.proxies, timezone="UTC")


def word(event: Event) -> str:
    """An event as the sample files put it."""
    match event:
        case Login():
            return f"GRANT {event.address}"
        case SessionEnd():
            return f"CLOSE {event.session}"
        case Refusal():
            return f"REFUSED {event.reason}"
        case Ignored():
            return f"IGNORED {event.reason}"


def is_told(event: Event, sample: Sample, reader: Recogniser) -> bool:
    """Whether an event says what its line tells beside the verdict: its own time, the user, and the format."""
    text, at = sample.raw.decode("utf-8", "backslashreplace"), reader.stamp(sample.raw, NOW)
    match event:
        case Login():
            return (event.at, event.format != "") == (at, True) and event.user in text
        case SessionEnd():
            return (event.at, event.format) == (at, "dovecot") and f"({event.user})" in text
        case Refusal("bad-stamp"):
            return event.at is None
        case Refusal(reason) if reason in UNREAD:
            return (event.at, event.format) == (None, "")
        case Refusal(reason):
            known = reason not in ("anonymous", "no-address", "no-link") or event.user != ""
            return (event.at, event.format != "") == (at, True) and known and event.user in text
        case Ignored(reason):
            return event.format != "" or reason in ("other", "empty", "undecided")
