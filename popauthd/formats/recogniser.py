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

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from popauthd import stamps
from popauthd.formats import dovecot, framing, journal
from popauthd.formats.table import FORMATS, Format
from popauthd.model import Event, Ignored, Login, Refusal, SessionEnd

LINE_BYTES = 65536

Matter = Login | SessionEnd | Refusal
Common = tuple[re.Pattern[bytes], re.Pattern[bytes]]


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
        self._common = _common_patterns(family, self._reading, self._stamps.pattern)

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
        if self._common is not None:
            found = self._common[0].fullmatch(raw)
            if found is not None:
                return self._common_event(*found.groups(), now=now, written_after=written_after)
        return self._strict(raw, now, written_after)

    def block(self, block: bytes, now: int, written_after: int | None = None) -> tuple[list[Matter], int]:
        """The events that matter of whole lines, in order, and the number of lines.

        Bytes after the last line feed are not a line yet and are left out.
        """
        block = block[: block.rfind(b"\n") + 1]
        events: list[Matter] = []
        if self._common is None:
            self._lines(block, now, written_after, events)
            return events, block.count(b"\n")
        # Each gap begins with the line feed before its first line; groups are those of _common_event.
        parts = self._common[1].split(b"\n" + block)
        width = self._common[1].groups + 1
        for place in range(0, len(parts), width):
            gap = parts[place]
            if len(gap) > 1 and self._stirs(gap):
                self._lines(gap[1:], now, written_after, events)
            if place + 1 < len(parts):
                events.append(
                    self._common_event(*parts[place + 1 : place + width], now=now, written_after=written_after)
                )
        return events, block.count(b"\n")

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
            return Refusal(framing.why_unframed(raw))
        return Ignored("undecided" if raw else "empty")

    def _stirs(self, lines: bytes) -> bool:
        """Whether any of the lines may matter."""
        if len(lines) > LINE_BYTES:
            return True
        low = lines.lower()
        return any(trigger in low for trigger in self._triggers)

    def _lines(self, lines: bytes, now: int, written_after: int | None, events: list[Matter]) -> None:
        for raw in lines.split(b"\n")[:-1] if lines.endswith(b"\n") else lines.split(b"\n"):
            event = self.line(raw, now, written_after)
            if not isinstance(event, Ignored):
                events.append(event)

    def _common_event(self, stamp: bytes, *groups: bytes, now: int, written_after: int | None) -> Login | Refusal:
        at = self._stamps.read(stamp, now, written_after)
        login = dovecot.common(0 if at is None else at, *groups)
        return Refusal("bad-stamp", user=login.user, format=login.format) if at is None else login

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
            return Refusal(framing.why_unframed(raw)) if self._looks_like_login(low) else Ignored("other")
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


def _common_patterns(family: str, reading: Reading, stamp: bytes) -> Common | None:
    """The patterns for a login of the most common form: one for a line, one for a block of lines.

    The second begins with a line feed, so that the engine hops from line to line with memchr.
    """
    if family == framing.JOURNAL or dovecot.NAME not in reading.formats:
        return None
    if family == framing.DOVECOT_FILE:
        head, level = rb"(" + stamp + rb")" + (rb" ?" if reading.timestamp else rb" "), rb"Info: "
    else:
        hosts = b"|".join(re.escape(name.encode()) for name in reading.hostnames) or framing.HOST
        programs = b"|".join(re.escape(name.encode()) for name in reading.programs)
        head = rb"(" + stamp + rb") (?:" + hosts + rb") (?:" + programs + rb")(?:\[[0-9]{1,10}\])?: "
        level = rb"(?:Info: )?"
    body = head + dovecot.COMMON_TEXT.replace(b"LEVEL", level)
    return re.compile(body), re.compile(rb"\n" + body + rb"(?=\n)")
