"""Dovecot as a proxy: `imap-login: proxy(alice): started proxying to 10.0.0.5:143: user=<alice>, .., rip=..`.

On a proxy this is the only line that tells of a success, and its rip is the client's. It counts only
with proxy_lines. The text before the elements names the user too, and must have one of the forms that
Dovecot 1.x to 2.4 write (client-common-auth.c at 2.0.15 to 2.4.4). The elements are read in the same way as those of
a login.

LIMIT: the session id is not used: a proxy writes the end of a session in too many ways.
"""

from __future__ import annotations

import re
from dataclasses import replace

from popauthd.formats.framing import Frame
from popauthd.formats.headers import LEVEL
from popauthd.formats.servers import dovecot
from popauthd.model import Event, Login, Refusal

NAME = "dovecot-proxy"

_PLAIN = rb"[^\x00-\x20\x7f<>(),=]{1,255}"
_AT = rb"(?:[A-Za-z0-9_.-]{1,255}(?:\[[0-9A-Fa-f:.]{2,45}\])?|\[?[0-9A-Fa-f:.]{2,45}\]?)(?::[0-9]{1,5})?"
_BEGINS = re.compile(
    rb"(?P<service>imap|pop3)-login: (?:(?P<level>" + LEVEL + rb"): )?proxy\([^\n]*?\): [Ss]tarted proxying "
)
_LINE = re.compile(
    rb"(?:imap|pop3)-login: (?:(?:"
    + LEVEL
    + rb"): )?proxy\((?P<who>"
    + _PLAIN
    + rb")(?:,"
    + _AT
    + rb")?\): [Ss]tarted proxying to "
    rb"(?:remote host|<" + _AT + rb">(?: \(<" + _AT + rb">\))?|" + _AT + rb"(?:/" + _PLAIN + rb")?)"
    rb"(?: from [0-9A-Fa-f:.]{2,45})?(?: as user " + _PLAIN + rb")?(?: \(master " + _PLAIN + rb"\))?"
    rb"(?: \([0-9]{1,6}\.[0-9]{1,6} secs(?:, [0-9]{1,6} reconnects)?\))?: (?=user=<)"
)


def read(frame: Frame, at: int, rip_last: bool = False) -> Event | None:
    """A login that a proxy passed on; None for any other line. rip_last: see dovecot.read."""
    begins = _BEGINS.match(frame.text)
    if begins is None:
        return None
    found = _LINE.match(frame.text)
    if found is None or dovecot.looks_like_success(frame.text[begins.end() :].lower()):
        return Refusal("bad-elements", at, format=NAME)
    level = begins["level"] if frame.level is None else frame.level
    if level not in (None, b"Info") or (level is None and frame.levelled) or (frame.level and begins["level"]):
        return Refusal("no-level", at, format=NAME)
    if dovecot.may_be_a_piece(frame):
        return Refusal("torn", at, format=NAME)
    elements = dovecot.elements_of(frame.text[found.end() :])
    if elements is None:
        return Refusal("bad-elements", at, format=NAME)
    whole = len(frame.text) < dovecot.LAST_WITHIN
    event = dovecot.login_of(elements, begins["service"].decode(), at, whole=whole, rip_last=rip_last)
    if isinstance(event, Login):
        return replace(event, session="", format=NAME)
    return event
