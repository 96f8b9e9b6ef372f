"""Lines in, events out: the recogniser of one source.

`line` reads one line, and is the reference. `columns` gives the same verdicts for many lines at once: with one
pattern it takes the logins, session ends and failures of the most common form; of the other lines it reads, one by
one, only those that have a trigger in them. `block` gives the same as events, `numbered` what each line says.
`record` and `records` read records of the journal by their fields.

It never raises, changes nothing but its own cache, and takes time in proportion to the bytes: every
pattern is anchored and linear, and a line or message over 64 KiB is refused unread. CR, form feed, NUL and
U+2028 never end a line. A login that ends in CR is refused, as it is not valid: Dovecot never writes a CR, and a file
that was converted is not the log.
"""

from __future__ import annotations

import bisect
import itertools
import operator
from collections import Counter
from collections.abc import Iterable

from popauthd.formats import framing, headers, heads, journal_fields, numbered, other_heads, timestamps
from popauthd.formats.columns import Block, put_in_order
from popauthd.formats.fast_path import Common, Taken
from popauthd.formats.framing import Frame
from popauthd.formats.grammars import Grammars
from popauthd.formats.journal_fields import Fields
from popauthd.formats.numbered import Numbered
from popauthd.formats.options import Options, check
from popauthd.formats.pending import Links
from popauthd.model import Event, Ignored, Login, Matter, Refusal
from popauthd.text import safe

LINE_BYTES = 65536
_PLACE = operator.itemgetter(0)


class Recogniser:
    """Reads the lines of one source. Belongs to one thread."""

    def __init__(self, options: Options) -> None:
        """Raises ValueError, with a message for the administrator, on options that make no sense."""
        check(options)
        self._options = options
        self._grammars = Grammars(options)
        self.refused: dict[str, bytes] = {}
        self.heads: Counter[str] = Counter()
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
        containers = frozenset(program.encode() for program in options.programs if program != "dovecot")
        self._framer = framing.Framer(name, self._stamps.pattern, bool(own and options.timestamp), containers)
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

    def has_servers(self, block: bytes) -> bool:
        """Whether a line here may be of a server whose logins count; for health alone, as anybody can write so."""
        if self._framing in headers.OWN_FILES:
            return b"\n" in block
        return any(tag + end in block for tag in self._grammars.tags() for end in (b"[", b":"))

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
        """The events that matter of whole lines, in order, and the number of lines. See `columns`."""
        found = self.columns(block, now, written_after)
        return found.matters(), found.lines

    def columns(self, block: bytes, now: int, written_after: int | None = None) -> Block:
        """What matters of whole lines, the common logins and session ends in columns.

        Bytes after the last line feed are not a line yet and are left out. Afterwards `refused` has the first line
        that was refused for each reason: reading a line again would not give the same, as some are one of two. For a
        reason of heads.HEAD_REASONS it is the first whose message is a login, and `heads` says how many there were.
        """
        block = block[: block.rfind(b"\n") + 1]
        self._forget_refused()
        if not block or self._common is None:
            events = (self._noted(raw, now, written_after) for raw in block.split(b"\n")[:-1])
            others = list(enumerate(matters(events)))
            return Block(block.count(b"\n"), others=others)
        taken, lines, doubtful = self._taken(self._common, block, now, written_after)
        inside = len(taken.doubtful) - len({place for place, _raw in taken.doubtful})
        feeds = len(lines) - len(lines.replace(b"\n", b""))  # a third of the time of bytes.count
        count = len(taken.gaps) - 2 + feeds + inside
        between = taken.failures
        if doubtful:
            between += ((place, matter(self._noted(raw, now, written_after))) for place, _start, raw in doubtful)
            between.sort(key=_PLACE)
        return put_in_order(count, len(taken.gaps) - 1, taken.logins, taken.ends, between)

    def numbered(self, block: bytes, now: int) -> Numbered:
        """What each of whole lines says, as `line` does, by its number."""
        if not block or self._common is None:
            return numbered.one_by_one(self.line(raw, now) for raw in block.split(b"\n")[:-1])
        taken, left, doubtful = self._taken(self._common, block, now, None)
        return numbered.number(block, taken, left, [(place, at, self.line(raw, now)) for place, at, raw in doubtful])

    def _taken(
        self, common: Common, block: bytes, now: int, written_after: int | None
    ) -> tuple[Taken, bytes, list[tuple[int, int, bytes]]]:
        """What is of the common form in a block; the other lines together; what the strict reader must judge.

        The last is in the order of the log, which `refused` and the two halves of a login ask for: the place (see
        put_in_order), where the line begins in the other lines (-1 if it is none of them), and the line.
        """

        def is_login(raw: bytes) -> bool:
            return isinstance(self.line(raw, now, written_after), Login)

        while True:
            taken = common.take(block, now, written_after)
            lines = b"".join(taken.gaps)
            starts = sorted(self._grammars.stirring(lines) | _long_lines(lines))
            raws = [lines[start : lines.index(b"\n", start)] for start in starts]
            if not sum(common.learn(raw, is_login) for raw in raws):
                break
        doubtful = [(place, -1, raw) for place, raw in taken.doubtful]
        if starts:
            ends = list(itertools.accumulate(map(len, taken.gaps)))
            places = (2 * bisect.bisect_right(ends, start) for start in starts)
            doubtful += zip(places, starts, raws, strict=True)
            doubtful.sort(key=_PLACE)
        return taken, lines, doubtful

    def _noted(self, raw: bytes, now: int, written_after: int | None) -> Event:
        """What one line of a block says; one that is refused is kept."""
        event = self.line(raw, now, written_after)
        if isinstance(event, Refusal):
            self._keep(event.reason, raw, heads.messages(event.reason, raw, self._framer.frame(raw)))
        return event

    def _forget_refused(self) -> None:
        self.refused, self.heads = {}, Counter()

    def _keep(self, reason: str, raw: bytes, messages: Iterable[bytes]) -> None:
        """Note a line that was refused. messages: what may be its message, asked only if its head is the reason."""
        if reason in heads.HEAD_REASONS:
            if len(raw) > heads.LONGEST or not any(map(self._grammars.begins_like_a_login, messages)):
                return
            self.heads[reason] += 1
        self.refused.setdefault(reason, raw)

    def records(self, records: Iterable[Fields]) -> tuple[list[Matter], int]:
        """The events that matter of journal records, in order, and the number of records.

        Afterwards `refused` has the message of the first record that was refused for each reason, as `block` has lines,
        and `heads` its numbers.
        """
        self._forget_refused()
        found: list[Event] = []
        for fields in records:
            event = self.record(fields)
            found.append(event)
            if isinstance(event, Refusal):
                message = journal_fields.record(fields, self._trust).message or b""
                self._keep(event.reason, message, [message])
        return matters(found), len(found)

    def record(self, fields: Fields) -> Event:
        """What one journal record says, from its fields (as of journalctl's JSON or python3-systemd)."""
        at, message, doubt = journal_fields.record(fields, self._trust)
        if message is None:
            return Ignored("other") if doubt else Refusal("no-message", at)
        if len(message) > LINE_BYTES:
            return Refusal("too-long")
        if not doubt and b"\n" in message:
            return Refusal("multi-line", at)
        event = self._grammars.read(self._grammars.of_journal(), Frame(b"", message), at)
        if not doubt:
            return event
        if isinstance(event, Ignored):
            return Ignored(event.reason, event.format)  # anybody may have written who failed
        return Refusal(doubt, at, event.address if isinstance(event, Login) else "", event.user, event.format)

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
        frame = self._framer.frame(raw)
        if frame is None:
            stamp = self._framer.stamp(raw)
            frame = None if stamp is None else Frame(stamp, b"")
        return None if frame is None else self._time(frame, now, None)

    def head_name(self, raw: bytes) -> str:
        """What stands before the message of a line, in words for an administrator, if that is why it is not read.

        "" for a line whose head fits this source. A container's line that syslog wrote down is named with its tag.
        """
        raw = raw[:LINE_BYTES]
        if self._framing == headers.JOURNAL:
            return "" if framing.json_object(raw) is not None else "text that is no journal record"
        if raw[:1] == b"{":
            unwrapped = framing.unwrap_docker(raw)
            raw = raw if unwrapped is None else unwrapped.line
        found = self._detector.framing(raw)
        if found is None:
            return other_heads.name(raw)
        if found != (self._framing or found):
            return f'{headers.CALLED[found]}: set framing = "{found}"'
        frame = self._framer.frame(raw)
        tag = b"" if frame is None else framing.inside_container(frame)
        return f'a container\'s output in syslog: name its tag, programs = ["{safe(tag.decode())}"]' if tag else ""

    def _time(self, frame: Frame, now: int, written_after: int | None) -> int | None:
        if frame.stamp[:1] == b"@":
            return timestamps.tai64n(frame.stamp)
        return (self._syslog_stamps if frame.served else self._stamps).read(frame.stamp, now, written_after)

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
        if not self._grammars.may_matter(raw, low):
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
        at = self._time(frame, now, written_after) if unwrapped is None else outer
        return self._grammars.read(rows, frame, at)

    def _journal_line(self, raw: bytes) -> Event:
        fields = framing.json_object(raw)
        if fields is not None:
            return self.record(fields)
        if self._grammars.looks_like_login(raw.lower()):
            return Refusal("bad-record")
        return Ignored("other" if raw else "empty")


def matters(events: Iterable[Event]) -> list[Matter]:
    """What of these events the watcher must know."""
    return [told for event in events if (told := matter(event)) is not None]


def matter(event: Event) -> Matter | None:
    """What of an event the watcher must know: of a line that is ignored, who failed to log in, if it tells."""
    return event.failed if isinstance(event, Ignored) else event


def _long_lines(lines: bytes) -> set[int]:
    """Where those of these lines begin that are too long to be read."""
    starts: set[int] = set()
    half = LINE_BYTES // 2  # a longer line reaches over one of these pieces
    if all(lines.find(b"\n", at, at + half) >= 0 for at in range(0, len(lines), half)):
        return starts
    at = 0
    for line in lines.split(b"\n"):
        starts.update({at} if len(line) > LINE_BYTES else ())
        at += len(line) + 1
    return starts
