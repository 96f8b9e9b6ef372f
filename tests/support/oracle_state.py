"""The second opinion on whole logs: heads of every framing, and logins that take two lines."""

from __future__ import annotations

from popauthd.model import Login
from tests.support.oracle import SERVERS, Line, found, is_address, syslog

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


STAMPS = {f"Mar  1 10:0{minute}:{second:02}".encode() for minute in range(3) for second in range(60)}


class Oracle:
    """Reads one log of one or several servers and says which logins are defensible."""

    def __init__(self, names: tuple[str, ...], framing: str) -> None:
        self.names, self.framing = names, framing
        self._came: dict[tuple[bytes, ...], set[bytes]] = {}

    def agrees(self, raw: bytes, login: Login | None) -> bool:
        """Take a line; whether `login`, or none, may be what it says."""
        line = body(raw, self.framing)
        if line is None:
            return login is None
        sure = raw[:15] in STAMPS and raw[15:16] == b" "
        opinions = {opinion for name in self.names for opinion in self._of(name, line, sure)}
        if login is None:
            return True
        user = login.user.encode("utf-8", "surrogatepass")
        return any(
            address.decode() == login.address and (not who or who.decode("utf-8", "backslashreplace").encode() == user)
            for who, address in opinions
        )

    def _of(self, name: str, line: Line, sure: bool) -> set[tuple[bytes, bytes]]:
        opinion = SERVERS[name](line)
        return ({opinion} if opinion else set()) | (self._linked(name, line, sure) if name in HALVES else set())

    def _linked(self, name: str, line: Line, sure: bool) -> set[tuple[bytes, bytes]]:
        """A line whose head is in doubt (not sure) may, or may not, be the newer of two first lines."""
        first, before, behind = HALVES[name]
        key = (name.encode(), line.host, line.program, line.pid)
        if line.text.startswith(first) and is_address(line.text[len(first) :]) and line.pid:
            self._came[key] = {line.text[len(first) :]} | (set() if sure else self._came.get(key, set()))
            return set()
        text = line.text.removeprefix(b"mapped ").removesuffix(b" through APOP")
        if not text.startswith(before) or not text.endswith(behind):
            return set()
        user = text[len(before) : len(text) - len(behind)]
        return {pair for address in self._came.get(key, set()) if (pair := found(user, address))}
