"""Names for the heads that are not read, so that an administrator sees what stands before his logins, and what to do.

Nothing here makes a line count. A pattern need not be strict: it is only asked of a line that no head of the source's
framing fits.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from popauthd.formats import timestamps
from popauthd.formats.headers import HOST, PROGRAM
from popauthd.text import safe


class OtherHead(NamedTuple):
    """head: the pattern of the head; its group `shown`, if it has one, is put into the name in the place of {}."""

    head: re.Pattern[bytes]
    name: str


_TAG = rb"[A-Za-z][A-Za-z0-9_./@-]{0,127}(?:\([^)\n]{0,255}\))?(?:<[^>\n]{0,255}>){0,2}(?:\[[0-9]{1,10}\])?: "
_STAMP = timestamps.ANY_STAMP

OTHER_HEADS = (
    OtherHead(re.compile(rb"(?P<shown>[A-Za-z0-9][A-Za-z0-9_.-]{0,254}) {1,64}\| "), "docker-compose's prefix ({} |)"),
    OtherHead(re.compile(rb"(?P<shown><[0-9]{1,3}>)"), "a raw syslog priority ({})"),
    OtherHead(re.compile(rb"\x1b\["), "colours (ANSI escapes)"),
    OtherHead(re.compile(rb"\{"), "a JSON record that is not of docker's json-file or of journalctl"),
    OtherHead(re.compile(rb"[^ ]{1,40} std(?:out|err) P "), "a piece of a line (Kubernetes CRI, P)"),
    OtherHead(re.compile(rb"\[ {0,12}[0-9]{1,12}\.[0-9]{6}\] "), "no time of day (journalctl -o short-monotonic)"),
    OtherHead(re.compile(rb"[0-9]{9,11}\.[0-9]{3,9} "), "a time in seconds (journalctl -o short-unix)"),
    OtherHead(re.compile(rb"[a-z0-9]{2,8}\.[a-z]{3,7}: "), "socklog's (facility and level; no host)"),
    OtherHead(re.compile(_STAMP + rb" {2,}|[ \t]"), "blanks where none are read"),
    OtherHead(re.compile(_STAMP + rb" \([^)\n]{0,64}\) "), "a host in parentheses"),
    OtherHead(
        re.compile(_STAMP + rb" " + HOST + rb" " + PROGRAM + rb"(?:\[[0-9]*\])? "), "a program without its colon"
    ),
    OtherHead(re.compile(_STAMP + rb" " + _TAG), "a time stamp and no host"),
    OtherHead(re.compile(_STAMP + rb"[^\n]"), "a time stamp, then something else than host and program"),
    OtherHead(re.compile(_TAG), "no time stamp"),
    OtherHead(re.compile(rb"[^\n]{0,12}[0-9]{1,2}:[0-9]{2}(?::[0-9]{2})?"), "a time stamp of another form"),
)


def name(raw: bytes) -> str:
    """What stands before the message of a line that is not framed, in a few words; "" for an empty line."""
    for head in OTHER_HEADS:
        found = head.head.match(raw)
        if found is not None:
            shown = found.groupdict().get("shown") or b""
            return head.name.format(safe(shown.decode("latin-1")))
    return f"something unknown ({safe(raw[:24].decode('latin-1'))})" if raw else ""
