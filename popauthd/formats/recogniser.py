"""Lines in, events out: the recogniser of one source.

`line` is the whole truth, and `block` the same verdicts for many lines at once: a pattern takes the
logins of the most common form out of the block, what lies between them is looked at only if a
trigger is in it, and then line by line.

Never raises, touches nothing but its own cache, and takes time in proportion to the bytes: every
pattern is anchored and linear, and a line over 64 KiB is refused unread. CR, form feed, NUL and
U+2028 never end a line; one that ends in CR is refused with whatever else does not hold, because
Dovecot never writes it and a file that was converted is not the log.
"""

from __future__ import annotations

import bisect
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from popauthd import stamps
from popauthd.formats import dovecot, framing, journal
from popauthd.formats.common import Common
from popauthd.formats.table import FORMATS, Format
from popauthd.model import Event, Ignored, Login, Refusal, SessionEnd

LINE_BYTES = 65536

Matter = Login | SessionEnd | Refusal


@dataclass(frozen=True, slots=True)
class Reading:
    """How the lines of one source are read.

    framing: "dovecot-file", "syslog", "journal" or "auto" (decided at the first line that tells).
    timezone: for stamps without a zone; an IANA name, "" for the machine's. timestamp: Dovecot's
    log_timestamp, "" for the defaults. hostnames: syslog hosts to accept, () for any.
    programs: Dovecot's syslog identifiers. unit, executable: what a journal record's trusted fields
    must be; unit "" where no systemd runs.
    """

    framing: str = framing.AUTO
    formats: tuple[str, ...] = ("dovecot",)
    timezone: str = ""
    timestamp: str = ""
    hostnames: tuple[str, ...] = ()
    programs: tuple[str, ...] = ("dovecot",)
    unit: str = journal.UNIT
    executable: str = journal.LOG_PROCESS


class Recogniser:
    """Reads the lines of one source. Belongs to one thread."""

    def __init__(self, reading: Reading) -> None:
        """Raises ValueError, with a message for the administrator, on a reading that makes no sense."""
        _check(reading)
        self._reading = reading
        rows = [row for row in FORMATS if row.part_of in reading.formats]
        self._own = {row.name: (row,) for row in rows}
        self._programs = _by_program(rows, reading)
        self._hosts = frozenset(name.encode() for name in reading.hostnames)
        self._triggers = tuple(dict.fromkeys(trigger for row in rows for trigger in row.triggers))
        self._lookers = tuple(dict.fromkeys(row.looks_like_login for row in rows))
        self._trust = journal.Trust(reading.programs, reading.unit, reading.executable)
        self._syslog_stamps = stamps.Stamps(reading.timezone)
        self._own_stamps = stamps.Stamps(reading.timezone, reading.timestamp)
        own_layout = bool(reading.timestamp)
        self._detector = framing.Detector(self._own_stamps.pattern, own_layout)
        self._family = ""
        self._framer = framing.Framer(framing.AUTO, b"")
        self._common: Common | None = None
        if reading.framing != framing.AUTO:
            self._settle(reading.framing)

    def _settle(self, family: str) -> None:
        """Read everything from here on as of this family."""
        self._family = family
        own = family == framing.DOVECOT_FILE
        self._stamps = self._own_stamps if own else self._syslog_stamps
        self._framer = framing.Framer(family, self._stamps.pattern, bool(own and self._reading.timestamp))
        if family != framing.JOURNAL and dovecot.NAME in self._reading.formats:
            reading = self._reading
            self._common = Common(self._framer, self._stamps, reading.hostnames, reading.programs)

    @property
    def framing(self) -> str:
        """The framing in use; "auto" while the lines have not told."""
        return self._family or framing.AUTO

    def line(self, raw: bytes, now: int, written_after: int | None = None) -> Event:
        """What one line says; raw is without its line feed.

        now: the wall clock, which tells the year of a stamp without one. written_after: see Stamps.read.
        """
        if len(raw) > LINE_BYTES:
            return Refusal("too-long")
        if not self._family and not self._detect(raw):
            return self._undecided(raw)
        return self._strict(raw, now, written_after)

    def block(self, block: bytes, now: int, written_after: int | None = None) -> tuple[list[Matter], int]:
        """The events that matter of whole lines, in order, and the number of lines.

        Bytes after the last line feed are not a line yet and are left out.
        """
        block = block[: block.rfind(b"\n") + 1]
        count = block.count(b"\n")
        if not block or self._common is None:
            events = (self.line(raw, now, written_after) for raw in block.split(b"\n")[:-1])
            return [event for event in events if not isinstance(event, Ignored)], count
        parts = self._common.split(block)
        logins = self._common.events(parts, now, written_after)
        merged: list[Matter] = []
        taken = 0
        for before, event in self._between(parts[:: self._common.width], now, written_after):
            merged += logins[taken:before]
            taken = before
            merged.append(event)
        merged += logins[taken:]
        return merged, count

    def _between(self, gaps: list[str], now: int, written_after: int | None) -> list[tuple[int, Matter]]:
        """The events that matter in the gaps, in order, each with the number of its gap."""
        lines = "".join(gaps).encode("latin-1")
        starts = sorted(self._stirring(lines) | _long_lines(gaps))
        if not starts:
            return []
        ends = list(itertools.accumulate(map(len, gaps)))
        found: list[tuple[int, Matter]] = []
        for start in starts:
            event = self.line(lines[start : lines.index(b"\n", start)], now, written_after)
            if not isinstance(event, Ignored):
                found.append((bisect.bisect_right(ends, start), event))
        return found

    def _stirring(self, lines: bytes) -> set[int]:
        """Where the lines begin that have one of the triggers in them."""
        low = lines.lower()
        starts = set()
        for trigger in self._triggers:
            at = low.find(trigger)
            while at >= 0:
                starts.add(low.rfind(b"\n", 0, at) + 1)
                at = low.find(trigger, low.index(b"\n", at))
        return starts

    def record(self, fields: Mapping[str, object]) -> Event:
        """What one journal record says, from its fields (as of journalctl's JSON or python3-systemd)."""
        at, message, doubt = journal.record(fields, self._trust)
        if message is None:
            return Ignored("other") if doubt else Refusal("no-message", at)
        if not doubt and b"\n" in message:
            return Refusal("multi-line", at)
        event = _grammar(self._programs.get(self._reading.programs[0].encode(), ()), message, at)
        if doubt and not isinstance(event, Ignored):
            return Refusal(doubt, at, event.address if isinstance(event, Login) else "", event.user, event.format)
        return event

    def stamp(self, raw: bytes, now: int) -> int | None:
        """The time of any line, whatever it says; None if it has none that can be read."""
        raw = raw[:LINE_BYTES]
        if not self._family and not self._detect(raw):
            return None
        if self._family == framing.JOURNAL:
            return journal.record(framing.json_object(raw) or {}, self._trust).at
        if raw[:1] == b"{":
            unwrapped = framing.unwrap_docker(raw)
            return None if unwrapped is None else self._syslog_stamps.read(unwrapped.stamp, now)
        stamp = self._framer.stamp(raw)
        return None if stamp is None else self._time(stamp, now, None)

    def _time(self, stamp: bytes, now: int, written_after: int | None) -> int | None:
        if stamp[:1] == b"@":
            return stamps.tai64n(stamp)
        return self._stamps.read(stamp, now, written_after)

    def _detect(self, raw: bytes) -> bool:
        family = self._detector.family(raw)
        if family is not None:
            self._settle(family)
        return family is not None

    def _looks_like_login(self, low: bytes) -> bool:
        return any(looks(low) for looks in self._lookers)

    def _undecided(self, raw: bytes) -> Event:
        if self._looks_like_login(raw.lower()):
            return Refusal("undecided")
        return Ignored("undecided" if raw else "empty")

    def _strict(self, raw: bytes, now: int, written_after: int | None) -> Event:
        if self._family == framing.JOURNAL:
            return self._journal_line(raw)
        low = raw.lower()
        if not any(trigger in low for trigger in self._triggers):
            return Ignored("other" if raw else "empty")
        unwrapped, outer = None, None
        if raw[:1] == b"{":
            unwrapped = framing.unwrap_docker(raw)
            if unwrapped is None:
                return Refusal("bad-record") if self._looks_like_login(low) else Ignored("other")
            raw, low = unwrapped.line, unwrapped.line.lower()
            outer = self._syslog_stamps.read(unwrapped.stamp, now)
        frame = self._framer.frame(raw)
        if frame is None:
            return Refusal(self._framer.why_not(raw)) if self._looks_like_login(low) else Ignored("other")
        rows = self._own.get(frame.own_format, ()) if frame.own_format else self._programs.get(frame.program, ())
        known_host = not self._hosts or bool(frame.own_format) or frame.host in self._hosts
        if not rows or not known_host:
            reason = "other-host" if rows else "other-program"
            return Refusal(reason) if self._looks_like_login(low) else Ignored("other")
        at = self._time(frame.stamp, now, written_after) if unwrapped is None else outer
        return _grammar(rows, frame.text, at, frame.level, frame.levelled)

    def _journal_line(self, raw: bytes) -> Event:
        fields = framing.json_object(raw)
        if fields is not None:
            return self.record(fields)
        if self._looks_like_login(raw.lower()):
            return Refusal("bad-record")
        return Ignored("other" if raw else "empty")


def _grammar(
    rows: tuple[Format, ...],
    text: bytes,
    at: int | None,
    level: bytes | None = None,
    levelled: bool = False,
) -> Event:
    """What the first of the formats that knows the text makes of it. at: None for a bad stamp."""
    for row in rows:
        event = row.read(text, level, levelled, at or 0)
        if event is None:
            continue
        if at is None and isinstance(event, Refusal):
            return replace(event, at=None)
        if at is None and not isinstance(event, Ignored):
            return Refusal("bad-stamp", user=event.user, format=event.format)
        return event
    return Ignored("other")


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


def _check(reading: Reading) -> None:
    """Raise ValueError on names that are not known and on names that no line can have."""
    named = {row.part_of for row in FORMATS}
    if reading.framing not in framing.FAMILIES:
        raise ValueError(f"framing {reading.framing!r} is not known; use {', '.join(framing.FAMILIES)}")
    for name in reading.formats:
        if name not in named:
            raise ValueError(f"format {name!r} is not known; use {', '.join(sorted(named))}")
    if not reading.programs:
        raise ValueError("programs is empty: no line could be a login; leave it out for dovecot")
    for key, names, form in (
        ("programs", reading.programs, framing.PROGRAM),
        ("hostnames", reading.hostnames, framing.HOST),
    ):
        for name in names:
            if not re.fullmatch(form, name.encode("utf-8", "replace")):
                raise ValueError(f"{key}: {name!r} cannot stand in a syslog line")


def _by_program(rows: list[Format], reading: Reading) -> dict[bytes, tuple[Format, ...]]:
    programs: dict[bytes, tuple[Format, ...]] = {}
    for row in rows:
        for name in reading.programs if row.renamed and row.programs else row.programs:
            programs[name.encode()] = (*programs.get(name.encode(), ()), row)
    return programs
