"""A grammar made of one pattern, for servers that write a login as one plain sentence.

The pattern must match the whole message, from its first byte to its last. Its groups are `rip` and, where the sentence
has them, `user`, `protocol`, `method`, `lip` and `tls`. A user must not contain the bytes that end a user in the
sentence, so no user name can write the rest of the line. A message that begins like a login and does not match is
refused. So is any other message that has the text of a login in it: an attacker chooses user names, reverse DNS names
and client ids.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from popauthd import address
from popauthd.formats.framing import Frame
from popauthd.formats.row import Format
from popauthd.model import Ignored, Login, Refusal

ADDRESS = rb"(?P<rip>[0-9A-Fa-f:.]{2,45})"
HOST = rb"[A-Za-z0-9_.:-]{1,255}"  # a reverse DNS name; these bytes cannot end it early
USER = rb"(?P<user>[^\x00-\x20\x7f\"'`(),:;<=>\[\\\]{|}]{1,255})"  # no blank, quote, bracket or separator of any server
PORTS: Mapping[bytes, str] = {b"110": "pop3", b"995": "pop3", b"143": "imap", b"993": "imap"}
LAST_WITHIN = 200  # bytes; syslog daemons cut messages at 256, 1024 and more, head included
PROTOCOLS: Mapping[bytes, str] = {b"imap": "imap", b"imaps": "imap", b"pop3": "pop3", b"pop3s": "pop3"}


def carries(*texts: bytes) -> Callable[[bytes], bool]:
    """A function that says whether a line has one of these patterns in it; line and patterns are in lower case."""
    pattern = re.compile(b"|".join(texts))
    return lambda low: pattern.search(low) is not None


def is_address(text: bytes) -> bool:
    """Whether this text is exactly one address."""
    return text.isascii() and address.canonical(text.decode()) is not None


def as_text(user: bytes) -> str:
    """A user's bytes as text; bytes that are not UTF-8 are shown as escapes."""
    return user.decode("utf-8", "backslashreplace")


@dataclass(frozen=True, slots=True)
class Sentence:
    """The one sentence of a server.

    whole: the pattern of a login. begins: a pattern for the beginning that only a login has.
    looks: whether a message, given in lower case, has the text of a login in it.
    protocols: the protocol for each text of the group `protocol`, or for each program where there is no such group.
    What is not in it is another service. protocol: the protocol if `protocols` is empty.
    """

    name: str
    whole: re.Pattern[bytes]
    begins: re.Pattern[bytes]
    looks: Callable[[bytes], bool]
    protocols: Mapping[bytes, str] = field(default_factory=dict)
    protocol: str = "pop3"

    def read(self, frame: Frame, at: int) -> Login | Refusal | Ignored | None:
        """The grammar of the row: what a message says, or None if it has nothing to do with a login."""
        found = self.whole.fullmatch(frame.text)
        if found is None:
            if self.begins.match(frame.text):
                return Refusal("bad-elements", at, format=self.name)
            return Refusal("hostile-failure", at, format=self.name) if self.looks(frame.text.lower()) else None
        if found.end("rip") == len(frame.text) >= LAST_WITHIN:
            return Refusal("torn", at, format=self.name)  # the address may have been cut, and then it is another one
        part = found.groupdict(b"")
        protocol = self.protocol
        if self.protocols:
            service = part.get("protocol") or frame.program.rpartition(b"/")[2]
            protocol = self.protocols.get(service, "")
        if not protocol:
            return Ignored("other-service", self.name)
        return login(self.name, part, protocol, at)


def login(name: str, part: Mapping[str, bytes], protocol: str, at: int) -> Login | Refusal:
    """A login from the named parts of a line, or a refusal."""
    user, method = as_text(part["user"]), part.get("method", b"").decode("ascii", "backslashreplace").upper()
    if not is_address(part["rip"]):
        return Refusal("bad-address", at, user=user, format=name)
    client = part["rip"].decode()
    if method == "ANONYMOUS" or user.lower() == "anonymous":
        return Refusal("anonymous", at, client, user, name)
    local = part.get("lip", b"")
    if local and not is_address(local):
        return Refusal("bad-address", at, user=user, format=name)
    return Login(at, client, user, protocol, method, bool(part.get("tls")), "", local.decode(), name)


def row_of(sentence: Sentence, trigger: bytes, since: str, source: str) -> Format:
    """The row of a server whose program, format and sentence have the same name. Only sample lines prove it."""
    name = sentence.name
    return Format(name, name, (name,), sentence.read, (trigger,), sentence.looks, since, f"{source}; samples only")
