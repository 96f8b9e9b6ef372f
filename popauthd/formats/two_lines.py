"""A server that writes a login in two lines: first the address, then the success (see pending.py)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from popauthd.formats.framing import Frame
from popauthd.formats.row import Came, Format, Outcome, Passed
from popauthd.formats.sentence import Sentence, as_text, is_address
from popauthd.model import Refusal


@dataclass(frozen=True, slots=True)
class TwoLines:
    """came, passed: the patterns of the two lines. one: the line in which the same server may say both at once."""

    came: re.Pattern[bytes]
    passed: re.Pattern[bytes]
    one: Sentence

    def read(self, frame: Frame, at: int) -> Outcome:
        """The grammar of the row: one half of a login, a whole login in one line, or the reason for a refusal."""
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

    def row(self, programs: tuple[str, ...], triggers: tuple[bytes, bytes], since: str, source: str) -> Format:
        """The row of a server. triggers: one of the first line, one of the second line."""
        name = self.one.name
        return Format(name, name, programs, self.read, triggers, self.one.looks, since, source)
