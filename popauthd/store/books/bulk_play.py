"""Plays many plain logins and session ends through in memory, by the rules of logins.py and sessions.py."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from operator import itemgetter

Plain = tuple[int, int, bytes, bytes, int, bytes, bool]
"""A plain login, or the end of a session: place, at, key, session, lifetime, kind, late.

place: its number in the log; entries are in the order of it. at: epoch seconds. key: of the login (see rows.login_key),
b"" for an end. session: its id, which can be a key, or b"". lifetime: seconds. kind: what else is stored of the login
(see rows.login_kind). late: it has run out by itself; it is entered because its session may be open still. An end has
no more than place, at and session.
"""

NEVER = -(1 << 60)  # the time of a login that there was not


@dataclass(slots=True)
class Held:
    """The open sessions of a login, each with its id, the time of its login and its lifetime.

    due: when they must be looked at, 0 if there is none. before, was_due: as they are stored; b"" and 0 for nothing.
    """

    before: bytes = b""
    due: int = 0
    was_due: int = 0
    open: list[tuple[bytes, int, int]] = field(default_factory=list)

    def begin(self, name: bytes, at: int, lifetime: int) -> None:
        """Take in a session."""
        first = at + max(1, lifetime // 2)
        self.due = min(self.due or first, first)
        self.open.append((name, at, lifetime))
        self.open.sort(key=itemgetter(1))

    def end(self, name: bytes) -> None:
        """Take out a session."""
        self.open = [one for one in self.open if one[0] != name]
        self.due = self.due if self.open else 0

    def value(self) -> bytes:
        """What is stored; b"" for nothing."""
        return b"\n".join([b"%d" % self.due, *(b"%b %d %d" % one for one in self.open)]) if self.open else b""


def read_held(value: bytes) -> Held:
    """The sessions that are stored as this."""
    due, *lines = value.split(b"\n")
    sessions = [line.split(b" ") for line in lines]
    return Held(value, int(due), int(due), [(name, int(at), int(lifetime)) for name, at, lifetime in sessions])


class Row:
    """A login while it is played. at: its time. until: its expiry; was_until: the one that is stored.

    before: its stored value, b"" if it is not known yet. newest: the login that replaces it. first: the first login
    that counted. lifted: the place of the first end of a session that had something published before any login counted.
    """

    __slots__ = ("at", "before", "first", "lifted", "newest", "until", "was_until")

    def __init__(self, at: int, until: int, before: bytes) -> None:
        self.at = at
        self.until = self.was_until = until
        self.before = before
        self.newest: Plain | None = None
        self.first: Plain | None = None
        self.lifted = -1


class Play:
    """Plays entries through. None of their logins has more than OPEN_AT_MOST open sessions at any time.

    rows: the logins that are known, by key; new ones are added. known, held: what is stored of the sessions and logins
    in question. sessions: what changes, b"" for one that is not known any more. ended: the sessions whose end is
    remembered. told: the log told of the end of a session whose login was known.
    """

    def __init__(
        self,
        rows: dict[bytes, Row],
        known: Mapping[bytes, bytes],
        held: Mapping[bytes, bytes],
        hold_seconds: int,
        now: int,
        *,
        remember: bool,
    ) -> None:
        self.rows = rows
        self.sessions: dict[bytes, bytes] = {}
        self.ended: list[bytes] = []
        self.told = False
        self._known = known
        self._held = held
        self._hold_seconds = hold_seconds
        self._now = now
        self._remember = remember
        self._open: dict[bytes, Plain] = {}  # the sessions that began here and have not ended
        self._moves: list[tuple[Plain, bool]] = []  # the sessions that began or (True) ended, with their logins

    def through(self, entries: Iterable[Plain]) -> None:
        """Play all entries in their order."""
        rows, now, opened, moves = self.rows, self._now, self._open, self._moves
        stored, changed, settling = self._known, self.sessions, not self._remember
        for entry in entries:
            _place, at, key, session, lifetime, _kind, late = entry
            if not key:
                if settling and session in opened:  # most of them
                    login = opened.pop(session)
                    moves.append((login, True))
                    self._extend(_place, login, at if at < now else now)
                else:
                    self._end(entry)
                continue
            row = rows.get(key)
            if row is None:
                row = rows[key] = Row(NEVER, 0, b"")
            if at > row.at:
                row.at = at
                row.newest = entry
                until = at + lifetime
                if row.until <= now or row.until < until:
                    row.until = until
                if row.first is None and not late:
                    row.first = entry
            if session and session not in opened:
                if (session in stored or session in changed) and self._stored(session):
                    self._open_again(entry)
                else:
                    opened[session] = entry
                    moves.append((entry, False))
        self.told = self.told or any(ended for _login, ended in moves)
        self.sessions.update((name, entry[2]) for name, entry in opened.items())

    def _stored(self, name: bytes) -> bytes:
        """What is known of a session that has not begun here, or has ended here."""
        found = self.sessions.get(name)
        return self._known.get(name, b"") if found is None else found

    def _open_again(self, entry: Plain) -> None:
        """The same as Sessions.open, for a session that is known."""
        known = self._stored(entry[3])
        if known.startswith(b"-"):
            self._extend(entry[0], entry, int(known[1:]))

    def _end(self, end: Plain) -> None:
        """The same as Sessions.end."""
        place, at, _key, name, *_rest = end
        login, known = self._open.pop(name, None), b""
        if login is None:
            known = self._stored(name)
            if known.startswith(b"-"):
                return
        at = min(at, self._now)
        if self._remember or (login is None and not known):
            self.sessions[name] = b"-%d" % at
            self.ended.append(name)
        elif known:
            self.sessions[name] = b""
        if login is None and known:
            login = self._login_of(known, name)
            self.told = True
        if login is not None:
            self.told = True
            self._moves.append((login, True))
            self._extend(place, login, at)

    def _login_of(self, key: bytes, name: bytes) -> Plain | None:
        """The login of a session that began before; None if that is not held."""
        value = self._held.get(key)
        for one, at, lifetime in read_held(value).open if value else ():
            if one == name:
                return 0, at, key, name, lifetime, b"", False
        return None

    def _extend(self, place: int, login: Plain, at: int) -> None:
        """The same as Sessions._extend, where no revocation applies: the session of a login was open at `at`."""
        _place, login_at, key, _name, lifetime, _kind, _late = login
        row = self.rows.get(key)
        if row is None:
            return
        if at + lifetime > row.until:
            longer = min(at + lifetime, login_at + max(self._hold_seconds, lifetime))
            if longer > row.until:
                row.until = longer
        if row.first is None and row.lifted < 0 and row.until > self._now:
            row.lifted = place

    def held(self) -> dict[bytes, Held]:
        """The open sessions of the logins that have any in the end, or had, and in which anything happened."""
        stored, found = self._held, dict[bytes, Held]()
        lasting = {entry[2] for entry in self._open.values()}
        for (_place, at, key, name, lifetime, _kind, _late), ended in self._moves:
            held = found.get(key)
            if held is None:
                if key in stored:
                    held = found[key] = read_held(stored[key])
                elif key in lasting:
                    held = found[key] = Held()
                else:
                    continue
            if ended:
                held.end(name)
            else:
                held.begin(name, at, lifetime)
        return found
