"""nginx as a mail proxy: `*5 client logged in, client: 198.51.100.7, server: 0.0.0.0:110, login: "a", upstream: ..`.

It needs `error_log .. info`. The port of `server` (110, 995, 143 or 993, or one that `services` of the source names)
tells the service; a login on any other port belongs to another service. The user stands in quotes, and a user with a
quote in it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from popauthd.formats.framing import Frame
from popauthd.formats.row import Format, Known, Outcome
from popauthd.formats.sentence import ADDRESS, PORTS, USER, carries, is_address, login
from popauthd.model import Ignored, Refusal

NAME = "nginx"
_looks = carries(rb"client logged in, client: ")
_AT = rb"(?:[0-9.]{7,15}|\[[0-9A-Fa-f:.]{2,45}\])"
_PLACE = rb"(?:[0-9.]{7,15}|\[?[0-9A-Fa-f:.]{2,45}\]?):[0-9]{1,5}"
_PAIR = rb"\[" + _PLACE + rb"-" + _PLACE + rb"\]"
_LINE = re.compile(
    rb"\[info\] [0-9]{1,10}#[0-9]{1,10}: \*[0-9]{1,20} client logged in, client: "
    + ADDRESS
    + rb"(?P<tls> using starttls)?, server: (?P<server>"
    + _AT
    + rb"):(?P<port>[0-9]{1,5}), login: \""
    + USER
    + rb"\", upstream: (?:"
    + _PLACE
    + rb"|unix:[^\x00-\x20\x7f,\"]{1,107})(?:, "
    + _PAIR
    + rb" <=> "
    + _PAIR
    + rb")?"
)
_BEGINS = re.compile(rb"\[[a-z]{1,10}\] [0-9]{1,10}#[0-9]{1,10}: (?:\*[0-9]{1,20} )?client logged in")


def read(frame: Frame, at: int, ports: Mapping[bytes, str] = PORTS) -> Outcome:
    """The event of a line of the error log. ports: the protocol that each port is for."""
    found = _LINE.fullmatch(frame.text)
    if found is None:
        if _BEGINS.match(frame.text):
            return Refusal("bad-elements", at, format=NAME)
        return Refusal("hostile-failure", at, format=NAME) if _looks(frame.text.lower()) else Ignored("other", NAME)
    protocol = ports.get(found["port"])
    if protocol is None:
        return Ignored("other-service", NAME)
    server = found["server"].strip(b"[]")
    if not is_address(server):
        return Refusal("bad-address", at, format=NAME)
    lip = b"" if server in (b"0.0.0.0", b"::") else server
    tls = found["tls"] or (found["port"] in (b"995", b"993") and b"tls") or b""
    return login(NAME, {"rip": found["rip"], "user": found["user"], "lip": lip, "tls": tls}, protocol, at)


def _adapted(row: Format, known: Known) -> Format:
    return replace(row, read=partial(read, ports={**known.services, **PORTS}))


ROWS = (
    Format(
        name=NAME,
        part_of=NAME,
        programs=(),
        read=read,
        triggers=(b"client logged in",),
        looks_like_login=_looks,
        since="nginx 1.0 to 1.28",
        source="nginx src/mail/ngx_mail_handler.c (ngx_mail_log_error), ngx_mail_proxy_module.c; samples only",
        own=NAME,
        adapted=_adapted,
    ),
)
