"""popa3d, solid-pop3d and vm-pop3d: the address in one line, the login in another (see pending.py).

popa3d: `Session from 198.51.100.7`, `Authentication passed for alice`; with a patch of pop-before-smtp's
one line, `Authentication passed for alice -- [198.51.100.7]`.
solid-pop3d: `connect from 198.51.100.7`, `user alice authenticated`; with --enable-logextend (Debian's)
one line, `user alice authenticated - 198.51.100.7`.
vm-pop3d: `Connect from 198.51.100.7`, `User alice logged in`; newer `User 'alice' logged in from 198.51.100.7`.

What a failed login says begins otherwise, and its user stands behind its first word.

A user of popa3d could call himself as the patched line goes on, ` -- [ADDRESS]`: a line that names another address than
the first line of its process did is refused.
LIMIT: where that first line is missing, it counts by itself; no system user has a blank in his name.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from popauthd.formats.framing import Frame
from popauthd.formats.row import Came, Format, Outcome, Passed
from popauthd.formats.sentence import ADDRESS, USER, Sentence, as_text, carries, is_address
from popauthd.model import Refusal


@dataclass(frozen=True, slots=True)
class TwoLines:
    """came, passed: the two lines. one: the same server's one line, which counts by itself."""

    came: re.Pattern[bytes]
    passed: re.Pattern[bytes]
    one: Sentence

    def read(self, frame: Frame, at: int) -> Outcome:
        """One half, a login in one line, or why it is none: the grammar of the row."""
        came = self.came.fullmatch(frame.text)
        if came is not None:
            good = is_address(came["rip"])
            return Came(came["rip"].decode()) if good else Refusal("bad-address", at, format=self.one.name)
        passed = self.passed.fullmatch(frame.text)
        if passed is None:
            return self.one.read(frame, at)
        if passed["user"].lower() == b"anonymous":
            return Refusal("anonymous", at, user=as_text(passed["user"]), format=self.one.name)
        return Passed(as_text(passed["user"]), self.one.protocol)


_looks_popa3d = carries(rb"authentication passed for ")
POPA3D = TwoLines(
    re.compile(rb"Session from " + ADDRESS),
    re.compile(rb"Authentication passed for " + USER),
    Sentence(
        "popa3d",
        re.compile(rb"Authentication passed for " + USER + rb" -- \[" + ADDRESS + rb"\]"),
        re.compile(rb"Authentication passed|Session from "),
        _looks_popa3d,
    ),
)
_looks_solid = carries(rb"user [^ \n]{0,255} authenticated")
SOLID = TwoLines(
    re.compile(rb"connect from " + ADDRESS),
    re.compile(rb"(?:mapped )?user " + USER + rb" authenticated(?: through APOP)?"),
    Sentence(
        "solid-pop3d",
        re.compile(rb"(?:mapped )?user " + USER + rb" authenticated(?: through APOP)? - " + ADDRESS),
        re.compile(rb"(?:mapped )?user [^\n]{0,500} authenticated"),
        _looks_solid,
    ),
)
_looks_vm = carries(rb"user [^ \n]{0,255} logged in")
VM = TwoLines(
    re.compile(rb"Connect from " + ADDRESS),
    re.compile(rb"User " + USER + rb" logged in"),
    Sentence(
        "vm-pop3d",
        re.compile(rb"User '" + USER + rb"' logged in from " + ADDRESS),
        re.compile(rb"User '?[^ ]{0,255} logged in"),
        _looks_vm,
    ),
)


def _row(
    lines: TwoLines,
    programs: tuple[str, ...],
    first: bytes,
    second: bytes,
    looks: Callable[[bytes], bool],
    since: str,
    source: str,
) -> Format:
    name = lines.one.name
    return Format(name, name, programs, lines.read, (first, second), looks, since, source)


ROWS = (
    _row(
        POPA3D, ("popa3d",), b"session from ", b"authentication passed", _looks_popa3d,
        "popa3d 0.4 to 1.0", "popa3d's strings; pop-before-smtp contrib/popa3d for the patched line; samples only",
    ),
    _row(
        SOLID, ("spop3d", "solid-pop3d"), b"connect from ", b" authenticated", _looks_solid,
        "solid-pop3d 0.15", "solid-pop3d's strings; fail2ban's samples; samples only",
    ),
    _row(
        VM, ("vm-pop3d",), b"connect from ", b" logged in", _looks_vm,
        "vm-pop3d 1.1", "pop-before-smtp's patterns; no server source seen; samples only",
    ),
)  # fmt: skip
