"""Logins that take two lines: the address in the first, the success in the second.

Linked by host, program and process id. A link is used once, replaced when the process id comes again,
and worth nothing after two minutes, or when the clock of the lines steps back. It lives in memory
alone: what a restart cuts off is refused, never guessed. At most 4096 are kept; the oldest goes first,
so a flood of connections can lose a login and never gives one away.

LIMIT: a process id that comes again within two minutes, and whose first line syslog lost, would be
linked to the client before it.
"""

from __future__ import annotations

from typing import NamedTuple

from popauthd.address import parse
from popauthd.formats.framing import Frame
from popauthd.formats.row import Came, Passed
from popauthd.model import Ignored, Login, Refusal

LINK_SECONDS = 120
REMEMBERED = 4096

Key = tuple[str, bytes, bytes, bytes]


class Link(NamedTuple):
    """Where a process's client came from, and when."""

    address: str
    at: int


class Links:
    """The first lines that wait for their second. Belongs to one recogniser."""

    def __init__(self) -> None:
        self._waiting: dict[Key, Link] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def forget(self, name: str, frame: Frame) -> None:
        """What a process's first line said is in doubt: another line of it could not be read."""
        self._waiting.pop((name, frame.host, frame.program, frame.pid), None)

    def contradict(self, name: str, frame: Frame, address: str) -> bool:
        """Whether the process's first line told of another address than its login in one line does."""
        link = self._waiting.pop((name, frame.host, frame.program, frame.pid), None)
        return link is not None and parse(link.address) != parse(address)

    def join(self, name: str, half: Came | Passed, frame: Frame, at: int) -> Login | Refusal | Ignored:
        """Remember a first line; make a login of a second. name: the format's."""
        key = (name, frame.host, frame.program, frame.pid)
        link = self._waiting.pop(key, None)
        if isinstance(half, Came):
            if frame.pid:
                self._waiting[key] = Link(half.address, at)
                if len(self._waiting) > REMEMBERED:
                    del self._waiting[next(iter(self._waiting))]
            return Ignored("first-half", name)
        if link is None or not 0 <= at - link.at <= LINK_SECONDS:
            return Refusal("no-link", at, user=half.user, format=name)
        return Login(at, link.address, half.user, half.protocol, format=name)
