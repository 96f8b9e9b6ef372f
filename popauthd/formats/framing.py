"""What stands before the message is taken off, by the headers of headers.py.

A header belongs to a framing, and a source has one framing (`dovecot-file`, `syslog`), so a line can
never choose how it is read. Within a framing the headers differ in their first bytes, or one is a
stricter form of the next; the first row that matches wins.

A match takes time in proportion to the line. Only a line feed ends a line: CR, form feed, NEL and
U+2028 are ordinary bytes here, and no pattern accepts them in a head.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from popauthd.formats import timestamps
from popauthd.formats.headers import DOVECOT_FILE, HOST, JOURNAL, LEVEL, SHAPES, SYSLOG, ZIMBRA_FILE


class Frame(NamedTuple):
    """A line taken apart: who wrote what, and the stamp, not yet read.

    own_format: see Shape. program: b"" in an own file. level: what the head says, None if nothing.
    levelled: the text must carry the level itself.
    """

    stamp: bytes
    text: bytes
    host: bytes = b""
    program: bytes = b""
    pid: bytes = b""
    own_format: str = ""
    level: bytes | None = None
    levelled: bool = False


_LOOSE_STAMP = re.compile(
    rb"(?:dovecot: )?(?:[A-Za-z]{3,9}\.? {1,2}[0-9]{1,2}|[0-9]{2,4}[-/][0-9]{1,2}[-/][0-9]{1,4})[T ]"
    rb"[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}"
)
_RAW_PRI = re.compile(rb"<[0-9]{1,3}>")


class Framer:
    """Takes the lines of one framing apart. own_stamp: the pattern of an own file's stamps."""

    def __init__(self, framing: str, own_stamp: bytes, own_layout: bool = False) -> None:
        self.framing, self.own_layout = framing, own_layout
        blank = b" ?" if own_layout else b" "  # a log_timestamp may have been set without its last blank
        forwarded = rb"|" + timestamps.MONTH_STAMP + rb" " + HOST + rb" mailboxlog " if framing == ZIMBRA_FILE else b""
        self._stamp = re.compile(
            rb"(?:dovecot: |(?:imap|pop3)-login: (?=[0-9])|<[0-9]{1,3}>1 " + forwarded + rb")?"
            rb"(?P<stamp>" + own_stamp + rb"|@[0-9a-f]{24})" + blank
        )
        self._heads = [
            (shape, re.compile(shape.head.replace(b"OWN) ", own_stamp + b")" + blank)))
            for shape in SHAPES
            if shape.framing == framing
        ]

    def frame(self, line: bytes) -> Frame | None:
        """The line taken apart, or None when no header of the framing fits."""
        for shape, head in self._heads:
            found = head.match(line)
            if found is None:
                continue
            part = found.groupdict(b"")
            text = line[found.end() :]
            if "service" in part:
                text = part["service"] + b": " + text
            return Frame(
                part.get("stamp", b"") or part.get("tai", b""),
                text,
                part.get("host", b""),
                part.get("program", b""),
                part.get("pid", b""),
                shape.own_format,
                part.get("level"),
                shape.levelled,
            )
        return None

    def stamp(self, line: bytes) -> bytes | None:
        """The stamp that a line of any program begins with."""
        found = self._stamp.match(line)
        return None if found is None else found["stamp"]

    def why_not(self, line: bytes) -> str:
        """The reason word for a line that no shape fits."""
        if _RAW_PRI.match(line):
            return "raw-pri"
        return "bad-stamp" if self.stamp(line) is None and _LOOSE_STAMP.match(line) else "unframed"


class Unwrapped(NamedTuple):
    """A line out of a container's log: what the program wrote, and when the container engine saw it."""

    line: bytes
    stamp: bytes


def unwrap_docker(line: bytes) -> Unwrapped | None:
    """The line inside a docker json-file record, or None if it is not a whole one.

    The engine writes a line of more than 16 KiB as several records; only the last ends in a line feed. One without
    is not taken. LIMIT: the last looks like a line of its own; no server that is read writes lines that long.
    """
    fields = json_object(line)
    if fields is None or not {"log", "stream", "time"} <= fields.keys():
        return None
    log, stamp = fields["log"], fields["time"]
    if not isinstance(log, str) or not isinstance(stamp, str) or not log.endswith("\n") or "\n" in log[:-1]:
        return None
    if not re.fullmatch(timestamps.ISO_STAMP, stamp.encode("utf-8", "replace")):
        return None
    return Unwrapped(log[:-1].encode("utf-8", "surrogatepass"), stamp.encode())


def json_object(line: bytes) -> dict[str, object] | None:
    """A JSON object whose keys are all different, or None."""
    try:
        value = json.loads(line, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a key is there twice")
    return fields


_OWN_TEXT = re.compile(rb"[a-z][a-z0-9-]*(?:\([^\x00-\x1f]*\))?(?:<[^<>\x00-\x1f]*>)*: (?:" + LEVEL + rb"): ")


class Detector:
    """Tells the framing of a line by itself, sparingly: a line that fits none says nothing."""

    def __init__(
        self,
        own_stamp: bytes = timestamps.ANY_STAMP,
        own_layout: bool = False,
        others: tuple[str, ...] = (),
    ) -> None:
        """others: framings of other servers' own files that the lines may be of."""
        self._own = Framer(DOVECOT_FILE, own_stamp, own_layout)
        self._syslog = Framer(SYSLOG, own_stamp)
        self._others = [Framer(framing, own_stamp) for framing in others]

    def framing(self, line: bytes) -> str | None:
        if line[:1] == b"{":
            if b'"__REALTIME_TIMESTAMP"' in line and json_object(line) is not None:
                return JOURNAL
            unwrapped = unwrap_docker(line)
            return None if unwrapped is None or unwrapped.line[:1] == b"{" else self.framing(unwrapped.line)
        fitting = [framer.framing for framer in self._others if framer.frame(line) is not None]
        if self._syslog.frame(line) is not None:
            fitting.append(SYSLOG)
        else:
            frame = self._own.frame(line)
            if frame is not None and (not frame.levelled or _OWN_TEXT.match(frame.text)):
                fitting.append(DOVECOT_FILE)
        return fitting[0] if len(fitting) == 1 else None


SAMPLE_LINES = 100


def detect(sample: bytes) -> str | None:
    """The framing of a file from its first complete lines; None when they tell nothing, or two things."""
    detector = Detector()
    found = {detector.framing(line) for line in sample.split(b"\n", SAMPLE_LINES)[:-1]}
    found.discard(None)
    return found.pop() if len(found) == 1 else None
