"""vpopmail (vchkpw): `vchkpw-pop3: (PLAIN) login success user@domain:1.2.3.4`.

A colon ends the user, and an IPv6 address has colons too: where more than one of them can be the end, nobody can tell
which, and the line is refused. So IPv4 is read, and IPv6 in eight groups; `::` mostly leaves two readings. Failures
can carry the password, which can carry anything: they begin with other words. The web mail's logins come from the web
server, and those of SMTP are none of POP or IMAP: both are other services.
"""

from __future__ import annotations

import re

from popauthd.formats.framing import Frame
from popauthd.formats.row import Format, Outcome
from popauthd.formats.sentence import ADDRESS, PROTOCOLS, USER, Sentence, carries, is_address
from popauthd.model import Refusal

_looks = carries(rb"login success ")
_looks_old = carries(rb"vchkpw: login \[")

SENTENCE = Sentence(
    "vpopmail",
    re.compile(
        rb"vchkpw-(?P<protocol>[a-z0-9]{1,16}): (?:\((?P<method>[A-Z0-9-]{1,20})\) )?login success "
        + USER
        + rb":"
        + ADDRESS
    ),
    re.compile(rb"vchkpw-[a-z0-9]{1,16}: (?:\([^ )]{0,32}\) )?login success "),
    _looks,
    PROTOCOLS,
)
OLD = Sentence(
    "vpopmail-old",
    re.compile(rb"vchkpw: login \[" + USER + rb"\] from " + ADDRESS),
    re.compile(rb"vchkpw: login "),
    _looks_old,
)


def read(frame: Frame, at: int) -> Outcome:
    """A login, unless it can be another user's from another address."""
    found = SENTENCE.whole.fullmatch(frame.text)
    if found is not None:
        parts = found["rip"].split(b":")
        if sum(is_address(b":".join(parts[start:])) for start in range(len(parts))) > 1:
            return Refusal("ambiguous", at, format=SENTENCE.name)
    return SENTENCE.read(frame, at)


ROWS = (
    Format(
        name="vpopmail",
        part_of="vpopmail",
        programs=("vpopmail",),
        read=read,
        triggers=(b"login success ",),
        looks_like_login=_looks,
        since="vpopmail 5.4",
        source="log samples of vpopmail's users; samples only",
    ),
    Format(
        name="vpopmail-old",
        part_of="vpopmail",
        programs=("vpopmail",),
        read=OLD.read,
        triggers=(b"vchkpw: login ",),
        looks_like_login=_looks_old,
        since="vpopmail 4",
        source="pop-before-smtp's pattern; no server source seen; samples only",
    ),
)
