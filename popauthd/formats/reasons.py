"""The reason words of Refusal and Ignored, each with a sentence for the administrator."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

REASONS: Mapping[str, str] = MappingProxyType(
    {
        # refused: looks like a login, or quotes one, and does not hold
        "ambiguous": "The line can be read in two ways: by two of the configured formats, as another user from another"
        " address, or against what its own process said before.",
        "anonymous": "The login used the ANONYMOUS mechanism, which needs no password.",
        "bad-address": "The client's or the server's address in the login is not exactly one IP address.",
        "bad-elements": "The login's elements cannot be read in exactly one way: one is unknown, there twice,"
        " or holds brackets or a comma (see login_log_format_elements).",
        "bad-record": "The record is not one whole JSON object with one message.",
        "bad-stamp": "The line's time stamp names no moment, or is not in a form that this source has.",
        "hostile-failure": "A failed login whose user name or mechanism carries the text of a successful one.",
        "multi-line": "The journal record's message has more than one line.",
        "no-address": "The login has no rip= element: login_log_format_elements must keep rip=%r.",
        "no-link": "The second of two lines that make a login; the first, with the client's address, is"
        " missing or too old.",
        "no-level": "The login stands at another place or level than Dovecot's log process puts it.",
        "no-message": "The journal record of Dovecot's log process has no message.",
        "no-user": "The login names no user: login_log_format_elements must keep user=<%u>.",
        "other-host": "A login of a host that is not among the source's hostnames.",
        "other-program": "The text of a login, written by a program that is not among the source's programs.",
        "proxy-line": "A Dovecot proxy handed the session on; logins on a proxy do not count.",
        "raw-pri": "The line begins with a raw syslog priority: a datagram that was written down unread.",
        "repeated": "syslog repeats the text of a login; a real login is never repeated.",
        "too-long": "The line is longer than 64 KiB and was not read.",
        "torn": "The login ends in the middle, or is so long that it may be a piece of a longer line: its address or"
        " its user may be cut.",
        "unframed": "The text of a login without the head that the source's lines have.",
        "unknown-message": "A line of a login process, with a client's address, that is neither a known success"
        " nor a known failure.",
        "untrusted": "A login in the journal that Dovecot's own log process did not write.",
        "wrong-process": "The text of a login, written by a Dovecot process that does not log POP or IMAP logins.",
        # ignored: nothing to do with a login, or a failed one
        "empty": "The line is empty.",
        "first-half": "The first of two lines that make a login: a client came; the second must follow.",
        "failure": "A login that failed or was given up.",
        "other": "The line has nothing to do with a login.",
        "other-service": "A login to another service than POP and IMAP.",
        "undecided": "The lines so far do not tell which framing the file has.",
    }
)
