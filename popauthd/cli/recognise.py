"""recognise: says for every line of a log what the daemon would do with it, by the daemon's own code."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from popauthd import config
from popauthd.cli.common import settings
from popauthd.config.limits import limits
from popauthd.errors import SourceError, UsageError
from popauthd.formats.headers import FRAMINGS
from popauthd.formats.recogniser import LINE_BYTES, Recogniser
from popauthd.formats.servers import FORMATS
from popauthd.model import Grant, Ignored, Login, Refusal, SessionEnd
from popauthd.policy import Limits, decide
from popauthd.text import safe
from popauthd.watch.assembly import recogniser, user_files


def _recognise_arguments(parser: argparse.ArgumentParser, _common: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="log file; standard input if not given")
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument("--now", metavar="TIME", help="the wall clock, ISO 8601 (default: the real one)")
    parser.add_argument("--framing", choices=FRAMINGS, help="what stands before the message (default: as configured)")
    parser.add_argument(
        "--format",
        metavar="NAME",
        action="append",
        choices=sorted({row.part_of for row in FORMATS}),
        help="the server whose logins count; may be given again (default: as configured)",
    )
    parser.set_defaults(run=recognise)


ARGUMENTS = {"recognise": _recognise_arguments}


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of one line; the fields of the JSON object."""

    line: int
    verdict: str
    reason: str
    address: str | None = None
    expires_at: int | None = None
    user: str | None = None
    format: str | None = None


def recognise(options: argparse.Namespace) -> int:
    """Answer for every line of FILE or standard input. Always exit 0 if it could be read."""
    loaded = settings(options)
    reader = reader_for(loaded, options)
    now = read_now(options.now)
    limit = user_files(loaded).applied(limits(loaded))
    try:
        with Path(options.file).open("rb") if options.file else sys.stdin.buffer as file:
            for answer in answers(file, reader, limit, now):
                print(json.dumps(as_json(answer)) if options.json else as_text(answer))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise SourceError(f"{safe(str(options.file))}: cannot be read: {error.strerror}") from error
    return 0


def reader_for(loaded: config.Config, options: argparse.Namespace) -> Recogniser:
    """The recogniser of the source that FILE is, or of the only source, or a plain one."""
    named = [source for source in loaded.sources if options.file and source.path == str(Path(options.file).resolve())]
    chosen = named or (loaded.sources if len(loaded.sources) == 1 else [config.plain_source()])
    return recogniser(chosen[0], options.framing or "", tuple(options.format or ()))


def read_now(text: str | None) -> int:
    """Epoch seconds from ISO 8601; local time where no offset is given. Raises UsageError."""
    if text is None:
        return int(time.time())
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"--now {safe(text)}: write it like 2026-11-23T21:00:10+00:00") from error


def lines(file: BinaryIO) -> Iterator[tuple[bytes, bool]]:
    """Every line without its LF, and whether it had one. Of an overlong line only so much as shows that it is."""
    while raw := file.readline(LINE_BYTES + 2):
        whole = raw.endswith(b"\n")
        rest = raw
        while not whole and len(rest) == LINE_BYTES + 2:
            rest = file.readline(LINE_BYTES + 2)
            whole = rest.endswith(b"\n")
        yield raw.removesuffix(b"\n"), whole


def answers(file: BinaryIO, reader: Recogniser, limit: Limits, now: int) -> Iterator[Answer]:
    """What the daemon would do with each line."""
    for number, (raw, whole) in enumerate(lines(file), 1):
        if not whole:
            yield Answer(number, "ignored", "unfinished")
            return
        event = reader.line(raw, now)
        yield answer(number, decide(event, limit, now) if isinstance(event, Login) else event)


def answer(number: int, verdict: Grant | Refusal | SessionEnd | Ignored) -> Answer:
    """One verdict as what is printed."""
    match verdict:
        case Grant():
            return Answer(
                number, "grant", "login", verdict.address, verdict.expires_at, verdict.user, verdict.format or None
            )
        case Refusal():
            who = verdict.user or None
            return Answer(number, "refused", verdict.reason, verdict.address or None, None, who, verdict.format or None)
        case SessionEnd():
            return Answer(number, "session-end", "session-end", user=verdict.user, format=verdict.format or None)
        case _:
            return Answer(number, "ignored", verdict.reason, format=verdict.format or None)


def as_json(given: Answer) -> dict[str, Any]:
    """The JSON object of an answer."""
    return {name: getattr(given, name) for name in Answer.__slots__}


def as_text(given: Answer) -> str:
    """The line of an answer, safe for a terminal."""
    words = [f"{given.line}:", given.verdict, given.reason]
    words += [f"{name}={safe(str(value))}" for name, value in list(as_json(given).items())[3:] if value is not None]
    return " ".join(words)
