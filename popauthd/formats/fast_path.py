"""Many lines at once: takes the logins and session ends of the most common form out of a block.

The pattern covers a part of what the strict grammar (recogniser.py, servers/dovecot.py) takes, with the
same values; everything else is left in the gaps between its matches, for the strict reader. The
two are compared by tests/unit/formats/test_block.py.

Works on text as of ISO 8859-1, where each character is one byte: an address then need not be decoded
for each login. The pattern begins with a line feed, so that the engine hops from line to line with
memchr, and takes a stamp by its length: a stamp is checked once a second, not once a line.
"""

from __future__ import annotations

import itertools
import re

from popauthd import address
from popauthd.formats import framing, headers, timestamps
from popauthd.formats.servers import dovecot
from popauthd.model import Ignored, Login, Refusal, SessionEnd

REMEMBERED = 65536  # addresses
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_PLAIN = re.compile(_BYTE + (r"\." + _BYTE) * 3)  # what address.parse makes of IPv4, three times as fast
_ADDRESS = r"([0-9A-Fa-f.:]{2,45})"  # looked at more closely when it is new
_TEXT = (
    r"(?:(imap|pop3)-login: LEVEL(?:Login|Logged in): user=<([^<>\x00\r\n]{1,256})>,"
    r" method=((?!ANONYMOUS,)[A-Z0-9_-]{1,20}), rip=" + _ADDRESS + r", lip=" + _ADDRESS + r", mpid=[0-9]{1,10}"
    r"(, secured|, TLS)?(?:, session=<([A-Za-z0-9+/:._@-]{1,255})>)?"
    # No colon and no angle bracket but in their places: an end that carries a login's text is for the strict reader.
    r"|(imap|pop3)\(([^<>:\x00-\x1f\x7f]{0,1024})\)<[0-9]{1,10}><([A-Za-z0-9+/:._@-]{1,255})>: LEVEL"
    r"Disconnected: [A-Za-z0-9 =/,.()+_-]{0,1024})(?=\n)"
)
# `Nov 23 21:00:00`, or 19 bytes of ISO 8601, its fraction (dropped) and its offset.
_STAMP = r"(?:([^\n]{15})|([^\n]{19})(?:\.[0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})) "
_OWN_STAMP = r"([^\n]{14}[^ \n]|[0-9][^\n]{18})()() "

Known = Login | SessionEnd | Refusal | Ignored


class Common:
    """The common form of the lines of one source."""

    def __init__(
        self,
        framer: framing.Framer,
        reader: timestamps.Stamps,
        hosts: tuple[str, ...] = (),
        programs: tuple[str, ...] = (),
    ) -> None:
        """hosts: () for any."""
        self._framer = framer
        self._stamps = reader
        self._known: set[str] = set()
        self._is_stamp = re.compile(reader.pattern)
        if framer.framing == headers.DOVECOT_FILE:
            head, level = _OWN_STAMP, "Info: "
            if framer.own_layout:
                head = "(" + reader.pattern.decode("latin-1") + ")()() ?"
        else:
            host = "|".join(map(re.escape, hosts)) or headers.HOST.decode("latin-1")
            program = "|".join(map(re.escape, programs))
            head, level = _STAMP + rf"(?:{host}) (?:{program})(?:\[[0-9]{{1,10}}\])?: ", "(?:Info: )?"
        self._pattern = re.compile(r"\n" + head + _TEXT.replace("LEVEL", level))
        self.width = self._pattern.groups + 1

    def split(self, block: bytes) -> list[str]:
        """The block taken apart: gap, the groups of a login, gap, ..., gap; `width` from gap to gap.

        A gap that is not empty begins with the line feed before its first line; the last ends in one.
        """
        return self._pattern.split("\n" + block.decode("latin-1"))

    def line(self, block: bytes, number: int) -> bytes:
        """The line of the block that gave the event of that number."""
        found = self._pattern.finditer("\n" + block.decode("latin-1"))
        return next(itertools.islice(found, number, None))[0][1:].encode("latin-1")

    def events(self, parts: list[str], now: int, written_after: int | None) -> list[Known]:
        """One event for each match in what `split` gave, in order; another where the stamp does not hold."""
        times: dict[str, int | None] = {}
        events: list[Known] = []
        known, name = self._known, dovecot.NAME
        columns = (parts[column :: self.width] for column in range(1, self.width))
        for stamp, iso, zone, service, user, method, rip, lip, secured, session, ends, who, ended in zip(
            *columns, strict=True
        ):
            if zone:
                stamp = iso + zone
            if ends:
                user = who
            if not user.isascii():
                user = user.encode("latin-1").decode("utf-8", "backslashreplace")
            if stamp in times:
                at = times[stamp]
            else:
                at = times[stamp] = self._read(stamp.encode("latin-1"), now, written_after)
            if at is None:
                events.append(self._refusal(stamp.encode("latin-1"), user, bool(ends)))
            elif ends:
                events.append(SessionEnd(at, ended, user, ends, name))
            elif (rip in known or self._learn(rip)) and (lip in known or self._learn(lip)):
                events.append(Login(at, rip, user, service, method, secured == ", TLS", session or "", lip, name))
            else:
                events.append(Refusal("bad-address", at, user=user, format=name))
        return events

    def _learn(self, text: str) -> bool:
        """Whether this is an address; one that is is remembered."""
        if _PLAIN.fullmatch(text) is None and address.parse(text) is None:
            return False
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known.add(text)
        return True

    def _read(self, stamp: bytes, now: int, written_after: int | None) -> int | None:
        if self._is_stamp.fullmatch(stamp) is None:
            return None
        return self._stamps.read(stamp, now, written_after)

    def _refusal(self, stamp: bytes, user: str, end: bool) -> Refusal | Ignored:
        """As the strict reader puts it: a stamp that is none leaves the line without a head."""
        if self._is_stamp.fullmatch(stamp) is None:
            return Ignored("other") if end else Refusal(self._framer.why_not(stamp + b" "))
        return Refusal("bad-stamp", user=user, format=dovecot.NAME)
