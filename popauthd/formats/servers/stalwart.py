"""Stalwart: `INFO Authentication successful (auth.success) listenerId = "imaptls", localPort = 993, remoteIp = ..`.

This reads Stalwart's log file in text form: one line for each event, without colours. Elements are read by name, each
at most once. Strings are quoted and escaped, so no value can end early. localPort tells the service; without localPort,
listenerId does.
"""

from __future__ import annotations

import re

from popauthd.formats.framing import Frame
from popauthd.formats.row import Format, Outcome
from popauthd.formats.sentence import PORTS, carries, login
from popauthd.model import Ignored, Refusal

NAME = "stalwart"
LISTENERS = {
    b"pop3": "pop3",
    b"pop3s": "pop3",
    b"pop3tls": "pop3",
    b"imap": "imap",
    b"imaps": "imap",
    b"imaptls": "imap",
}
_HEAD = re.compile(rb"INFO Authentication successful \(auth\.success\) ")
_looks = carries(rb"\(auth\.success\)")
_ELEMENT = re.compile(
    rb"(?P<key>[a-z][A-Za-z0-9]{0,31}) = "
    rb'(?:"(?P<text>(?:[^"\\\x00-\x1f\x7f]|\\[\\"nrt0])*)"|(?P<bare>[^\x00-\x20\x7f,"=()\[\]]{1,64}))'
    rb"(?P<more>, |\Z)"
)
_BARE = {"remoteIp", "remotePort", "localPort", "localIp", "accountId", "spanId", "total", "elapsed"}
_TEXT = {"listenerId", "accountName", "type", "protocol", "id"}


def read(frame: Frame, at: int) -> Outcome:
    """The event of a line of the log file."""
    head = _HEAD.match(frame.text)
    if head is None:
        low = frame.text.lower()
        return Refusal("hostile-failure", at, format=NAME) if _looks(low) else Ignored("other", NAME)
    named = _elements(frame.text, head.end())
    if named is None or not {"remoteIp", "accountName"} <= named.keys():
        return Refusal("bad-elements", at, format=NAME)
    port, listener = named.get("localPort"), named.get("listenerId", b"")
    protocol = PORTS.get(port) if port is not None else LISTENERS.get(listener)
    if protocol is None:
        return Ignored("other-service", NAME)
    tls = b"1" if port in (b"993", b"995") or listener.endswith((b"tls", b"3s", b"ps")) else b""
    part = {"rip": named["remoteIp"], "user": named["accountName"], "tls": tls}
    if not part["user"]:
        return Refusal("no-user", at, format=NAME)
    return login(NAME, part, protocol, at)


def _elements(text: bytes, place: int) -> dict[str, bytes] | None:
    """The elements by name; None if a name is unknown, there twice, or wrongly quoted, or if anything else is there."""
    named: dict[str, bytes] = {}
    more = b", "
    while more:
        found = _ELEMENT.match(text, place)
        if found is None:
            return None
        key, quoted, bare, more = found.groups()
        name = key.decode()
        if name in named or name not in (_BARE if quoted is None else _TEXT):
            return None
        named[name] = bare if quoted is None else quoted
        place = found.end()
    return named


ROWS = (
    Format(
        name=NAME,
        part_of=NAME,
        programs=(),
        read=read,
        triggers=(b"auth.success",),
        looks_like_login=_looks,
        since="Stalwart 0.10 to 0.14",
        source="stalwartlabs/stalwart crates/trc/src/serializers/text.rs, issue 2460; samples only",
        own=NAME,
    ),
)
