"""recognise: says for every line of a log what the daemon would do with it, by the daemon's own code."""

from __future__ import annotations

import argparse
import itertools
import json
import os
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from popauthd import config
from popauthd.cli.common import GREEN, RED, coloured, settings
from popauthd.config.limits import limits
from popauthd.errors import SourceError, UsageError
from popauthd.formats.headers import FRAMINGS
from popauthd.formats.recogniser import LINE_BYTES, Recogniser
from popauthd.formats.servers import FORMATS
from popauthd.model import Event, Grant, Ignored, Login, Refusal, SessionEnd
from popauthd.policy.decide import decide
from popauthd.policy.limits import Limits
from popauthd.reasons import IGNORED, REFUSED
from popauthd.text import safe, stamp
from popauthd.watch.assembly import recogniser, user_files

PROGRESS_SECONDS = 0.5
LINE_CHARACTERS = 300  # of a line that are shown
BLOCK_BYTES = 131072  # with more, the C library gives memory back and asks for it again at each block

Said = tuple[tuple[str, str], str]  # verdict and reason; all that is printed but the number and the line


def _recognise_arguments(parser: argparse.ArgumentParser, _common: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", nargs="?", help="log file; standard input if not given, or -")
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


HEAD_CUT = 200


@dataclass(frozen=True, slots=True)
class Answer:
    """What is said of one line; with its number, the fields of the JSON object.

    head: what stands before a message that is not read.
    """

    verdict: str
    reason: str
    address: str | None = None
    expires_at: int | None = None
    user: str | None = None
    format: str | None = None
    head: str | None = None


def recognise(options: argparse.Namespace) -> int:
    """Answer for every line of FILE or standard input. Always exit 0 if it could be read."""
    loaded = settings(options)
    if options.file == "-":
        options.file = None
    reader = reader_for(loaded, options)
    now = read_now(options.now)
    limit = user_files(loaded).applied(limits(loaded))
    if options.file is None and sys.stdin.isatty():
        print("reading log lines from standard input; end with Ctrl-D, or name a FILE", file=sys.stderr)
    seen: Counter[tuple[str, str]] = Counter()
    try:
        with Path(options.file).open("rb") if options.file else sys.stdin.buffer as file:
            progress = Progress(file)
            teller = Teller(reader, limit, now, seen, in_json=options.json)
            for block in blocks(file):
                print("\n".join(teller.told(block)))
                progress.read(len(block))
            progress.end()
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            raise
        raise SourceError(f"{safe(str(options.file))}: cannot be read: {error.strerror}") from error
    if not options.json:
        print("\n".join(summary(seen)))
    return 0


class Progress:
    """Says on standard error how much of a log is read, where that is a terminal and the answers go elsewhere."""

    def __init__(self, file: BinaryIO) -> None:
        self._shown = sys.stderr.isatty() and not sys.stdout.isatty()
        self._done = 0
        self._due = time.monotonic() + PROGRESS_SECONDS
        found = os.fstat(file.fileno()) if self._shown else None
        self._of = f" of {found.st_size / 1e6:.1f} MB" if found is not None and stat.S_ISREG(found.st_mode) else ""

    def read(self, size_bytes: int) -> None:
        """So much more is read."""
        self._done += size_bytes
        if self._shown and time.monotonic() >= self._due:
            self._due = time.monotonic() + PROGRESS_SECONDS
            print(f"\r{self._done / 1e6:.1f} MB{self._of} read", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Take it off the screen."""
        if self._shown:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def reader_for(loaded: config.Config, options: argparse.Namespace) -> Recogniser:
    """The recogniser of the source that FILE is, or of the only source, or a plain one."""
    named = [source for source in loaded.sources if options.file and source.path == str(Path(options.file).resolve())]
    chosen = named or (loaded.sources if len(loaded.sources) == 1 else [config.SourceConfig()])
    return recogniser(chosen[0], options.framing or "", tuple(options.format or ()))


def read_now(text: str | None) -> int:
    """Epoch seconds from ISO 8601; local time where no offset is given. Raises UsageError."""
    if text is None:
        return int(time.time())
    try:
        return int(datetime.fromisoformat(text).timestamp())
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"--now {safe(text)}: write it like 2026-11-23T21:00:10+00:00") from error


def blocks(file: BinaryIO) -> Iterator[bytes]:
    """Whole lines together, as soon as they are there; at the end what is no whole line, if there is anything.

    Of an overlong line, at most so much as shows that it is, and a block more.
    """
    rest = b""
    while block := os.read(file.fileno(), BLOCK_BYTES):
        whole = block.rfind(b"\n") + 1
        if whole:
            yield rest + block[:whole]
            rest = b""
        rest = (rest + block[whole:])[: LINE_BYTES + 2]
    if rest:
        yield rest


class Teller:
    """Says what the daemon would do with each line, and counts it. What is said of many lines is put together once."""

    def __init__(
        self, reader: Recogniser, limit: Limits, now: int, seen: Counter[tuple[str, str]], *, in_json: bool
    ) -> None:
        self._reader, self._limit, self._now, self._seen = reader, limit, now, seen
        self._in_json = in_json
        self._verdicts = {verdict: coloured(verdict, COLOURS.get(verdict, "")) for verdict in VERDICTS}
        self._numbers = itertools.count(1)
        self._plain: dict[tuple[str, str], Said] = {}

    def told(self, block: bytes) -> Iterator[str]:
        """The answers for whole lines, or for the one that is not whole."""
        if not block.endswith(b"\n"):
            yield self._written(self._said(Answer("ignored", "unfinished")), block)
            return
        for event, raw in zip(self._reader.lines(block, self._now), block.split(b"\n"), strict=False):
            if isinstance(event, Ignored) and event.failed is None:
                said = self._plain.get((event.reason, event.format))
                if said is None:
                    said = self._plain[event.reason, event.format] = self._said(answer(event))
            else:
                said = self._said(self._judged(event, raw))
            yield self._written(said, raw)

    def _judged(self, event: Event, raw: bytes) -> Answer:
        given = answer(decide(event, self._limit, self._now) if isinstance(event, Login) else event)
        if isinstance(event, Refusal) and not event.format:
            return replace(given, head=self._reader.head_name(raw) or None)
        return given

    def _said(self, given: Answer) -> Said:
        return (given.verdict, given.reason), json.dumps(as_json(given))[1:] if self._in_json else self._in_words(given)

    def _in_words(self, given: Answer) -> str:
        """The answer, safe for a terminal."""
        words = [self._verdicts[given.verdict]]
        if given.reason not in ("login", "session-end"):  # which is said already
            words.append(given.reason)
        for name, value in (("address", given.address), ("user", given.user), ("format", given.format)):
            if value is not None:
                words.append(f"{name}={safe(value)}")
        if given.head is not None:
            words.append(f"head={safe(given.head, HEAD_CUT)}")
        if given.expires_at is not None:
            words.append(f"until {stamp(given.expires_at)}")
        return " ".join(words)

    def _written(self, said: Said, raw: bytes) -> str:
        """The answer with its number and, in text, its line below it, safe for a terminal."""
        kind, text = said
        self._seen[kind] += 1
        if self._in_json:
            return f'{{"line": {next(self._numbers)}, {text}'
        line = safe(raw.decode("utf-8", "backslashreplace"), LINE_CHARACTERS)
        return f"{next(self._numbers)}: {text}\n  | {line}"


def answer(verdict: Grant | Refusal | SessionEnd | Ignored) -> Answer:
    """One verdict as what is printed."""
    match verdict:
        case Grant():
            return Answer("grant", "login", verdict.address, verdict.expires_at, verdict.user, verdict.format or None)
        case Refusal():
            who = verdict.user or None
            return Answer("refused", verdict.reason, verdict.address or None, None, who, verdict.format or None)
        case SessionEnd():
            return Answer("session-end", "session-end", user=verdict.user, format=verdict.format or None)
        case _:
            client, user = (failed.address, failed.user) if (failed := verdict.failed) else (None, None)
            return Answer("ignored", verdict.reason, client, None, user or None, verdict.format or None)


def as_json(given: Answer) -> dict[str, Any]:
    """The JSON object of an answer, but for the number of the line."""
    return {name: getattr(given, name) for name in Answer.__slots__}


COLOURS = {"grant": GREEN, "refused": RED}


def summary(counts: Counter[tuple[str, str]]) -> Iterator[str]:
    """How many lines there were of each verdict and, where it tells more, of each reason, with its sentence."""
    lines = sum(counts.values())
    of = {verdict: sum(n for (one, _reason), n in counts.items() if one == verdict) for verdict in VERDICTS}
    yield f"{lines} lines: " + ", ".join(f"{number} {VERDICTS[verdict]}" for verdict, number in of.items())
    for (verdict, reason), number in counts.most_common():
        if verdict == "refused":
            yield f"  {number} refused as {reason}: {REFUSED[reason]}"
        elif (verdict, reason) == ("ignored", "failure"):
            yield f"  {number} ignored as {reason}: {IGNORED[reason]}"


VERDICTS = {"grant": "would grant", "refused": "refused", "session-end": "session ends", "ignored": "ignored"}
