"""Failed logins: who failed to log in from where, as the servers write it. For `popauthctl check` alone.

Every pattern names one server's line from its first byte to its last, or to where the client's address and user are
past. A line that is read here has been read by its grammar first, which does not take it for a login. So nothing here
grants or refuses, and a line in a form that is not known here only explains less.

LIMIT: what a client calls its user is any text, and a server that does not quote it may write another's address.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from popauthd import address
from popauthd.formats.dovecot_wording import LOGIN_PROCESS, SERVICE
from popauthd.formats.framing import Frame
from popauthd.formats.row import Format
from popauthd.formats.sentence import ADDRESS, HOST, USER, as_text
from popauthd.model import Failure

USER_CHARACTERS = 255  # of a user name that are kept

# What Dovecot says before the elements of a login, and why it failed (client-common.c, client-common-auth.c).
_DOVECOT_WHY = (
    ("disabled", re.compile(rb"\(user disabled|\(user_disabled\)")),
    ("expired", re.compile(rb"\(password expired|\(password_expired\)|\(pass_expired\)")),
    ("no-tls", re.compile(rb"disallowed plaintext auth|disabled plaintext auth|Cleartext authentication disabled")),
    ("password", re.compile(rb"auth failed|\(auth_failed\)|[0-9] authentication attempts")),
)


class Row(NamedTuple):
    """One form of a failed login. trigger: a text in lower case that every such line has in it.

    pattern: has the group `rip` and, where the line names the user, `user`. Other servers' rows than Dovecot's tell of
    wrong passwords alone; `why` is the group of a text that tells more.
    """

    part_of: str
    trigger: bytes
    pattern: re.Pattern[bytes]


_ANY_USER = rb"(?P<user>[^\x00-\x1f\x7f]{1,255}?)"  # where the text behind it is certain

ROWS = (
    Row(
        "dovecot",
        b"rip=",
        re.compile(
            rb"(?:%b)%b(?:Info: )?(?P<why>[^<>\n]{0,900}?): (?:user=<(?P<user>[^<>\x00-\x1f\x7f]*)>, )?"
            rb"(?:method=[A-Za-z0-9_-]{1,20}, )?rip=%b(?:, [^\n]*)?" % (SERVICE, LOGIN_PROCESS, ADDRESS)
        ),
    ),
    Row(
        "courier",
        b"login failed, ",
        re.compile(
            rb"(?:INFO: )?LOGIN FAILED, (?:user=%b, )?(?:method=[A-Z0-9-]{1,20}, )?ip=\[%b\](?:, port=\[[0-9]{1,5}\])?"
            % (USER, ADDRESS)
        ),
    ),
    Row(
        "cyrus",
        b"badlogin: ",
        re.compile(
            rb"badlogin: (?:%b )?\[%b\] [A-Za-z0-9_-]{1,20}(?: \(%b\)| (?P<plain>[^\x00-\x20\x7f\[\]()]{1,255}))?"
            rb"(?: [^\n]*)?" % (HOST, ADDRESS, USER)
        ),
    ),
    Row(
        "uw",
        b" fail",
        re.compile(
            rb"(?:Login failed|Login excessive login failures) user=%b auth=[^\x00-\x20\x7f]{1,255} host=(?:%b )?\[%b\]"
            % (USER, HOST, ADDRESS)
        ),
    ),
    Row("uw", b" fail", re.compile(rb"AUTHENTICATE [A-Z0-9-]{1,20} failure host=(?:%b )?\[%b\]" % (HOST, ADDRESS))),
    Row(
        "nginx",
        b"client login failed: ",
        re.compile(
            rb"\[info\] [0-9]{1,10}#[0-9]{1,10}: \*[0-9]{1,20} client login failed: \"[^\"\n]{0,200}\" while in"
            rb" http auth state, client: %b(?: using starttls)?, server: [^\x00-\x20\x7f,]{1,60}, login: \"%b\""
            % (ADDRESS, USER)
        ),
    ),
    Row(
        "vpopmail",
        b"vchkpw-",
        re.compile(
            rb"vchkpw-(?:pop3|pop3s|imap|imaps): (?:password fail(?: \(pass: '[^'\n]{0,128}'\))?"
            rb"|vpopmail user not found) %b:%b" % (USER, ADDRESS)
        ),
    ),
    Row(
        "popa3d",
        b"authentication failed",
        re.compile(rb"Authentication failed for %b -- \[%b\]" % (_ANY_USER, ADDRESS)),
    ),
    Row(
        "solid-pop3d",
        b"authentication failed",
        re.compile(rb"(?:APOP )?authentication failed(?: for user |: no such user: )%b - %b" % (USER, ADDRESS)),
    ),
    Row("tpop3d", b"failed login for", re.compile(rb"[a-z0-9_]{1,64}: failed login for \[[0-9]{1,9}\]%b" % ADDRESS)),
    Row(
        "teapop",
        b"failed login for",
        re.compile(rb"Failed login for %b \[[0-9A-Fa-f:.]{2,45}\] from %b \[%b\]" % (USER, HOST, ADDRESS)),
    ),
    Row("vm-pop3d", b"failed to log in", re.compile(rb"User '%b' failed to log in from %b" % (USER, ADDRESS))),
    Row(
        "perdition",
        b"auth:",
        re.compile(
            rb"Auth: ?%b:[0-9]{1,5}->[0-9.]{7,15}:[0-9]{1,5} client-secure=[a-z]{1,12} authorisation_id=NONE"
            rb" authentication_id=\"%b\" [^\n]{0,300} status=\"failed: [A-Za-z -]{1,80}\""
            % (rb"(?P<rip>[0-9.]{7,15})", USER)
        ),
    ),
    Row(
        "stalwart",
        b"(auth.failed)",
        re.compile(
            rb"INFO Authentication failed \(auth\.failed\) [^\n\"]{0,60}(?:\"[a-z0-9]{1,32}\")?[^\n\"]{0,60}"
            rb"remoteIp = %b(?:, remotePort = [0-9]{1,5})?(?:, accountName = \"%b\")?(?:, [^\n]*)?" % (ADDRESS, USER)
        ),
    ),
    Row(
        "zimbra",
        b"authentication failed for",
        re.compile(
            rb"INFO {1,2}\[[^\]\n]{1,128}\] \[[^\]\n]{0,300}?(?<![a-z])oip=%b;[^\]\n]{0,2000}\] (?:imap|pop) - "
            rb"authentication failed for \[%b\][^\n]{0,200}" % (ADDRESS, USER)
        ),
    ),
)


def read(rows: tuple[Format, ...], frame: Frame, at: int) -> Failure | None:
    """Who failed to log in, if a line of these formats tells; None if it does not."""
    servers = {row.part_of for row in rows}
    for row in ROWS:
        found = row.pattern.fullmatch(frame.text) if row.part_of in servers else None
        client = address.canonical(found["rip"].decode()) if found else None
        if found is None or client is None:
            continue
        part = found.groupdict(b"")
        reason = why(part["why"]) if "why" in part else "password"
        if reason:
            user = as_text(part.get("user") or part.get("plain") or b"")
            return Failure(at, client, user[:USER_CHARACTERS], reason)
    return None


def why(said: bytes) -> str:
    """Why a login failed at Dovecot, from what it says of it; "" if it was no wrong password or the like."""
    return next((why for why, pattern in _DOVECOT_WHY if pattern.search(said)), "")
