"""The grammars of one source: which formats its lines may have, and what they make of a line."""

from __future__ import annotations

from dataclasses import replace

from popauthd.formats import ambiguity
from popauthd.formats.framing import Frame
from popauthd.formats.options import Options, by_program
from popauthd.formats.pending import Links
from popauthd.formats.row import Came, Format, Passed
from popauthd.formats.servers import FORMATS, dovecot
from popauthd.model import Event, Ignored, Login, Refusal


class Grammars:
    """The rows of FORMATS that a source's options choose. `links`: first lines that wait for their second."""

    def __init__(self, options: Options) -> None:
        rows = [row for row in FORMATS if row.part_of in options.formats and (options.proxy_lines or not row.proxies)]
        self.links = Links()
        self._options = options
        self._own = {row.own: tuple(other for other in rows if other.own == row.own) for row in rows if row.own}
        self._programs = by_program(rows, options, prefixed=False)
        self._prefixed = by_program(rows, options, prefixed=True)
        self._triggers = tuple(dict.fromkeys(trigger for row in rows for trigger in row.triggers))
        self._lookers = tuple(dict.fromkeys(row.looks_like_login for row in rows))

    def has_own_file(self, name: str | None) -> bool:
        """Whether a server's own file, by the name of headers.OWNERS, is among what may be read."""
        return name in self._own

    def of_frame(self, frame: Frame) -> tuple[Format, ...]:
        """The formats that a line taken apart may have."""
        return self._own.get(frame.own_format, ()) if frame.own_format else self.of_program(frame.program)

    def of_program(self, program: bytes) -> tuple[Format, ...]:
        """The formats of a syslog identifier."""
        rows = self._programs.get(program, ())
        if self._prefixed and program.count(b"/") == 1:
            rows += self._prefixed.get(program.rpartition(b"/")[2], ())
        return rows

    def of_journal(self) -> tuple[Format, ...]:
        """The formats of a journal record."""
        return tuple(row for row in self.of_program(self._options.programs[0].encode()) if row.renamed)

    def all_dovecots(self) -> bool:
        """Whether dovecot is read, and nothing but it on its programs."""
        servers = {row.part_of for name in self._options.programs for row in self.of_program(name.encode())}
        return dovecot.NAME in self._options.formats and servers == {dovecot.NAME}

    def looks_like_login(self, low: bytes) -> bool:
        """Whether a line in lower case carries a login's text, wherever it stands."""
        return any(looks(low) for looks in self._lookers)

    def may_matter(self, low: bytes) -> bool:
        """Whether a line in lower case has one of the triggers in it: without one, no grammar takes it."""
        return any(trigger in low for trigger in self._triggers)

    def stirring(self, lines: bytes) -> set[int]:
        """Where the lines begin that have one of the triggers in them."""
        low = lines.lower()
        starts = set()
        for trigger in self._triggers:
            at = low.find(trigger)
            while at >= 0:
                starts.add(low.rfind(b"\n", 0, at) + 1)
                at = low.find(trigger, low.index(b"\n", at))
        return starts

    def read(self, rows: tuple[Format, ...], frame: Frame, at: int | None) -> Event:
        """What these formats make of a line. at: None for a time stamp that cannot be read."""
        name, outcome = ambiguity.read(rows, frame, at or 0)
        if outcome is None:
            return Ignored("other")
        if isinstance(outcome, Refusal) or at is None:
            self.links.forget(name, frame)
        elif isinstance(outcome, Login) and self.links.contradict(name, frame, outcome.address):
            return Refusal("ambiguous", at, user=outcome.user, format=name)
        if at is not None:
            if isinstance(outcome, Came | Passed):
                return self.links.join(name, outcome, frame, at)
            return outcome
        if isinstance(outcome, Came):
            return Ignored("first-half", name)
        if isinstance(outcome, Passed):
            return Refusal("bad-stamp", user=outcome.user, format=name)
        if isinstance(outcome, Refusal):
            return replace(outcome, at=None)
        if isinstance(outcome, Ignored):
            return outcome
        return Refusal("bad-stamp", user=outcome.user, format=outcome.format)
