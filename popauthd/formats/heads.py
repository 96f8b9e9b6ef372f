"""What stands before the message of a line that was refused: said in words, for the administrator.

Nothing here decides whether a line counts. It names what was seen, and the setting of the [[source]] that would take
it, when lines hold a whole login and are refused for what stands around it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from popauthd.formats import other_heads
from popauthd.formats.framing import Frame, Framer
from popauthd.formats.headers import SYSLOG
from popauthd.formats.timestamps import ANY_STAMP
from popauthd.text import safe

SHOWN = 80  # characters of a head that are shown
# The reasons that what stands before the message gives, each with what to look at.
HEAD_REASONS: Mapping[str, str] = MappingProxyType(
    {
        "other-program": "the program is {program}: if that is your Dovecot, name it in `programs`",
        "wrong-process": "the process is {process}, which does not log POP or IMAP logins",
        "other-host": "the host is {host}: if its logins count here, name it in `hostnames`",
        "bad-stamp": "before the message stands {head}: its time is not in a form that this source has; "
        "see `timestamp` and `framing`",
        "unframed": "before the message stands {head}, which the `framing` of this source does not have",
        "undecided": "before the message stands {head}, which is the head of no `framing` or of several: name the "
        "one that the log has, or have it written without what stands before",
        "raw-pri": "before the message stands {head}: let syslog write its lines with a time and a host",
        "untrusted": "in the journal, but not written by Dovecot's own log process; see `programs`",
    }
)
WITHOUT_FRAME = ("unframed", "undecided", "bad-stamp", "raw-pri")
NO_TIME = "the lines carry no time, and a login without a time grants nothing: have whoever writes this log stamp them"
# Without its head, a line begins like a login: it was read, or it was refused for what the login itself says.
BEGINS_LIKE_A_LOGIN = frozenset(
    {"anonymous", "bad-address", "bad-elements", "no-address", "no-level", "no-user", "other-service", "torn"}
)
LONGEST = 4096  # bytes of a line that is looked at
_TRIED = 24  # places where the message of a line without a known head may begin
_WITHIN = 256  # bytes from the beginning of that line
_SYSLOG = Framer(SYSLOG, ANY_STAMP)
_TIME = re.compile(rb"[0-9]:[0-9]{2}|@[0-9a-f]{24}|[0-9]{9}")
_LABEL = re.compile(rb"[A-Za-z0-9_./@-]{1,128}(?:\[[0-9]{1,10}\])?: ")
_OTHER_LOGIN = re.compile(rb"[a-z0-9-]{1,32}-login: ")
_MESSAGE = re.compile(rb"(?:imap|pop3|managesieve|submission)-login: |Log(?:in|ged in): ", re.IGNORECASE)


def messages(reason: str, raw: bytes, frame: Frame | None) -> Iterator[bytes]:
    """What may be the message of a line that was refused for this reason; none of it begins behind other text.

    So what a stranger can have written into the middle of a line, such as a user name, is no message. frame: the line
    without its head, None where that has no form that the source knows; then no daemon can have put a head before it.
    """
    if frame is None:
        found = (place.end() for place in re.finditer(rb"^| ", raw[:_WITHIN]))
        yield from (raw[at:] for _number, at in zip(range(_TRIED), found, strict=False))
        return
    yield frame.text
    if reason != "wrong-process":
        return
    if other := _OTHER_LOGIN.match(frame.text):
        yield b"imap-login: " + frame.text[other.end() :]
    text = frame.text
    while label := _LABEL.match(text):
        text = text[label.end() :]
        yield text


def described(reason: str, raw: bytes) -> str:
    """What was seen before the message of a line that was refused for this reason. Never raises."""
    row = HEAD_REASONS[reason]
    frame = _SYSLOG.frame(raw)
    found = _MESSAGE.search(raw)
    head = raw[: found.start()] if found else raw
    if frame is None and reason in WITHOUT_FRAME and not _TIME.search(head):
        return f"before the message stands {_shown(head)}: {NO_TIME}" if head.strip() else NO_TIME
    return row.format(
        program=_shown(frame.program) if frame else "not known",
        process=_shown(frame.text.partition(b":")[0]) if frame else _shown(head),
        host=_shown(frame.host) if frame else "not known",
        head=f"{_shown(head)} ({other_heads.name(raw)})",
    )


def _shown(part: bytes) -> str:
    return f"{safe(part.decode('utf-8', 'backslashreplace'), SHOWN)!r}"
