"""Courier (pop3d, imapd): `LOGIN, user=alice, ip=[::ffff:192.0.2.5], port=[255], protocol=IMAP`.

Under Plesk its own wrapper writes the beginning of a line and no line feed:
`IMAP connect from @ [::ffff:192.0.2.5]INFO: LOGIN, user=...`. Both addresses must be the same.

A failed login is written in a line that begins `LOGIN FAILED,`, never `LOGIN, `. The end of a session
(`LOGOUT, user=..`) has no session id, and is ignored.
"""

from __future__ import annotations

import re

from popauthd.formats.framing import Frame
from popauthd.formats.row import Format, Outcome
from popauthd.formats.sentence import ADDRESS, USER, Sentence, carries
from popauthd.model import Refusal

_PROTOCOLS = {
    b"imapd": "imap",
    b"imapd-ssl": "imap",
    b"imaplogin": "imap",
    b"pop3d": "pop3",
    b"pop3d-ssl": "pop3",
    b"courierpop3login": "pop3",
    b"courierpop3d": "pop3",
}
_looks = carries(rb"login, user=", rb"login, ip=")

SENTENCE = Sentence(
    "courier",
    re.compile(
        rb"(?:(?:IMAP|POP3) connect from @ \[(?P<came>[0-9A-Fa-f:.]{2,45})\](?=INFO: ))?(?:INFO: )?LOGIN, user="
        + USER
        + rb", ip=\["
        + ADDRESS
        + rb"\]"
        rb"(?:, port=\[[0-9]{1,5}\])?(?:, protocol=(?:IMAP|POP3))?(?P<tls>, stls=1)?"
    ),
    re.compile(rb"(?:(?:IMAP|POP3) connect from @ \[[0-9A-Fa-f:.]{0,45}\])?(?:INFO: )?LOGIN, "),
    _looks,
    _PROTOCOLS,
)


def read(frame: Frame, at: int) -> Outcome:
    """A login, or a refusal if the line names two clients."""
    found = SENTENCE.whole.fullmatch(frame.text)
    if found is not None and found["came"] not in (None, found["rip"]):
        return Refusal("bad-elements", at, format=SENTENCE.name)
    return SENTENCE.read(frame, at)


ROWS = (
    Format(
        name="courier",
        part_of="courier",
        programs=tuple(name.decode() for name in _PROTOCOLS),
        read=read,
        triggers=(b"login, ",),
        looks_like_login=_looks,
        real="courier-imap 5.0.13, courier-pop 1.0.16",
        since="Courier-IMAP 1.x to 5.x",
        source="courier-libs imap/imaplogin.c, imap/pop3login.c; Wazuh for the form without port",
    ),
)
