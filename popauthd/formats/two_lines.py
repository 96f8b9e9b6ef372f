"""A server that tells of a login in two lines: the address in the first, the success in the second (see pending.py)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from popauthd.formats.framing import Frame
from popauthd.formats.row import Came, Format, Outcome, Passed
from popauthd.formats.sentence import Sentence, as_text, is_address
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

    def row(self, programs: tuple[str, ...], triggers: tuple[bytes, bytes], since: str, source: str) -> Format:
        """The row of a server; triggers: of the first and of the second line."""
        name = self.one.name
        return Format(name, name, programs, self.read, triggers, self.one.looks, since, source)
