"""Framing: takes off what stands before the message of a line, by the table in headers.py.

A header belongs to a framing, and a source has one framing (`dovecot-file`, `syslog`), so a line can
never choose how it is read. Within a framing the headers differ in their first bytes, or one is a
stricter form of the next. The first row that matches is used.

A match takes time in proportion to the line. Only a line feed ends a line: CR, form feed, NEL and
U+2028 are ordinary bytes here, and no pattern accepts them in a header.
"""

from __future__ import annotations

import json
import re
from typing import NamedTuple

from popauthd.formats import timestamps
from popauthd.formats.headers import DOVECOT_FILE, HOST, JOURNAL, LEVEL, PROGRAM, SHAPES, SYSLOG, ZIMBRA_FILE


class Frame(NamedTuple):
    """A line split into header and text.

    stamp: the bytes of the time stamp, not yet read. program: b"" in a server's own file. own_format: see Shape.
    level: the level that the header names, None if it names none. levelled: the text itself must name the level.
    served: the stamp is one of a log service, in one of the usual forms. container: the tag of the container whose
    output syslog wrote down, b"" if it is none.
    """

    stamp: bytes
    text: bytes
    host: bytes = b""
    program: bytes = b""
    pid: bytes = b""
    own_format: str = ""
    level: bytes | None = None
    levelled: bool = False
    served: bool = False
    container: bytes = b""


_LOOSE_STAMP = re.compile(
    rb"(?:dovecot: )?(?:[A-Za-z]{3,9}\.? {1,2}[0-9]{1,2}|[0-9]{2,4}[-/][0-9]{1,2}[-/][0-9]{1,4})[T ]"
    rb"[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}"
)
_TIMES = ("year", "utc", "served", "tai", "stamp")  # the group of a head that tells how its time is read
_SERVED = ("utc", "served")
_RAW_PRI = re.compile(rb"<[0-9]{1,3}>")
_OWN_TEXT = re.compile(rb"[a-z][a-z0-9-]*(?:\([^\x00-\x1f]*\))?(?:<[^<>\x00-\x1f]*>)*: (?:" + LEVEL + rb"): ")
# What a container wrote, behind the head that syslog gave it: a line of its own syslog, or of Dovecot's own file.
_INSIDE = re.compile(
    rb"(?:"
    + timestamps.ANY_STAMP
    + rb") (?:"
    + HOST
    + rb" (?P<program>"
    + PROGRAM
    + rb")(?:\[(?P<pid>[0-9]{1,10})\])?: |(?="
    + _OWN_TEXT.pattern
    + rb"))"
)


class Framer:
    """Splits the lines of one framing.

    own_stamp: the pattern of the time stamps in a server's own file. containers: the tags of the containers whose
    output counts, where syslog writes it down.
    """

    def __init__(
        self,
        framing: str,
        own_stamp: bytes,
        own_layout: bool = False,
        containers: frozenset[bytes] = frozenset(),
    ) -> None:
        self.framing, self.own_layout = framing, own_layout
        self._containers = containers if framing == SYSLOG else frozenset()
        blank = b" ?" if own_layout else b" "  # a log_timestamp may have been set without its last blank
        forwarded = rb"|" + timestamps.MONTH_STAMP + rb" " + HOST + rb" mailboxlog " if framing == ZIMBRA_FILE else b""
        self._stamp = re.compile(
            rb"(?:dovecot: |(?:imap|pop3)-login: (?=[0-9])|<[0-9]{1,3}>(?:1 )?" + forwarded + rb")?"
            rb"(?P<stamp>" + own_stamp + rb"|@[0-9a-f]{24})" + blank
        )
        heads = [
            (shape, re.compile(shape.head.replace(b"OWN) ", own_stamp + b")" + blank)))
            for shape in SHAPES
            if shape.framing == framing
        ]
        self._heads = [(shape, head, next(filter(head.groupindex.get, _TIMES))) for shape, head in heads]

    def frame(self, line: bytes) -> Frame | None:
        """Split the line; None if no header of the framing fits it."""
        for shape, head, time in self._heads:
            found = head.match(line)
            if found is None:
                continue
            part = found.groupdict(b"")
            text = line[found.end() :]
            if "service" in part:
                text = part["service"] + b": " + text
            program = part.get("program", b"")
            frame = Frame(
                part[time] if time == "stamp" else _stamp(time, part),
                text,
                part.get("host", b""),
                program,
                part.get("pid", b""),
                shape.own_format,
                part.get("level"),
                shape.levelled,
                time in _SERVED,
            )
            return _inside(frame) if program in self._containers else frame
        return None

    def stamp(self, line: bytes) -> bytes | None:
        """The time stamp that a line begins with, whatever program wrote the line; None if it has none."""
        found = self._stamp.match(line)
        return None if found is None else found["stamp"]

    def why_not(self, line: bytes) -> str:
        """The reason word for a line that no header fits."""
        if _RAW_PRI.match(line):
            return "raw-pri"
        return "bad-stamp" if self.stamp(line) is None and _LOOSE_STAMP.match(line) else "unframed"


def _stamp(time: str, part: dict[str, bytes]) -> bytes:
    """The time stamp of a head, from its groups, in a form that is read. time: one of _TIMES."""
    if time == "utc":
        return part["utc"].replace(b"_", b"T") + b"Z"
    return timestamps.with_year(part["stamp"], part["year"]) if time == "year" else part[time]


def _inside(outer: Frame) -> Frame:
    """The frame of the line that a container wrote; the frame itself if its text is no such line.

    Time and host stay those of the outer head: the machine's syslog set them. A program that is called as Dovecot is by
    default counts under the container's tag, which is what `programs` names.
    """
    found = _INSIDE.match(outer.text)
    if found is None:
        return outer
    text, program = outer.text[found.end() :], found["program"]
    if program is None:
        return outer._replace(text=text, own_format="dovecot", levelled=True, container=outer.program)
    name = outer.program if program == b"dovecot" else program
    return outer._replace(text=text, program=name, pid=found["pid"] or b"", container=outer.program)


def inside_container(frame: Frame) -> bytes:
    """The tag of the container that wrote this framed line, whose own line counts for nothing yet; b"" if none did."""
    return frame.program if not frame.container and _INSIDE.match(frame.text) else b""


class Unwrapped(NamedTuple):
    """A line from a container's log: what the program wrote, and the container engine's time stamp."""

    line: bytes
    stamp: bytes


def unwrap_docker(line: bytes) -> Unwrapped | None:
    """The line inside a docker json-file record, or None if it is not a whole record.

    The engine writes a line of more than 16 KiB as several records, of which only the last ends in a line feed. A
    record without a line feed is not taken. LIMIT: the last record looks like a line of its own; none of the servers
    in the table writes lines that long.
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
    """The JSON object on this line, or None if it is not one, or has a key twice."""
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


class Detector:
    """Finds the framing of a single line. A line that fits no framing, or more than one, decides nothing."""

    def __init__(
        self,
        own_stamp: bytes = timestamps.ANY_STAMP,
        own_layout: bool = False,
        others: tuple[str, ...] = (),
    ) -> None:
        """others: the framings of other servers' own files that are also possible."""
        self._own = Framer(DOVECOT_FILE, own_stamp, own_layout)
        self._syslog = Framer(SYSLOG, own_stamp)
        self._others = [Framer(framing, own_stamp) for framing in others]

    def framing(self, line: bytes) -> str | None:
        """The framing of a line, or None if the line does not decide it."""
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
    """The framing of a file, from its first complete lines; None if they decide nothing, or contradict each other."""
    detector = Detector()
    found = {detector.framing(line) for line in sample.split(b"\n", SAMPLE_LINES)[:-1]}
    found.discard(None)
    return found.pop() if len(found) == 1 else None
