"""recognise: says for every line of a log what the daemon would do with it, by the daemon's own code."""

from __future__ import annotations

import argparse
import os
import stat
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from popauthd import config
from popauthd.cli.common import settings
from popauthd.cli.line_answers import VERDICTS, Kind, Teller
from popauthd.config.limits import limits
from popauthd.errors import SourceError, UsageError
from popauthd.formats.headers import FRAMINGS
from popauthd.formats.recogniser import LINE_BYTES, Recogniser
from popauthd.formats.servers import FORMATS
from popauthd.reasons import IGNORED, REFUSED
from popauthd.text import safe
from popauthd.watch.assembly import recogniser, user_files

PROGRESS_SECONDS = 0.5
BLOCK_BYTES = 131072  # with more, the C library gives memory back and asks for it again at each block


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
    seen: Counter[Kind] = Counter()
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


def summary(counts: Counter[Kind]) -> Iterator[str]:
    """How many lines there were of each verdict and, where it tells more, of each reason, with its sentence."""
    lines = sum(counts.values())
    of = {verdict: sum(n for (one, _reason), n in counts.items() if one == verdict) for verdict in VERDICTS}
    yield f"{lines} lines: " + ", ".join(f"{number} {VERDICTS[verdict]}" for verdict, number in of.items())
    for (verdict, reason), number in counts.most_common():
        if verdict == "refused":
            yield f"  {number} refused as {reason}: {REFUSED[reason]}"
        elif (verdict, reason) == ("ignored", "failure"):
            yield f"  {number} ignored as {reason}: {IGNORED[reason]}"
