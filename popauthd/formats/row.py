"""What a row of the FORMATS table is, and what a grammar gets and gives.

A grammar gets a line whose head is off (see framing.py) and its time, and gives an event, None where
the line is none of its server's business, or one half of a login that takes two lines (pending.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

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
class Format:
    """One way of saying that somebody logged in.

    part_of: the name an administrator gives for it (several rows may belong to one server).
    programs: the syslog identifiers; empty if it is never in syslog. own: the own files of framing.SHAPES
    it is read in, "" for none. renamed: Options.programs replaces the programs. prefixed: a prefix and a
    slash may stand before the program. proxies: the row counts only with Options.proxy_lines.
    triggers: in lower case; without one of them in a line, read() gives nothing that matters.
    looks_like_login: whether a line in lower case carries a login's text, wherever it stands.
    real: the version of the real server that a test proves it on, "" for samples only.
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
