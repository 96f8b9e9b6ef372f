"""Perdition, a proxy: `Auth: 192.0.2.8:2274->10.0.0.1:993 ... authentication_id="alice" ... status="ok"`.

The user stands in quotes, and a user with a quote in it is refused. The pattern must match up to the end of the line,
where the status stands. The first address is the client's; its port follows the last colon.
"""

from __future__ import annotations

import re

from popauthd.formats.row import Format
from popauthd.formats.sentence import PORTS, USER, Sentence, carries

_PROTOCOLS = {b"POP3": "pop3", b"POP3S": "pop3", b"IMAP4": "imap", b"IMAP4S": "imap"}
_QUOTED = rb'"[^\x00-\x20\x7f"<=>]{0,255}"'  # a server or another user, without blanks
_looks = carries(rb"auth: ?[0-9a-f.:]{2,52}->")

SENTENCE = Sentence(
    "perdition",
    re.compile(
        rb"Auth: ?(?P<rip>[0-9.]{7,15}):[0-9]{1,5}->(?P<lip>[0-9.]{7,15}):[0-9]{1,5}"
        rb" client-secure=(?:(?P<tls>ssl|tls)|plaintext) authorisation_id=(?:NONE|" + _QUOTED + rb")"
        rb' authentication_id="' + USER + rb'" server=' + _QUOTED + rb" protocol=(?P<protocol>[A-Z0-9]{4,8})"
        rb' server-secure=(?:ssl|tls|plaintext) status="ok"'
    ),
    re.compile(rb'Auth: ?[0-9.:]{7,21}->(?![^\n]* user=")(?![^\n]* status="failed: [A-Za-z -]{1,80}"\Z)'),
    carries(rb'auth: ?[0-9a-f.:]{2,52}->[0-9a-f.:]{2,52} client-secure=[^\n]{0,800}status="ok"'),
    _PROTOCOLS,
)
_looks_old = carries(rb'auth: ?[0-9.]{7,15}->[0-9.]{7,15} user="[^\n]{0,255}status="ok"')
OLD = Sentence(
    "perdition-old",
    re.compile(
        rb"Auth: ?(?P<rip>[0-9.]{7,15})->(?P<lip>[0-9.]{7,15}) user=\""
        + USER
        + rb"\" server="
        + _QUOTED
        + rb' port="(?P<protocol>[0-9]{1,5})" status="ok"'
    ),
    re.compile(rb'Auth: ?[0-9.]{7,15}->[0-9.]{7,15} user="[^\n]{0,700} status="ok"'),
    _looks_old,
    PORTS,
)
_PROGRAMS = ("perdition", *(f"perdition.{name}" for name in ("pop3", "pop3s", "imap4", "imap4s", "imap", "imaps")))

ROWS = (
    Format(
        name="perdition",
        part_of="perdition",
        programs=_PROGRAMS,
        read=SENTENCE.read,
        triggers=(b"auth:",),
        looks_like_login=_looks,
        real="2.2",
        since="Perdition 1.17 to 2.2",
        source="horms/perdition perdition/perdition.c; fail2ban's samples",
    ),
    Format(
        name="perdition-old",
        part_of="perdition",
        programs=_PROGRAMS,
        read=OLD.read,
        triggers=(b"auth:",),
        looks_like_login=_looks_old,
        since="Perdition 1.x",
        source="pop-before-smtp's pattern; no server source seen; samples only",
    ),
)
