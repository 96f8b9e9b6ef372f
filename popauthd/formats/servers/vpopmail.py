"""vpopmail (vchkpw): `vchkpw-pop3: (PLAIN) login success user@domain:1.2.3.4`.

A colon ends the user, and an IPv6 address has colons too. If more than one colon could end the user, the line is
refused. So IPv4 addresses and IPv6 addresses in eight groups are read; an address with `::` mostly can be read in two
ways. Failures may contain the password, which can be any text, but they begin with other words. The logins of the web
mail come from the web server, and logins of SMTP are neither POP nor IMAP: both are other services.
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
    """A login, or a refusal if the line could also be another user's login from another address."""
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
