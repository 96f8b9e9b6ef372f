"""Courier (pop3d, imapd): `LOGIN, user=alice, ip=[::ffff:192.0.2.5], port=[255], protocol=IMAP`.

The user name of a failed login stands in a line that begins `LOGIN FAILED,`, never `LOGIN, `. Ends of
sessions (`LOGOUT, user=..`) carry no session id, and are ignored.
"""

from __future__ import annotations

import re

from popauthd.formats.row import Format
from popauthd.formats.sentence import ADDRESS, USER, Sentence, carries

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
        rb"(?:INFO: )?LOGIN, user=" + USER + rb", ip=\[" + ADDRESS + rb"\]"
        rb"(?:, port=\[[0-9]{1,5}\])?(?:, protocol=(?:IMAP|POP3))?(?P<tls>, stls=1)?"
    ),
    re.compile(rb"(?:INFO: )?LOGIN, "),
    _looks,
    _PROTOCOLS,
)

ROWS = (
    Format(
        name="courier",
        part_of="courier",
        programs=tuple(name.decode() for name in _PROTOCOLS),
        read=SENTENCE.read,
        triggers=(b"login, ",),
        looks_like_login=_looks,
        real="courier-imap 5.0.13, courier-pop 1.0.16",
        since="Courier-IMAP 1.x to 5.x",
        source="courier-libs imap/imaplogin.c, imap/pop3login.c; Wazuh for the form without port",
    ),
)
