"""The reason words, each with a sentence for the administrator.

A word says why a line or a login does not grant. Three tables: `LINES` has the words of the formats, which read lines;
`LOGINS` has those of the policy and the books, which judge a login that was read; `IGNORED` has those of lines that
have nothing to do with a good login. `REFUSED` are the first two together: each refusal is counted as `refused.WORD`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

LINES: Mapping[str, str] = MappingProxyType(
    {
        "ambiguous": "The line can be read in two ways: in two of the configured formats, or as another user's"
        " login from another address; or it contradicts an earlier line of its own process.",
        "anonymous": "The login used the ANONYMOUS mechanism, which needs no password.",
        "bad-address": "The client's or the server's address in the login is not exactly one IP address.",
        "bad-elements": "The login's elements cannot be read in exactly one way: an element is unknown, is there twice,"
        " or has brackets or a comma in it (see login_log_format_elements).",
        "bad-record": "The record is not one whole JSON object with one message.",
        "bad-stamp": "The line's time stamp names a time that does not exist, or has not this source's form.",
        "hostile-failure": "A failed login whose user name or mechanism contains the text of a successful login.",
        "multi-line": "The journal record's message has more than one line.",
        "no-address": "The login has no rip= element: login_log_format_elements must keep rip=%r.",
        "no-link": "The second of two lines that make a login; the first, with the client's address, is"
        " missing or too old.",
        "no-level": "The login is not at the place, or not at the level, where Dovecot's log process writes it.",
        "no-message": "The journal record of Dovecot's log process has no message.",
        "no-password": "The server did not check the password itself (Cyrus' imapd -N): a proxy in front did, and the"
        " address may be the proxy's.",
        "no-user": "The login names no user: login_log_format_elements must keep user=<%u>.",
        "other-host": "A login on a host that is not among the source's hostnames.",
        "other-program": "The text of a login, written by a program that is not among the source's programs.",
        "proxy-line": "A Dovecot proxy passed the login on to another server; logins on a proxy do not count.",
        "raw-pri": "The line begins with a raw syslog priority: a syslog datagram was written down as it came.",
        "repeated": "Syslog repeats the text of a login; a real login is never repeated.",
        "too-long": "The line is longer than 64 KiB and was not read.",
        "torn": "The login's line ends too early, or is so long that it may be a piece of a longer line: the address or"
        " the user may have been cut.",
        "undecided": "The lines so far do not tell which framing the file has.",
        "unframed": "The text of a login, without what stands before the message in this source's lines.",
        "unknown-message": "A line of a login process with a client's address. It is neither a known success"
        " nor a known failure.",
        "untrusted": "A login in the journal that Dovecot's own log process did not write.",
        "wrong-process": "The text of a login, written by a Dovecot process that does not log POP or IMAP logins.",
    }
)
"""Why a line is refused: it looks like a login, or has the text of one in it, but is not a valid login."""

LOGINS: Mapping[str, str] = MappingProxyType(
    {
        "bad-address": LINES["bad-address"],
        "loopback": "Loopback: a webmail or script on this host; granting it would open the relay to all of them.",
        "unspecified": "The unspecified address; no client has it.",
        "multicast": "A multicast address; no client has it.",
        "broadcast": "The broadcast address; no client has it.",
        "reserved": "A reserved address; no client has it.",
        "link-local": "A link-local address means another machine on every link.",
        "own-address": "The server's own address: a webmail or a hairpin through NAT.",
        "never": "The address is in a network listed under `never`.",
        "proxy": "The address is listed under `proxies`: many users share it.",
        "anonymous": LINES["anonymous"],
        "no-user": LINES["no-user"],
        "peer-name": "The user's name has the form of a pseudonym, by which the nodes of a cluster name users.",
        "protocol": "The login's protocol is not among `protocols`.",
        "mechanism": "The login's mechanism is listed under `refuse_mechanisms`, or not known.",
        "no-tls": "The log does not say that the login came under TLS (`require_tls`).",
        "user-denied": "The user is listed in `deny_users`, or may be: the log has only the beginning of a long name.",
        "user-not-listed": "The user is not listed in `users_file`, or the log has only the beginning of his name.",
        "future": "The login lies further in the future than `future` allows: a clock or time zone is wrong.",
        "expired": "The login is older than the lifetime; it can grant nothing.",
        "revoked": "The address or the user was revoked at or after this login; a newer login opens it again.",
        "shared-address": "More than `shared_users` users logged in from the address within the lifetime.",
    }
)
"""Why a login is refused that was read without doubt."""

IGNORED: Mapping[str, str] = MappingProxyType(
    {
        "empty": "The line is empty.",
        "first-half": "The first of two lines that make a login: a client came; the second must follow.",
        "failure": "A login that failed or was given up.",
        "other": "The line has nothing to do with a login.",
        "other-service": "A login to another service than POP and IMAP.",
        "undecided": LINES["undecided"],
    }
)
"""What a line is that has nothing to do with a login, or tells of a failed one. It is not counted by its word."""

REFUSED: Mapping[str, str] = MappingProxyType({**LINES, **LOGINS})
"""Every reason for which a line or a login is refused."""

FAILED: Mapping[str, str] = MappingProxyType(
    {
        "password": "wrong user name or password",
        "no-tls": "the mail program did not use TLS, and the server asks for no password without it",
        "disabled": "the user is disabled",
        "expired": "the password has expired",
    }
)
"""Why a login failed, as `popauthctl check` says it."""
