"""Held sessions: while a session that began with a login is open, its address stays allowed.

A login with a session id opens the session, and Dovecot's closing line ends it. While it is open, `renew` sets the
login's expiry to a lifetime from now whenever half a lifetime has passed. So if the watcher dies, the grant runs out
within one lifetime. The expiry is never later than the login plus `hold_seconds`. When the session ends, the expiry
is a lifetime from then.

`held` has for each login (address NUL user) `renew_at` and a line `session login_at lifetime` for each open session.
`sessions` maps a session id to the key of its login, or to `-ended_at` if the session has ended. The opening line of
an ended session may be read after its closing line, or again from a second source, and must not open it again.

Sessions are held only while the log is known to tell of their ends: Dovecot 2.2, or a changed mail_log_prefix, names
a session when it begins and never again. `meta` keeps the time of the last end whose login was known.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from popauthd.model import Grant
from popauthd.store.books.login_rows import LoginRows
from popauthd.store.books.meta import Meta
from popauthd.store.books.published import Published
from popauthd.store.books.revocation_times import RevocationTimes
from popauthd.store.books.rows import login_key, when
from popauthd.store.books.rules import Rules
from popauthd.store.books.transaction import Transaction

OPEN_AT_MOST = 64  # sessions of one login; the oldest is no longer held
SETTLED_SECONDS = 10  # a login's line may be there before Dovecot counts its connection
RENEW_AT_MOST = 2000  # logins in one transaction
ENDS_SECONDS = 7 * 86400  # how long after a logged end we believe that the log tells of ends
ENDS_NOTED_SECONDS = 3600  # the time of the last end is kept as exactly as this
ENDED_SECONDS = 600  # how long an ended session is remembered, for an opening line that comes later or again


class Held(NamedTuple):
    """One open session."""

    session: bytes
    login_at: int
    lifetime_seconds: int


class Sessions:
    """Opens, ends and renews sessions. Databases `held`, `sessions`, `renew` and `gone`."""

    def __init__(
        self,
        transaction: Transaction,
        meta: Meta,
        rows: LoginRows,
        times: RevocationTimes,
        published: Published,
        rules: Rules,
    ) -> None:
        self._transaction = transaction
        self._meta = meta
        self._rows = rows
        self._times = times
        self._published = published
        self._rules = rules

    def all(self, address: str = "") -> Iterator[tuple[str, str, int]]:
        """Address, user and login time of each open session; address: only those from this address."""
        for key, value in self._transaction.scan("held", address.encode("ascii") + b"\0" if address else b""):
            row = self._rows.get(key)
            for line in value.split(b"\n")[1:]:
                if row is not None:
                    yield row.address, row.user, int(line.split(b" ")[1])

    def held_count(self) -> int:
        """How many logins (address and user) are held by open sessions."""
        return self._transaction.count("held")

    def renewal_due(self, now: int) -> bool:
        """Whether the grant of any open session must be renewed."""
        return self._transaction.any_due("renew", now)

    def open(self, session: str, grant: Grant, now: int) -> None:
        """Note that a session began with a login that is in the books. An ended session is not opened again."""
        name = session_key(session)
        if not self._rules.hold_seconds or not name:
            return
        key = login_key(grant.address, grant.user)
        row = self._rows.get(key)
        # If the login was known already, it keeps the time when it was first seen, even if its line is read again.
        login_at = grant.login_at if row is None else min(grant.login_at, row.login_at)
        held = Held(name, login_at, grant.expires_at - grant.login_at)
        known = self._transaction.get("sessions", name)
        if known is None:
            self._transaction.put("sessions", name, key)
            renew_at, sessions = self._held(key)
            first = login_at + max(1, held.lifetime_seconds // 2)
            self._put_held(key, renew_at, min(renew_at or first, first), [*sessions, held])
        elif known.startswith(b"-"):
            self._extend(key, held, int(known[1:]), now)

    def end(self, session: str, at: int, now: int, *, remember: bool = True, logged: bool = True) -> None:
        """Note that a session ended at `at`: its address stays allowed for a lifetime from then.

        logged: the log told of the end, so it will tell of others. remember: remember the end, because the opening
        line may come again from a second source. If the beginning was not seen, the end is always remembered, because
        the opening line may come after it.
        """
        name = session_key(session)
        if not self._rules.hold_seconds or not name:
            return
        key = self._transaction.get("sessions", name)
        if key is not None and key.startswith(b"-"):
            return
        at = min(at, now)
        if remember or key is None:
            self._remember_ended(name, at, now)
        else:
            self._transaction.delete("sessions", name)
        if key is None:
            return
        if logged:
            self.note_end(now)
        renew_at, sessions = self._held(key)
        self._put_held(key, renew_at, renew_at, [held for held in sessions if held.session != name])
        for held in sessions:
            if held.session == name:
                self._extend(key, held, at, now)

    def note_end(self, now: int) -> None:
        """Note that the log told of the end of a session whose login was known."""
        if now - self._meta.last_logged_end_at() >= ENDS_NOTED_SECONDS:
            self._meta.set_last_logged_end_at(now)

    def ends_are_logged(self, now: int) -> bool:
        """Whether the log has told, within the last week, of the end of a session whose login was known."""
        return now - self._meta.last_logged_end_at() < ENDS_SECONDS

    def _remember_ended(self, name: bytes, at: int, now: int) -> None:
        self._transaction.put("sessions", name, b"-%d" % at)
        self._transaction.put("gone", when(now + ENDED_SECONDS, name), b"")

    def renew(self, now: int, *, unread: bool = False) -> int:
        """Renew the expiry of those logins with open sessions that are due; returns how many were due.

        unread: some log has not been read to its end, and the end of any session may stand in the rest. Then nothing
        is renewed, nor if the log does not tell of ends. Sessions that may not be held any longer are dropped in any
        case.
        """
        lifting = self.ends_are_logged(now) and not unread
        self._meta.note_time(now)
        keys = self._transaction.due("renew", now - self._rules.hold_seconds if unread else now, RENEW_AT_MOST)
        for entry in keys:
            key = entry[8:]
            renew_at, sessions = self._held(key)
            row = self._rows.get(key)
            revoked_at = self._times.latest_at(row.address, row.user) if row else now
            still = [held for held in sessions if held.login_at > revoked_at and self._cap(held) > now]
            for held in still if lifting else ():
                self._extend(key, held, now, now)
            for held in set(sessions) - set(still):
                self._transaction.delete("sessions", held.session)
            half = min((held.lifetime_seconds for held in still), default=0) // 2
            self._put_held(key, renew_at, now + max(1, half), still)
        return len(keys)

    def end_elsewhere(self, addresses: set[str], at: int, now: int) -> int:
        """End every session that is older than `at` and is from none of these addresses; returns their number."""
        lost = []
        for key, _value in self._transaction.scan("held"):
            if key.partition(b"\0")[0].decode("ascii") not in addresses:
                lost += [
                    held.session.decode("ascii") for held in self._held(key)[1] if held.login_at < at - SETTLED_SECONDS
                ]
        for session in lost:
            self.end(session, at, now, logged=False)
        return len(lost)

    def _cap(self, held: Held) -> int:
        return held.login_at + max(self._rules.hold_seconds, held.lifetime_seconds)

    def _extend(self, key: bytes, held: Held, at: int, now: int) -> None:
        """Extend the login of a session that was open at `at`, to a lifetime from then."""
        row = self._rows.get(key)
        if row is None or min(held.login_at, row.login_at) <= self._times.latest_at(row.address, row.user):
            return
        expires_at = max(min(at + held.lifetime_seconds, self._cap(held)), row.expires_at)
        if expires_at > row.expires_at:
            self._rows.store(row._replace(expires_at=expires_at), row)
            self._rows.outbox.login(row._replace(expires_at=expires_at), now)
        if expires_at > now:
            self._published.stand(row.address, expires_at, now, anew=row.expires_at <= now)

    def _held(self, key: bytes) -> tuple[int, list[Held]]:
        value = self._transaction.get("held", key)
        if value is None:
            return 0, []
        renew_at, *lines = value.split(b"\n")
        sessions = [line.split(b" ") for line in lines]
        return int(renew_at), [Held(name, int(at), int(lifetime)) for name, at, lifetime in sessions]

    def _put_held(self, key: bytes, renew_before: int, renew_at: int, sessions: list[Held]) -> None:
        if renew_before and (renew_before != renew_at or not sessions):
            self._transaction.delete("renew", when(renew_before, key))
        sessions.sort(key=lambda held: held.login_at)
        for held in sessions[:-OPEN_AT_MOST]:
            self._transaction.delete("sessions", held.session)
        if not sessions:
            self._transaction.delete("held", key)
            return
        lines = [b"%s %d %d" % held for held in sessions[-OPEN_AT_MOST:]]
        self._transaction.put("held", key, b"\n".join([b"%d" % renew_at, *lines]))
        self._transaction.put("renew", when(renew_at, key), b"")

    def forget_held(self, key: bytes) -> None:
        """Stop holding the sessions of one login."""
        renew_at, sessions = self._held(key)
        for held in sessions:
            self._transaction.delete("sessions", held.session)
        if sessions:
            self._put_held(key, renew_at, renew_at, [])

    def forget_all(self) -> None:
        """Treat every session as ended at an unknown time. What is published is not changed."""
        self._transaction.empty("held", "renew", "sessions", "gone")

    def forget_ended(self, now: int, at_most: int) -> int:
        """Forget sessions that ended ENDED_SECONDS ago or earlier; returns their number."""
        keys = self._transaction.due("gone", now, at_most)
        for key in keys:
            self._transaction.delete("gone", key)
            self._transaction.delete("sessions", key[8:])
        return len(keys)

    def shorten(self, key: bytes, lifetime_seconds: int, now: int) -> None:
        """Give the sessions of a login a shorter lifetime, for the renewals from now on."""
        renew_at, sessions = self._held(key)
        shorter = [held._replace(lifetime_seconds=min(held.lifetime_seconds, lifetime_seconds)) for held in sessions]
        if shorter != sessions:
            self._put_held(key, renew_at, min(renew_at, now + max(1, lifetime_seconds // 2)), shorter)

    def move(self, seconds: int) -> None:
        """Move all times after the wall clock was set back by `seconds`."""
        if (ends := self._meta.last_logged_end_at()) > seconds:
            self._meta.set_last_logged_end_at(ends - seconds)
        for key, _value in list(self._transaction.scan("held")):
            renew_at, sessions = self._held(key)
            moved = [held._replace(login_at=held.login_at - seconds) for held in sessions]
            self._put_held(key, renew_at, max(1, renew_at - seconds), moved)


def session_key(session: str) -> bytes:
    """The key of a session id, or b"" if the id cannot be used as a key."""
    name = session.encode("ascii", "ignore")
    return name if len(name) == len(session) <= 255 and not set(name) & set(b" \n\0") else b""
