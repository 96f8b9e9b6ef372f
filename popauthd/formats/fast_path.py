"""Many lines at once: takes the logins, session ends and failures of the most common form out of a block, in columns.

The pattern takes a part of the lines that the strict reader (recogniser.py, servers/dovecot.py) takes, and gives the
same values. All other lines stay in the gaps between the matches, for the strict reader.
tests/unit/formats/test_block.py compares the two.

Host, method, local address and zone are nearly always the same few in a log. They are learnt from logins that the
strict reader took, and stand in the pattern as literals. If more than LEARNT of a kind are seen, the kind is read by a
pattern of its own instead. What has been learnt changes the speed alone.

The pattern takes users, sessions, addresses and stamps by where they end, which is much faster than by what may be in
them. What was taken is checked afterwards, a column at a time: each distinct stamp once, of the others all bytes
together. A match that does not pass may even reach over several lines. Its lines are given back as `doubtful`,
and the strict reader decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from itertools import compress, count, repeat
from operator import add, is_
from typing import Any

from popauthd import address
from popauthd.formats import dovecot_wording as wording
from popauthd.formats import failures, framing, headers, timestamps
from popauthd.formats.columns import Ends, Logins
from popauthd.formats.sentence import as_text
from popauthd.formats.servers import dovecot
from popauthd.model import Failure, Matter

REMEMBERED = 4096  # texts of failures
LEARNT = 16  # literals of a kind
MONTH, ISO, ZONE, HOST, METHOD, LIP = "month", "iso", "zone", "host", "method", "lip"
PID, LEVEL, CIPHER, FRACTION = "pid", "level", "cipher", "fraction"
# What is learnt of a login, with the pattern of all that may stand there.
_KINDS = {
    ZONE: rb"Z|[+-][0-9]{2}:?[0-9]{2}",
    HOST: headers.HOST,
    METHOD: b"(?!%b,)%b" % (wording.ANONYMOUS, wording.METHOD_VALUE),
    LIP: rb"[0-9A-Fa-f.:]{2,45}+",
}
# What of a login is there in some logs only.
_OPTIONAL = {
    PID: rb"\[[0-9]{1,10}+\]",
    LEVEL: b"Info: ",
    CIPHER: wording.JOIN + wording.CIPHER,
    FRACTION: rb"\.[0-9]{1,9}+",  # of a second; dropped
}
# A stamp is taken by its length: `Nov 23 21:00:00`, or 19 bytes of ISO 8601.
_STAMPS = {MONTH: rb"(?P<month>(?s:.{15}+))", ISO: rb"(?P<iso>(?s:.{19}+))"}
_NUMBER = rb"[0-9]{1,10}+"  # of a process
# A user or a reason that carries a part of the text of a login has another byte in it; it is left to the strict reader.
_HARMLESS = rb"[^<>:=\x00-\x1f\x7f]"
# The reason ends with a parenthesis: one that ends with the word `login` makes a success of what follows.
_FAILED = rb"(?:Disconnected|Aborted login|Login aborted|Connection closed)(?:: |)%b{0,300}+(?<=\))" % _HARMLESS


def _named(name: str, pattern: bytes) -> bytes:
    return b"(?P<%b>%b)" % (name.encode(), pattern)


def _maybe(pattern: bytes) -> bytes:
    """The pattern, or nothing. For `re` this is half the work of a question mark, which makes a repetition."""
    return b"(?:%b|)" % pattern


def _login(level: bytes, method: bytes, lip: bytes, cipher: bytes) -> bytes:
    """The pattern of a login behind its service, with groups."""
    elements = (
        wording.element(wording.USER, _named("user", b"[^>]{1,256}+")),
        wording.element(wording.METHOD, method),
        wording.element(wording.RIP, _named("rip", b"[^,]{2,45}+")),
        wording.element(wording.LIP, lip),
        wording.element(wording.MPID, _NUMBER),
    )
    tls = b"(?:%b|%b)" % (wording.JOIN + wording.TLS, _named("clear", _maybe(wording.JOIN + wording.SECURED)))
    session = wording.element(wording.SESSION, _named("session", b"[^>]{1,255}+"))
    return (
        wording.LOGIN_PROCESS + level + wording.SUCCESS + wording.JOIN.join(elements) + tls + cipher
        + _maybe(wording.JOIN + session)
    )  # fmt: skip


def _failure(level: bytes, method: bytes, lip: bytes, cipher: bytes) -> bytes:
    """The pattern of a failed login behind its service, with groups."""
    return (
        wording.LOGIN_PROCESS + level + _named("why", _FAILED) + b": "
        + _maybe(wording.element(wording.USER, _named("failed", _HARMLESS + b"{0,250}+")) + wording.JOIN)
        + _maybe(wording.element(wording.METHOD, method) + wording.JOIN)
        + wording.element(wording.RIP, _named("client", b"[^,]{2,45}+"))
        + wording.JOIN + wording.element(wording.LIP, lip)
        + _maybe(wording.JOIN + wording.element(wording.MPID, _NUMBER))
        + _maybe(b"%b(?:%b%b|%b)" % (wording.JOIN, wording.TLS, _maybe(b" handshaking"), wording.SECURED))
        + _maybe(cipher)
        + _maybe(wording.JOIN + wording.element(wording.SESSION, wording.SESSION_VALUE))
    )  # fmt: skip


def _end(level: bytes) -> bytes:
    """The pattern of a session's last line behind its service, with groups."""
    head = wording.end_head(_named("whose", b"[^)]{0,256}+"), _named("ended", b"[^>]{1,255}+"))
    return head + level + b"(?:%b)" % wording.ENDED + _named("rest", rb"[^\n]{0,1024}+")


def _bytes_of(pattern: bytes) -> bytes:
    """The bytes that a pattern takes alone."""
    taken = re.compile(pattern)
    return bytes(byte for byte in range(256) if taken.fullmatch(bytes([byte])))


_BYTES = {  # what may be in these groups
    "user": _bytes_of(wording.USER_BYTE),
    "session": _bytes_of(wording.SESSION_VALUE),
    "whose": _bytes_of(_HARMLESS),
    "ended": _bytes_of(wording.SESSION_VALUE),
}
_UNUSUAL = (b":", b"<", b"\0", b"\r")  # without one of these, an end does not carry anything else
_IMAP, _POP3 = wording.SERVICE.split(b"|")
# A group costs time where it takes part, so it is that of the rarer: POP, and below a login without TLS.
_SERVICE = b"(?:%b|%b)" % (_IMAP, _named("pop3", _POP3))
_PROTOCOLS = {None: "imap", _POP3: "pop3"}


class _Times(dict[bytes, int]):
    """The time of each stamp, read once."""

    def __init__(self, read: Callable[[bytes], int]) -> None:
        self._read = read

    def __missing__(self, stamp: bytes) -> int:
        self[stamp] = at = self._read(stamp)
        return at


@dataclass(slots=True)
class Taken:
    """What was taken from a block.

    gaps: the lines that were not taken, one gap before each match and one behind the last. A gap that is not empty
    begins with the line feed before its first line; the last one ends with a line feed.
    logins, ends: those that hold, with the number of the match as their place. failures: who failed, if that is known.
    doubtful: lines for the strict reader. Both come in order, with the place that columns.put_in_order asks for.
    """

    gaps: list[bytes]
    logins: Logins
    ends: Ends
    failures: list[tuple[int, Matter | None]]
    doubtful: list[tuple[int, bytes]]


class Common:
    """Takes the lines of one source that have the common form. Nothing is taken before a login is learnt from."""

    def __init__(
        self,
        framer: framing.Framer,
        reader: timestamps.Stamps,
        hosts: tuple[str, ...] = (),
        programs: tuple[str, ...] = (),
    ) -> None:
        """hosts: the host names to accept; () for any."""
        self._stamps = reader
        self._is_stamp = re.compile(reader.pattern)
        self._layout = reader.pattern if framer.own_layout else b""
        self._syslog = framer.framing == headers.SYSLOG
        self._programs = b"|".join(re.escape(name.encode()) for name in programs)
        self._any_of = dict(_KINDS)
        if hosts:
            self._any_of[HOST] = b"|".join(re.escape(name.encode()) for name in hosts)
        self._why: dict[bytes, str] = {}
        self._learnt: dict[str, dict[bytes, None]] = {kind: {} for kind in _KINDS}
        self._seen: dict[str, set[bool]] = {name: set() for name in _OPTIONAL}
        if not self._syslog:
            self._seen[LEVEL] = {True}
        self._forms: dict[str, None] = {}
        self._any = self._compiled((MONTH, ISO))
        self._pattern: re.Pattern[bytes] | None = None

    def _compiled(self, forms: Iterable[str]) -> re.Pattern[bytes]:
        """The pattern with the literals learnt. forms: those of the time stamps that are taken."""
        plain: dict[str, bytes] = {}
        shown: dict[str, bytes] = {}  # with a group, where the match must tell which it was
        for kind, pattern in self._any_of.items():
            learnt = self._learnt[kind]
            values = b"|".join(map(re.escape, learnt)) if 0 < len(learnt) <= LEARNT else pattern
            plain[kind] = b"(?:%b)" % values
            shown[kind] = plain[kind] if len(learnt) == 1 or (learnt and kind == HOST) else _named(kind, values)
        stamps, tag = dict(_STAMPS), b" "
        if self._layout:
            stamps, tag = dict.fromkeys(_STAMPS, _named(MONTH, self._layout)), b" ?"
        elif self._syslog:
            stamps[ISO] += self._where_seen(FRACTION, named=True) + shown[ZONE]
            tag = rb" %b (?:%b)%b: " % (shown[HOST], self._programs, self._where_seen(PID, named=True))
        head = b"|".join(dict.fromkeys(map(stamps.__getitem__, forms)))
        level, cipher = self._where_seen(LEVEL), self._where_seen(CIPHER)
        to_learn = {name: self._where_seen(name, named=True) for name in _OPTIONAL}
        texts = (
            _login(to_learn[LEVEL], shown[METHOD], shown[LIP], to_learn[CIPHER]),
            _end(level),
            _failure(level, plain[METHOD], plain[LIP], cipher),
        )
        text = b"%b(?:%b)" % (_SERVICE, b"|".join(texts))
        return re.compile(rb"\n(?:%b)%b%b(?m:$)" % (head, tag, text))

    def _where_seen(self, name: str, *, named: bool = False) -> bytes:
        """The pattern of an optional part, if it was ever seen. named: with a group, as long as nothing is learnt."""
        seen, pattern = self._seen[name], _OPTIONAL[name]
        if len(seen) == 1:
            return pattern if True in seen else b""
        return _maybe(_named(name, pattern) if named and not self._forms else pattern)

    def learn(self, line: bytes, taken: Callable[[bytes], bool]) -> bool:
        """Learn from a line, if it is a login of the common form that has something new. Whether it was.

        taken: whether the strict reader takes the line as a login.
        """
        text = b"\n%b\n" % line
        found = self._any.match(text)
        if found is None or found["user"] is None or found.end() < len(text) - 1:
            return False
        part = found.groupdict()
        new = {kind: part[kind] for kind in _KINDS if part.get(kind) and self._is_new(kind, part[kind])}
        there = {name: part[name] is not None for name in _OPTIONAL if name in part}
        form = MONTH if part[MONTH] else ISO
        unseen = form not in self._forms or any(is_so not in self._seen[name] for name, is_so in there.items())
        if not (new or unseen) or not taken(line):
            return False
        self._forms[form] = None
        for name, is_so in there.items():
            self._seen[name].add(is_so)
        for kind, value in new.items():
            self._learnt[kind][value] = None
        self._pattern = self._compiled(self._forms)
        return True

    def _is_new(self, kind: str, value: bytes) -> bool:
        return value not in self._learnt[kind] and len(self._learnt[kind]) <= LEARNT

    def take(self, block: bytes, now: int, written_after: int | None) -> Taken:
        """Take what has the common form out of whole lines."""
        pattern, text = self._pattern, b"\n" + block
        if pattern is None:
            return Taken([text], Logins(), Ends(), [], [])
        parts: list[Any] = pattern.split(text)
        width = pattern.groups + 1
        columns = {name: parts[place::width] for name, place in pattern.groupindex.items()}
        at = self._times(columns, now, written_after)
        taken = Taken(parts[::width], *self._told(columns, at), [])
        if doubt := _doubtful(taken, columns, at):
            for name in ("user", "ended", "why"):
                columns[name] = [None if n in doubt else value for n, value in enumerate(columns[name])]
            taken = Taken(taken.gaps, *self._told(columns, at), _lines_of(pattern, text, doubt))
        return taken

    def _told(
        self, columns: Mapping[str, list[Any]], at: list[Any]
    ) -> tuple[Logins, Ends, list[tuple[int, Matter | None]]]:
        """What the matches say."""
        return self._logins(columns, at), _ends(columns, at), self._failures(columns, at)

    def _times(self, columns: Mapping[str, list[Any]], now: int, written_after: int | None) -> list[Any]:
        """The time of each match; 0 where the stamp is no time."""
        stamps, zone = columns[MONTH] if MONTH in columns else columns[ISO], b""
        if self._syslog and ISO in columns:
            several = columns.get(ZONE)
            if several is None:
                (zone,) = self._learnt[ZONE]
            if MONTH in columns:
                zones = several or [zone] * len(stamps)
                both = zip(stamps, columns[ISO], zones, strict=True)
                stamps, zone = [month or iso + east for month, iso, east in both], b""
            elif several:
                stamps = list(map(add, stamps, several))
        elif MONTH in columns and ISO in columns:
            stamps = [month or iso for month, iso in zip(stamps, columns[ISO], strict=True)]
        times = _Times(lambda stamp: self._read(stamp + zone, now, written_after) or 0)
        return list(map(times.__getitem__, stamps))

    def _read(self, stamp: bytes, now: int, written_after: int | None) -> int | None:
        if self._is_stamp.fullmatch(stamp) is None:
            return None
        return self._stamps.read(stamp, now, written_after)

    def _logins(self, columns: Mapping[str, list[Any]], at: list[Any]) -> Logins:
        users = columns["user"]
        rip, session = list(compress(columns["rip"], users)), list(compress(columns["session"], users))
        methods, local = (
            list(compress(columns[kind], users)) if kind in columns else [*self._learnt[kind]] * len(rip)
            for kind in (METHOD, LIP)
        )
        words = {method: method.decode() for method in (set(methods) if METHOD in columns else methods[:1])}
        return Logins(
            list(compress(range(len(users)), users)),
            list(compress(at, users)),
            rip,
            list(filter(None, users)),
            list(map(_PROTOCOLS.__getitem__, compress(columns["pop3"], users))),
            list(map(words.__getitem__, methods)) if len(words) > 1 else [*words.values()] * len(rip),
            list(map(is_, compress(columns["clear"], users), repeat(None))),
            [text or b"" for text in session] if None in session else session,
            local,
        )

    def _failures(self, columns: Mapping[str, list[Any]], at: list[Any]) -> list[tuple[int, Matter | None]]:
        said = columns["why"]
        failed = (compress(column, said) for column in (at, columns["client"], columns["failed"], said))
        found: list[tuple[int, Matter | None]] = []
        for place, time, client, user, text in zip(compress(count(1, 2), said), *failed, strict=True):
            why = self._why.get(text)
            if why is None:
                why = self._learn_why(text)
            failure = None
            if why:
                written = client.decode("ascii", "replace")
                if ":" in written:  # IPv4 is written in one way only
                    written = address.canonical(written) or ""
                failure = Failure(time, written, as_text(user)[: failures.USER_CHARACTERS] if user else "", why)
            found.append((place, failure))
        return found

    def _learn_why(self, text: bytes) -> str:
        if len(self._why) >= REMEMBERED:
            self._why.clear()
        self._why[text] = why = failures.why(text)
        return why


def _ends(columns: Mapping[str, list[Any]], at: list[Any]) -> Ends:
    ended = columns["ended"]
    return Ends(
        list(compress(range(len(ended)), ended)),
        list(compress(at, ended)),
        list(filter(None, ended)),
        list(compress(columns["whose"], ended)),
        list(map(_PROTOCOLS.__getitem__, compress(columns["pop3"], ended))),
    )


def _doubtful(taken: Taken, columns: Mapping[str, list[Any]], at: list[Any]) -> set[int]:
    """The numbers of the matches that may not be what they were taken for. A column is looked at as a whole first."""
    logins, ends = taken.logins, taken.ends
    doubt = set() if all(at) else {number for number, time in enumerate(at) if not time}
    taken_for = (logins.user, logins.session, ends.user, ends.session)
    for (name, allowed), texts in zip(_BYTES.items(), taken_for, strict=True):
        if b"".join(texts).translate(None, allowed):
            doubt.update(n for n, value in enumerate(columns[name]) if value and value.translate(None, allowed))
    clients = list(filter(None, columns["client"]))
    for name, texts in (("rip", logins.address), (LIP, logins.local if LIP in columns else []), ("client", clients)):
        if not address.all_are(texts):
            doubt.update(n for n, value in enumerate(columns[name]) if value and not address.all_are((value,)))
    if _carries(b"\n".join(filter(None, columns["rest"]))):
        doubt.update(n for n, value in enumerate(columns["rest"]) if value and _carries(value))
    return doubt


def _carries(rest: bytes) -> bool:
    """Whether an end says more than an end: the text of a login, or what no line of Dovecot has."""
    if not any(byte in rest for byte in _UNUSUAL):
        return False
    return b"\0" in rest or b"\r" in rest or dovecot.looks_like_login(rest.lower())


def _lines_of(pattern: re.Pattern[bytes], text: bytes, numbers: set[int]) -> list[tuple[int, bytes]]:
    """The lines of these matches, each with the place of its match."""
    found = ((number, match) for number, match in enumerate(pattern.finditer(text)) if number in numbers)
    return [(2 * number + 1, line) for number, match in found for line in match[0][1:].split(b"\n")]
