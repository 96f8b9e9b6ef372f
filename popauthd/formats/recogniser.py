"""Lines in, events out: the recogniser of one source.

`line` is the whole truth, and `block` the same verdicts for many lines at once: a pattern takes the
logins and session ends of the most common form out of the block, what lies between them is looked at only if a
trigger is in it, and then line by line.

Never raises, touches nothing but its own cache, and takes time in proportion to the bytes: every
pattern is anchored and linear, and a line over 64 KiB is refused unread. CR, form feed, NUL and
U+2028 never end a line; one that ends in CR is refused with whatever else does not hold, because
Dovecot never writes it and a file that was converted is not the log.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Mapping

from popauthd.formats import framing, headers, journal_fields, timestamps
from popauthd.formats.fast_path import Common
from popauthd.formats.framing import Frame
from popauthd.formats.grammars import Grammars
from popauthd.formats.options import Options, check
from popauthd.formats.pending import Links
from popauthd.model import Event, Ignored, Login, Refusal, SessionEnd

LINE_BYTES = 65536

Matter = Login | SessionEnd | Refusal


class Recogniser:
    """Reads the lines of one source. Belongs to one thread."""

    def __init__(self, options: Options) -> None:
        """Raises ValueError, with a message for the administrator, on options that make no sense."""
        check(options)
        self._options = options
        self._grammars = Grammars(options)
        self.refused: dict[str, bytes] = {}
        self._hosts = frozenset(name.encode() for name in options.hostnames)
        self._trust = journal_fields.Trust(options.programs, options.unit, options.executable)
        self._syslog_stamps = timestamps.Stamps(options.timezone)
        self._own_stamps = timestamps.Stamps(options.timezone, options.timestamp)
        others = tuple(name for name in headers.FRAMINGS if self._grammars.has_own_file(headers.OWNERS.get(name)))
        self._detector = framing.Detector(self._own_stamps.pattern, bool(options.timestamp), others)
        self._framing = ""
        self._framer = framing.Framer(headers.AUTO, b"")
        self._common: Common | None = None
        if options.framing != headers.AUTO:
            self._settle(options.framing)

    def _settle(self, name: str) -> None:
        """Read everything from here on in this framing."""
        self._framing = name
        options = self._options
        own = name == headers.DOVECOT_FILE
        self._stamps = self._own_stamps if own else self._syslog_stamps
        if name in headers.LAYOUTS:
            self._stamps = timestamps.Stamps(options.timezone, headers.LAYOUTS[name])
        self._framer = framing.Framer(name, self._stamps.pattern, bool(own and options.timestamp))
        if name in (headers.DOVECOT_FILE, headers.SYSLOG) and self._grammars.all_dovecots():
            self._common = Common(self._framer, self._stamps, options.hostnames, options.programs)

    @property
    def links(self) -> Links:
        """First lines that wait for their second."""
        return self._grammars.links

    @property
    def framing(self) -> str:
        """The framing in use; "auto" while the lines have not told."""
        return self._framing or headers.AUTO

    def line(self, raw: bytes, now: int, written_after: int | None = None) -> Event:
        """What one line says; raw is without its line feed.

        now: the wall clock, which tells the year of a stamp without one. written_after: see Stamps.read.
        """
        if len(raw) > LINE_BYTES:
            return Refusal("too-long")
        if not self._framing and not self._detect(raw):
            return self._undecided(raw)
        return self._strict(raw, now, written_after)

    def block(self, block: bytes, now: int, written_after: int | None = None) -> tuple[list[Matter], int]:
        """The events that matter of whole lines, in order, and the number of lines.

        Bytes after the last line feed are not a line yet and are left out. Afterwards `refused` has the first line
        that was refused for each reason: reading a line again would not give the same, as some are one of two.
        """
        block = block[: block.rfind(b"\n") + 1]
        count = block.count(b"\n")
        self.refused = {}
        if not block or self._common is None:
            events = (self._noted(raw, now, written_after) for raw in block.split(b"\n")[:-1])
            return [event for event in events if not isinstance(event, Ignored)], count
        parts = self._common.split(block)
        known = self._common.events(parts, now, written_after)
        for number, event in enumerate(known):
            if isinstance(event, Refusal) and event.reason not in self.refused:
                self.refused[event.reason] = self._common.line(block, number)
        merged: list[Event] = []
        taken = 0
        for before, event in self._between(parts[:: self._common.width], now, written_after):
            merged += known[taken:before]
            taken = before
            merged.append(event)
        merged += known[taken:]
        return [event for event in merged if not isinstance(event, Ignored)], count

    def _noted(self, raw: bytes, now: int, written_after: int | None) -> Event:
        """What one line of a block says; one that is refused is kept."""
        event = self.line(raw, now, written_after)
        if isinstance(event, Refusal):
            self.refused.setdefault(event.reason, raw)
        return event

    def _between(self, gaps: list[str], now: int, written_after: int | None) -> list[tuple[int, Matter]]:
        """The events that matter in the gaps, in order, each with the number of its gap."""
        lines = "".join(gaps).encode("latin-1")
        starts = sorted(self._grammars.stirring(lines) | _long_lines(gaps))
        if not starts:
            return []
        ends = list(itertools.accumulate(map(len, gaps)))
        found: list[tuple[int, Matter]] = []
        for start in starts:
            event = self._noted(lines[start : lines.index(b"\n", start)], now, written_after)
            if not isinstance(event, Ignored):
                found.append((bisect.bisect_right(ends, start), event))
        return found

    def record(self, fields: Mapping[str, object]) -> Event:
        """What one journal record says, from its fields (as of journalctl's JSON or python3-systemd)."""
        at, message, doubt = journal_fields.record(fields, self._trust)
        if message is None:
            return Ignored("other") if doubt else Refusal("no-message", at)
        if not doubt and b"\n" in message:
            return Refusal("multi-line", at)
        event = self._grammars.read(self._grammars.of_journal(), Frame(b"", message), at)
        if doubt and not isinstance(event, Ignored):
            return Refusal(doubt, at, event.address if isinstance(event, Login) else "", event.user, event.format)
        return event

    def stamp(self, raw: bytes, now: int) -> int | None:
        """The time of any line, whatever it says; None if it has none that can be read."""
        raw = raw[:LINE_BYTES]
        if not self._framing and not self._detect(raw):
            return None
        if self._framing == headers.JOURNAL:
            return journal_fields.record(framing.json_object(raw) or {}, self._trust).at
        if raw[:1] == b"{":
            unwrapped = framing.unwrap_docker(raw)
            return None if unwrapped is None else self._syslog_stamps.read(unwrapped.stamp, now)
        stamp = self._framer.stamp(raw)
        return None if stamp is None else self._time(stamp, now, None)

    def _time(self, stamp: bytes, now: int, written_after: int | None) -> int | None:
        if stamp[:1] == b"@":
            return timestamps.tai64n(stamp)
        return self._stamps.read(stamp, now, written_after)

    def _detect(self, raw: bytes) -> bool:
        found = self._detector.framing(raw)
        if found is not None:
            self._settle(found)
        return found is not None

    def _undecided(self, raw: bytes) -> Event:
        if self._grammars.looks_like_login(raw.lower()):
            return Refusal("undecided")
        return Ignored("undecided" if raw else "empty")

    def _strict(self, raw: bytes, now: int, written_after: int | None) -> Event:
        if self._framing == headers.JOURNAL:
            return self._journal_line(raw)
        low = raw.lower()
        if not self._grammars.may_matter(low):
            return Ignored("other" if raw else "empty")
        unwrapped, outer = None, None
        if raw[:1] == b"{":
            unwrapped = framing.unwrap_docker(raw)
            if unwrapped is None:
                return Refusal("bad-record") if self._grammars.looks_like_login(low) else Ignored("other")
            raw, low = unwrapped.line, unwrapped.line.lower()
            outer = self._syslog_stamps.read(unwrapped.stamp, now)
        frame = self._framer.frame(raw)
        if frame is None:
            return Refusal(self._framer.why_not(raw)) if self._grammars.looks_like_login(low) else Ignored("other")
        rows = self._grammars.of_frame(frame)
        known_host = not self._hosts or bool(frame.own_format and not frame.host) or frame.host in self._hosts
        if not rows or not known_host:
            reason = "other-host" if rows else "other-program"
            return Refusal(reason) if self._grammars.looks_like_login(low) else Ignored("other")
        at = self._time(frame.stamp, now, written_after) if unwrapped is None else outer
        return self._grammars.read(rows, frame, at)

    def _journal_line(self, raw: bytes) -> Event:
        fields = framing.json_object(raw)
        if fields is not None:
            return self.record(fields)
        if self._grammars.looks_like_login(raw.lower()):
            return Refusal("bad-record")
        return Ignored("other" if raw else "empty")


def _long_lines(gaps: list[str]) -> set[int]:
    """Where the lines begin, in all gaps together, that are too long to be read."""
    starts: set[int] = set()
    at = 0
    for gap in gaps:
        if len(gap) > LINE_BYTES:
            place = at
            for line in gap.split("\n"):
                starts.update({place} if len(line) > LINE_BYTES else ())
                place += len(line) + 1
        at += len(gap)
    return starts
