"""UW-IMAP and Panda (imapd, ipop3d): `Login user=alice host=client.example [198.51.100.7]`.

The server cuts user and host at 80 bytes each. A line with a user or a host of 80 bytes is refused: the user may be
another one, and the address may be cut. Failures are written as `Login failed user=`, `Login disabled user=` or
`AUTHENTICATE PLAIN failure host=`. The end of a session has no session id.
"""

from __future__ import annotations

import re

from popauthd.formats.framing import Frame
from popauthd.formats.row import Format, Outcome
from popauthd.formats.sentence import ADDRESS, HOST, USER, Sentence, carries
from popauthd.model import Refusal

CUT = 80  # bytes: "%.80s"
_PROTOCOLS = {b"imapd": "imap", b"ipop3d": "pop3"}
_looks = carries(rb"(?:login|authenticated|apop|auth) user=[^\n]{0,255} host=")

SENTENCE = Sentence(
    "uw",
    re.compile(
        rb"(?:Login|Authenticated|APOP|Auth|Admin Login) user=" + USER + rb" host="
        rb"(?P<host>(?:" + HOST + rb" )?\[" + ADDRESS + rb"\])"
        rb"(?: mech=(?P<method>[A-Z0-9_-]{1,20}))?(?: nmsgs=[0-9]{1,10}/[0-9]{1,10}| no mailbox)?"
    ),
    re.compile(rb"(?:Login|Authenticated|APOP|Auth|Admin Login) user="),
    carries(rb"(?:^|[^a-z])(?:login|authenticated|apop|auth) user="),
    _PROTOCOLS,
)


def read(frame: Frame, at: int) -> Outcome:
    """A login, or a refusal if its user or its host may have been cut."""
    found = SENTENCE.whole.fullmatch(frame.text)
    if found is not None and max(len(found["user"]), len(found["host"])) >= CUT:
        return Refusal("torn", at, format=SENTENCE.name)
    return SENTENCE.read(frame, at)


ROWS = (
    Format(
        name="uw",
        part_of="uw",
        programs=("imapd", "ipop3d"),
        read=read,
        triggers=(b"login user=", b"authenticated user=", b"apop user=", b"auth user="),
        looks_like_login=_looks,
        since="UW IMAP 2000 to Panda IMAP",
        source="jonabbey/panda-imap src/imapd/imapd.c, src/ipopd/ipop3d.c; Wazuh's decoders; samples only",
    ),
)
