"""The second opinion on whole logs: heads of every framing, and logins that take two lines."""

from __future__ import annotations

from popauthd.model import Login
from tests.unit.oracle import SERVERS, Found, Line, found, is_address, syslog

HALVES = {  # what begins the first line; before and behind the user of the second
    "popa3d": (b"Session from ", b"Authentication passed for ", b""),
    "solid-pop3d": (b"connect from ", b"user ", b" authenticated"),
    "vm-pop3d": (b"Connect from ", b"User ", b" logged in"),
}


def body(raw: bytes, framing: str) -> Line | None:
    """A line without its head, by its framing."""
    if framing == "syslog":
        return syslog(raw)
    if framing == "zimbra-file":
        tail = raw.partition(b" mailboxlog ")[2] if raw[:1].isalpha() else raw
        return Line(b"", b"", b"", b" ".join(tail.split(b" ")[2:]))
    if framing == "nginx-file":
        return Line(b"", b"", b"", b" ".join(raw.split(b" ")[2:]))
    if framing == "stalwart-file":
        return Line(b"", b"", b"", raw.partition(b" ")[2])
    return Line(b"", b"popper", b"", raw.partition(b" [popper] ")[2])


class Oracle:
    """Reads one log of one or several servers and says which logins are defensible."""

    def __init__(self, names: tuple[str, ...], framing: str) -> None:
        self.names, self.framing = names, framing
        self._came: dict[tuple[bytes, ...], bytes] = {}

    def agrees(self, raw: bytes, login: Login | None) -> bool:
        """Take a line; whether `login`, or none, may be what it says."""
        line = body(raw, self.framing)
        if line is None:
            return login is None
        opinions = {opinion for name in self.names if (opinion := self._of(name, line))}
        if login is None:
            return True
        user = login.user.encode("utf-8", "surrogatepass")
        return any(
            address.decode() == login.address and (not who or who.decode("utf-8", "backslashreplace").encode() == user)
            for who, address in opinions
        )

    def _of(self, name: str, line: Line) -> Found:
        opinion = SERVERS[name](line)
        if opinion is None and name in HALVES:
            opinion = self._linked(name, line)
        return opinion

    def _linked(self, name: str, line: Line) -> Found:
        first, before, behind = HALVES[name]
        key = (name.encode(), line.host, line.program, line.pid)
        if line.text.startswith(first) and is_address(line.text[len(first) :]) and line.pid:
            self._came[key] = line.text[len(first) :]
            return None
        text = line.text.removeprefix(b"mapped ").removesuffix(b" through APOP")
        if not text.startswith(before) or not text.endswith(behind):
            return None
        user = text[len(before) : len(text) - len(behind)]
        return found(user, self._came.get(key, b""))
