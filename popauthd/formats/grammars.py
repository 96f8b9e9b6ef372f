"""The grammars of one source: which formats its lines may have, and what a line says in these formats."""

from __future__ import annotations

import re
from dataclasses import replace

from popauthd.formats import ambiguity, failures
from popauthd.formats.framing import Frame
from popauthd.formats.heads import BEGINS_LIKE_A_LOGIN
from popauthd.formats.options import Options, by_program
from popauthd.formats.pending import Links
from popauthd.formats.row import Came, Format, Known, Passed
from popauthd.formats.servers import FORMATS, dovecot
from popauthd.model import Event, Ignored, Login, Refusal


class Grammars:
    """The rows of FORMATS that a source's options choose. `links`: first lines that wait for their second lines."""

    def __init__(self, options: Options) -> None:
        known = Known({name.encode(): protocol for name, protocol in options.services}, options.rip_last)
        rows = [
            row.adapted(row, known) if row.adapted else row
            for row in FORMATS
            if row.part_of in options.formats and (options.proxy_lines or not row.proxies)
        ]
        self.links = Links()
        self._options = options
        self._own = {row.own: tuple(other for other in rows if other.own == row.own) for row in rows if row.own}
        self._programs = by_program(rows, options, prefixed=False)
        self._prefixed = by_program(rows, options, prefixed=True)
        # Not Dovecot 0.99, which refuses a login of later versions wherever it stands in the message.
        self._beginning = tuple(row.read for row in rows if row.name != dovecot.OLD_NAME)
        triggers = [trigger for row in rows for trigger in row.triggers]
        triggers += [row.trigger for row in failures.ROWS if row.part_of in options.formats]
        self._triggers = tuple(dict.fromkeys(triggers))
        self._endings = tuple({row.ending: None for row in rows if row.ending is not None})
        # In a JSON record, docker writes > as \u003e.
        self._json_endings = tuple(re.compile(ending.pattern.replace(b">", rb"\\u003[eE]")) for ending in self._endings)
        self._lookers = tuple(dict.fromkeys(row.looks_like_login for row in rows))

    def has_own_file(self, name: str | None) -> bool:
        """Whether the lines may be of this server's own file. name: a value of headers.OWNERS, or None."""
        return name in self._own

    def of_frame(self, frame: Frame) -> tuple[Format, ...]:
        """The formats that a framed line may have."""
        return self._own.get(frame.own_format, ()) if frame.own_format else self.of_program(frame.program)

    def of_program(self, program: bytes) -> tuple[Format, ...]:
        """The formats that lines with this syslog identifier may have."""
        rows = self._programs.get(program, ())
        if self._prefixed and program.count(b"/") == 1:
            rows += self._prefixed.get(program.rpartition(b"/")[2], ())
        return rows

    def tags(self) -> frozenset[bytes]:
        """What stands before the `[` or `:` behind the syslog identifiers of these formats."""
        return frozenset({b" " + name for name in self._programs} | {b"/" + name for name in self._prefixed})

    def of_journal(self) -> tuple[Format, ...]:
        """The formats that a journal record may have."""
        return tuple(row for row in self.of_program(self._options.programs[0].encode()) if row.renamed)

    def all_dovecots(self) -> bool:
        """Whether Dovecot is read, and no other server under its syslog identifiers."""
        servers = {row.part_of for name in self._options.programs for row in self.of_program(name.encode())}
        return dovecot.NAME in self._options.formats and servers == {dovecot.NAME}

    def looks_like_login(self, low: bytes) -> bool:
        """Whether a line, given in lower case, has the text of a login anywhere in it."""
        return any(looks(low) for looks in self._lookers)

    def begins_like_a_login(self, message: bytes) -> bool:
        """Whether a message, without any head, is a login from its first byte on, whatever is wrong with the login."""
        outcomes = (read(Frame(b"", message), 0) for read in self._beginning)
        return any(
            isinstance(outcome, Login | Passed)
            or (isinstance(outcome, Refusal | Ignored) and outcome.reason in BEGINS_LIKE_A_LOGIN)
            for outcome in outcomes
        )

    def may_matter(self, line: bytes, low: bytes) -> bool:
        """Whether a line has a trigger in it. Without one, no grammar takes the line. low: the line in lower case."""
        if any(trigger in low for trigger in self._triggers):
            return True
        return any(ending.search(line) for ending in self._endings_in(line))

    def _endings_in(self, lines: bytes) -> tuple[re.Pattern[bytes], ...]:
        """The patterns of session ends to look for."""
        json = lines[:1] == b"{" or (b"{" in lines and b"\n{" in lines)  # one byte is found much faster than two
        return self._endings + self._json_endings if json else self._endings

    def stirring(self, lines: bytes) -> set[int]:
        """The offsets at which those lines begin that have one of the triggers in them."""
        low = lines.lower()
        starts = set()
        for trigger in self._triggers:
            at = low.find(trigger)
            while at >= 0:
                starts.add(low.rfind(b"\n", 0, at) + 1)
                at = low.find(trigger, low.index(b"\n", at))
        for ending in self._endings_in(lines):
            starts.update(lines.rfind(b"\n", 0, found.start()) + 1 for found in ending.finditer(lines))
        return starts

    def read(self, rows: tuple[Format, ...], frame: Frame, at: int | None) -> Event:
        """The event of a line that may have these formats. at: None for a time stamp that cannot be read."""
        name, outcome = ambiguity.read(rows, frame, at or 0)
        if outcome is None or isinstance(outcome, Ignored):
            ignored = outcome or Ignored("other")
            failed = None if at is None else failures.read(rows, frame, at)
            return ignored if failed is None else replace(ignored, failed=failed)
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
        return Refusal("bad-stamp", user=outcome.user, format=outcome.format)
