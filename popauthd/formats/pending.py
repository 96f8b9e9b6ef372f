"""Logins that take two lines: the address in the first, the success in the second.

The two lines are linked by host, program and process id. A link is used once. It is replaced when the same process id
comes again, and it counts no more after two minutes, or when the time of the lines steps back. Links are kept in
memory only: a second line whose first line came before a restart is refused. At most 4096 links are kept, and the
oldest is dropped first, so a flood of connections can lose a login but never makes one.

LIMIT: if a process id comes again within two minutes, and syslog has lost the first line of the new process, its
second line is linked to the client of the old process.
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
    """The address of a process's client, and the time of the first line."""

    address: str
    at: int


class Links:
    """The first lines that wait for their second lines. Belongs to one recogniser."""

    def __init__(self) -> None:
        self._waiting: dict[Key, Link] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def forget(self, name: str, frame: Frame) -> None:
        """Forget the first line of a process, because another line of the same process could not be read."""
        self._waiting.pop((name, frame.host, frame.program, frame.pid), None)

    def contradict(self, name: str, frame: Frame, address: str) -> bool:
        """Whether the first line of a process named another address than its login in one line does."""
        link = self._waiting.pop((name, frame.host, frame.program, frame.pid), None)
        return link is not None and parse(link.address) != parse(address)

    def join(self, name: str, half: Came | Passed, frame: Frame, at: int) -> Login | Refusal | Ignored:
        """Remember a first line; make a login from a second line. name: the format's name."""
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
