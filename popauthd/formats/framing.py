"""What stands before the message: one row for each shape a log line can have.

A shape belongs to a family, and a source has one family (`dovecot-file`, `syslog`), so a line can
never choose how it is read. Within a family the shapes differ in their first bytes, or one is a
stricter form of the next; the first row that matches wins.

Every pattern is anchored, made of bytes, and without nested repetition of the same characters, so a
match takes time in proportion to the line. Only a line feed ends a line: CR, form feed, NEL and
U+2028 are ordinary bytes here, and no pattern accepts them in a head.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import NamedTuple

from popauthd import stamps

DOVECOT_FILE, SYSLOG, JOURNAL, AUTO = "dovecot-file", "syslog", "journal", "auto"
FAMILIES = (DOVECOT_FILE, SYSLOG, JOURNAL, AUTO)

HOST = rb"[A-Za-z0-9_.:-]{0,254}[A-Za-z0-9_.-]"  # never ends like a tag, or an own file looks like syslog
PROGRAM = rb"[A-Za-z0-9_./@-]{1,128}"
LEVEL = rb"Debug|Info|Warning|Error|Fatal|Panic"  # DOV src/lib/failures.c, failure_log_type_prefixes
_TAG = rb"(?P<program>" + PROGRAM + rb")(?:\[[0-9]{1,10}\])?: "
_MONTH = rb"(?P<stamp>" + stamps.MONTH_STAMP + rb") "
_ISO = rb"(?P<stamp>" + stamps.ISO_STAMP + rb") "
_HOST = rb"(?P<host>" + HOST + rb") "
_SD = rb'(?:-|(?:\[(?:[^\]"\\]|"(?:[^"\\]|\\.)*")*\])+)'  # RFC 5424 6.3: quotes may hold an escaped ]


@dataclass(frozen=True, slots=True)
class Shape:
    """head: the pattern up to the message; OWN in it stands for the stamps the source has.

    own_format: the FORMATS row whose own file this is, "" where a program name decides.
    levelled: the message must begin `service: Info: `, as in Dovecot's own 2.x file.
    """

    name: str
    family: str
    head: bytes
    source: str
    own_format: str = ""
    levelled: bool = False


SHAPES = (
    Shape(
        "dovecot-1.x",
        DOVECOT_FILE,
        rb"(?:dovecot: )?(?P<stamp>OWN) (?P<level>" + LEVEL + rb"): ",
        "Wazuh 0085-dovecot_decoders.xml",
        own_format="dovecot",
    ),
    Shape(
        "dovecot-2.x",
        DOVECOT_FILE,
        rb"(?P<stamp>OWN) ",
        "Dovecot src/lib/failures.h, seen on 2.3.19 and 2.4.1",
        own_format="dovecot",
        levelled=True,
    ),
    Shape(
        "dovecot-0.99",
        DOVECOT_FILE,
        rb"(?P<service>(?:imap|pop3)-login): (?P<stamp>OWN) (?P<level>" + LEVEL + rb"): ",
        "pop-before-smtp's 'older Dovecot'; no server source seen",
        own_format="dovecot-0.99",
    ),
    Shape(
        "tai64n",
        DOVECOT_FILE,
        rb"(?P<tai>@[0-9a-f]{24}) ",
        "fail2ban's tests/files/logs/dovecot (multilog)",
        own_format="dovecot",
        levelled=True,
    ),
    Shape(
        "rfc3164",
        SYSLOG,
        _MONTH + _HOST + _TAG + rb"(?!\[ID )",
        "RFC 3164; rsyslog's traditional file format",
    ),
    Shape(
        "solaris",
        SYSLOG,
        _MONTH + _HOST + _TAG + rb"\[ID [0-9]{1,10} [a-z0-9]+\.[a-z]+\] ",
        "fail2ban's common.conf, __daemon_extra_re",
    ),
    Shape(
        "bsd-verbose",
        SYSLOG,
        _MONTH + rb"<[a-z0-9]{1,10}\.[a-z0-9]{1,10}> " + _HOST + _TAG,
        "fail2ban's common.conf, __bsd_syslog_verbose",
    ),
    Shape("iso", SYSLOG, _ISO + _HOST + _TAG, "rsyslog's default since Debian 12; seen on docker-mailserver"),
    Shape(
        "rfc5424",
        SYSLOG,
        rb"(?:<(?:[0-9]{1,2}|1[0-8][0-9]|19[01])>1 )?"
        + _ISO
        + _HOST
        + rb"(?P<program>"
        + PROGRAM
        + rb") (?:-|[0-9]{1,10}) (?:-|[!-~]{1,32}) "
        + _SD
        + rb" (?:\xef\xbb\xbf)?",
        "RFC 5424; SSHGuard's tests.txt has it without PRI",
    ),
)


class Frame(NamedTuple):
    """A line taken apart: who wrote what, and the stamp, not yet read.

    own_format: see Shape. program: b"" in an own file. level: what the head says, None if nothing.
    levelled: the text must carry the level itself.
    """

    stamp: bytes
    text: bytes
    host: bytes = b""
    program: bytes = b""
    own_format: str = ""
    level: bytes | None = None
    levelled: bool = False


_LOOSE_STAMP = re.compile(
    rb"(?:dovecot: )?(?:[A-Za-z]{3,9}\.? {1,2}[0-9]{1,2}|[0-9]{2,4}[-/][0-9]{1,2}[-/][0-9]{1,4})[T ]"
    rb"[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}"
)
_RAW_PRI = re.compile(rb"<[0-9]{1,3}>")


class Framer:
    """Takes the lines of one family apart. own_stamp: the pattern of an own file's stamps."""

    def __init__(self, family: str, own_stamp: bytes, own_layout: bool = False) -> None:
        self.family, self.own_layout = family, own_layout
        blank = b" ?" if own_layout else b" "  # a log_timestamp may have been set without its last blank
        self._stamp = re.compile(
            rb"(?:dovecot: |(?:imap|pop3)-login: (?=[0-9])|<[0-9]{1,3}>1 )?"
            rb"(?P<stamp>" + own_stamp + rb"|@[0-9a-f]{24})" + blank
        )
        self._heads = [
            (shape, re.compile(shape.head.replace(b"OWN) ", own_stamp + b")" + blank)))
            for shape in SHAPES
            if shape.family == family
        ]

    def frame(self, line: bytes) -> Frame | None:
        """The line taken apart, or None when no shape of the family fits."""
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

    The engine writes a long line as several records; only the last ends in a line feed. None of
    them is a login that can be read, so a record without one is not taken.
    """
    fields = json_object(line)
    if fields is None or not {"log", "stream", "time"} <= fields.keys():
        return None
    log, stamp = fields["log"], fields["time"]
    if not isinstance(log, str) or not isinstance(stamp, str) or not log.endswith("\n") or "\n" in log[:-1]:
        return None
    if not re.fullmatch(stamps.ISO_STAMP, stamp.encode("utf-8", "replace")):
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
    """Tells the family of a line by itself, sparingly: a line that fits none says nothing."""

    def __init__(self, own_stamp: bytes = stamps.ANY_STAMP, own_layout: bool = False) -> None:
        self._own = Framer(DOVECOT_FILE, own_stamp, own_layout)
        self._syslog = Framer(SYSLOG, own_stamp)

    def family(self, line: bytes) -> str | None:
        if line[:1] == b"{":
            if b'"__REALTIME_TIMESTAMP"' in line and json_object(line) is not None:
                return JOURNAL
            unwrapped = unwrap_docker(line)
            return None if unwrapped is None or unwrapped.line[:1] == b"{" else self.family(unwrapped.line)
        if self._syslog.frame(line) is not None:
            return SYSLOG
        frame = self._own.frame(line)
        if frame is None or (frame.levelled and not _OWN_TEXT.match(frame.text)):
            return None
        return DOVECOT_FILE


SAMPLE_LINES = 100


def detect(sample: bytes) -> str | None:
    """The family of a file from its first complete lines; None when they tell nothing, or two things."""
    detector = Detector()
    found = {detector.family(line) for line in sample.split(b"\n", SAMPLE_LINES)[:-1]}
    found.discard(None)
    return found.pop() if len(found) == 1 else None
