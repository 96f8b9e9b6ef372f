"""Zimbra: `[name=a@b;ip=1.2.3.4;oip=5.6.7.8;ua=Thunderbird;] imap - user a@b authenticated, mechanism=LOGIN [TLS]`.

`oip` is the client, `ip` the nginx in front of the server. `ua` and `via` stand in the same brackets and hold text that
the client chooses. What follows `oip` is not read, and the line is refused if an address is named there again.

Where TLS was not started, the POP3 server of newer versions leaves the blank before it (Pop3Handler.java).

LIMIT: without nginx in front there is no `oip`. A client that can reach the mailbox server itself can send one (IMAP
ID, X-ORIGINATING-IP): keep those ports closed.
"""

from __future__ import annotations

import re

from popauthd.formats.framing import Frame
from popauthd.formats.row import Format, Outcome
from popauthd.formats.sentence import ADDRESS, USER, carries, login
from popauthd.model import Ignored, Refusal

NAME = "zimbra"
_looks = carries(rb" authenticated, mechanism=")
_LINE = re.compile(
    rb"INFO {1,2}\[[A-Za-z0-9:._/-]{1,128}\] \[(?P<context>[^\x00-\x1f\x7f\[\]]{1,2000})\]"
    rb" (?:imap|(?P<pop>pop)) - user "
    + USER
    + rb" authenticated, mechanism=(?P<method>[A-Z0-9-]{1,20})(?:(?P<tls> \[TLS\])|(?(pop) ?))"
)
_BEGINS = re.compile(
    rb"INFO {1,2}\[[^\]\n]{1,500}\] \[[^\n]{1,3000}\] (?:imap|pop) - user [^ \n]{1,255} authenticated, "
)
_CONTEXT = re.compile(
    rb"(?:name=[^;=\[\]]{1,255};)?(?:aname=[^;=\[\]]{1,255};)?(?:mid=[0-9]{1,10};)?"
    rb"ip=(?P<proxy>[0-9A-Fa-f:.]{2,45});oip=" + ADDRESS + rb";(?P<rest>[^\n]*)"
)
_AGAIN = re.compile(rb"ip=", re.IGNORECASE)


def read(frame: Frame, at: int) -> Outcome:
    """The event of a line of mailbox.log."""
    found = _LINE.fullmatch(frame.text)
    if found is None:
        if _BEGINS.match(frame.text):
            return Refusal("bad-elements", at, format=NAME)
        return Refusal("hostile-failure", at, format=NAME) if _looks(frame.text.lower()) else Ignored("other", NAME)
    context = _CONTEXT.fullmatch(found["context"])
    if context is None or _AGAIN.search(context["rest"]):
        return Refusal("bad-elements", at, format=NAME)
    part = {key: found[key] or b"" for key in ("user", "method", "tls")}
    return login(NAME, {**part, "rip": context["rip"]}, "pop3" if found["pop"] else "imap", at)


ROWS = (
    Format(
        name=NAME,
        part_of=NAME,
        programs=(),
        read=read,
        triggers=(b"authenticated, mechanism=",),
        looks_like_login=_looks,
        since="Zimbra 8 to 10",
        source="Zimbra's ImapHandler.java, Pop3Handler.java, log samples of its users; samples only",
        own=NAME,
    ),
)
