"""The rows of the FORMATS table, and what a grammar takes and returns.

A grammar takes a line without its header (see framing.py), and the line's time. It returns an event, or None if its
server does not write such a line, or one half of a login that takes two lines (see pending.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from popauthd.formats.framing import Frame
from popauthd.model import Event


@dataclass(frozen=True, slots=True)
class Came:
    """The first of two lines: a client came from this address."""

    address: str


@dataclass(frozen=True, slots=True)
class Passed:
    """The second of two lines: the client of the same process logged in."""

    user: str
    protocol: str


Outcome = Event | Came | Passed | None
Grammar = Callable[[Frame, int], Outcome]


@dataclass(frozen=True, slots=True)
class Known:
    """What an administrator says of his own servers, as no line can tell it.

    services: the protocol for each name of a Cyrus service and each port of nginx, beside the usual ones.
    rip_last: whether Dovecot's login_log_format_elements ends with the client's address.
    """

    services: Mapping[bytes, str] = field(default_factory=dict)
    rip_last: bool = False


@dataclass(frozen=True, slots=True)
class Format:
    """One form in which a server writes a login.

    part_of: the name that an administrator gives for it in `formats`; several rows may have the same.
    programs: the syslog identifiers; () if it is never in syslog. own: the Shape.own_format of the own files that it
    is read in; "" for none. renamed: Options.programs replaces the programs. prefixed: a prefix and a slash may stand
    before the program. proxies: the row counts only with Options.proxy_lines. adapted: gives the row for what is known
    of the server.
    triggers: texts in lower case. ending: the pattern of what a session's end has in it, as it is written. If a line
    has neither in it, read() returns nothing that matters.
    looks_like_login: whether a line, given in lower case, has the text of a login anywhere in it.
    since: the versions of the server that write this form. source: where the form is known from.
    real: the version of the real server that a test runs; "" if only sample lines prove the row.
    """

    name: str
    part_of: str
    programs: tuple[str, ...]
    read: Grammar
    triggers: tuple[bytes, ...]
    looks_like_login: Callable[[bytes], bool]
    since: str
    source: str
    real: str = ""
    own: str = ""
    renamed: bool = False
    prefixed: bool = False
    proxies: bool = False
    adapted: Callable[[Format, Known], Format] | None = None
    ending: re.Pattern[bytes] | None = None
