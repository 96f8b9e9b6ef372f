"""Judges stored logins again after the limits have changed: many at once, as all of a million may change.

The logins of an address are changed at once where nothing but their expiries says what is published of it. An address
with an open session, with too many users, or with a login that a revocation may end is left to the code that changes
one by one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple

from popauthd.store.books.login_rows import LoginRows
from popauthd.store.books.published import Published
from popauthd.store.books.revocation_times import RevocationTimes
from popauthd.store.books.rows import LightRow, light_row, name_is_known
from popauthd.store.books.rules import Rules
from popauthd.store.books.sessions import Sessions
from popauthd.store.books.shared import SharedAddresses

CHANGE = 4  # how many logins can be judged in the time in which one is changed

Judge = Callable[[LightRow, bool], tuple[int, int]]
"""Takes a login and whether it has an open session; returns the expiry by the limits (epoch seconds, 0 if they would
not grant it) and the lifetime."""


Changed = tuple[bytes, bytes, int, int]  # the key of a login, its value, its new expiry and lifetime


class _Client(NamedTuple):
    """What was found of an address. until: when the last of its logins runs out now, 0 if none stands.

    users: those whose logins stood. held: there is an open session. stood: the logins that stood, with their times.
    changed: the logins that change. A grant by hand keeps its lifetime.
    """

    address: bytes
    until: int
    users: int
    held: bool
    stood: list[tuple[bytes, int]]
    changed: list[Changed]


class Judging:
    """Lets logins end earlier, and publishes what follows."""

    def __init__(
        self,
        rows: LoginRows,
        times: RevocationTimes,
        published: Published,
        shared: SharedAddresses,
        sessions: Sessions,
        rules: Rules,
    ) -> None:
        self._rows = rows
        self._times = times
        self._published = published
        self._shared = shared
        self._sessions = sessions
        self._rules = rules

    def again(self, judge: Judge, now: int, after: bytes, at_most: int) -> tuple[int, bytes]:
        """End the logins that policy would not grant any more; see Logins.judge_again."""
        clients, last = self._look(judge, now, after, at_most)
        most = self._rules.shared_users or sys.maxsize
        shared = {one.address.encode("ascii") for one in self._shared.all()}
        odd = {one.address for one in clients if one.held or one.users > most or one.address in shared}
        odd |= self._revoked(clients)
        addresses = {one.address.decode("ascii") for one in clients if one.users > most}
        if not last:
            addresses.update(address.decode("ascii") for address in shared)
        ended = self._change((one for one in clients if one.address not in odd), now)
        ended += self._change_one_by_one((one for one in clients if one.address in odd), addresses, now)
        self._published.recompute_all(addresses, now)
        return ended, last

    def _look(self, judge: Judge, now: int, after: bytes, at_most: int) -> tuple[list[_Client], bytes]:
        """The addresses of which something changes, or that have too many users; and the key of the last login.

        b"" if all were looked at.
        """
        found: list[_Client] = []
        most, left = self._rules.shared_users or sys.maxsize, at_most or sys.maxsize
        before, until, users, any_held, last = b"", 0, 0, False, b""
        stood, changed = list[tuple[bytes, int]](), list[Changed]()
        for key, value, held in self._rows.with_sessions(after):
            left -= 1
            if left < 0 and not key.startswith(last[: last.index(b"\0") + 1]):
                break
            last = key
            row = light_row(key, value)
            address, user, login_at, stood_until, lifetime, logins, _line, _method = row
            if stood_until <= now and not held:  # nothing of it stands
                continue
            if address != before:
                if changed or users > most:
                    found.append(_Client(before, until, users, any_held, stood, changed))
                    stood, changed = [], []
                else:
                    stood.clear()
                before, until, users, any_held = address, 0, 0, False
            ends, seconds = judge(row, held)
            if ends < stood_until or ends <= now or seconds < lifetime:
                changed.append((key, value, ends, seconds if user else lifetime))
                left -= CHANGE
            if held:
                any_held = True
            if stood_until > now:
                users += logins
                stood.append((key, login_at))
                if until < ends > now and until < stood_until:
                    until = ends if ends < stood_until else stood_until
        else:
            last = b""
        if changed or users > most:
            found.append(_Client(before, until, users, any_held, stood, changed))
        return found, last

    def _revoked(self, clients: Iterable[_Client]) -> set[bytes]:
        """The addresses that have a login which a revocation may end."""
        if not self._times.any():
            return set()
        of = {key: (one.address, at) for one in clients for key, at in one.stood}
        unsure = {key for key in of if not name_is_known(key)}
        until = self._times.until(key for key in of if key not in unsure)
        return {address for key, (address, at) in of.items() if key in unsure or at <= until.get(key, -1)}

    def _change(self, clients: Iterable[_Client], now: int) -> int:
        """Shorten logins without sessions, and publish what is left; returns how many ended."""
        ended, shorter, expiries = 0, list[tuple[bytes, bytes, int]](), dict[bytes, int]()
        for one in clients:
            for key, value, until, seconds in one.changed:
                login_at, stood_until, lifetime, rest = value.split(b" ", 3)
                if until >= int(stood_until):
                    continue
                if until <= now:
                    ended += 1
                    until = now
                if seconds < int(lifetime):
                    lifetime = b"%d" % seconds
                shorter.append((key, b"%b %d %b %b" % (login_at, until, lifetime, rest), until))
                expiries[one.address] = one.until
        self._rows.shorten(shorter, now)
        self._published.lower_to(expiries, now)
        return ended

    def _change_one_by_one(self, clients: Iterable[_Client], addresses: set[str], now: int) -> int:
        """Let logins and their sessions end earlier; returns how many logins ended. addresses: theirs are added."""
        ended = 0
        for key, _value, expires_at, lifetime_seconds in [found for one in clients for found in one.changed]:
            row = self._rows.get(key)
            assert row is not None
            ended += row.expires_at > now >= expires_at
            if expires_at <= now:
                self._sessions.forget_held(key)
            else:
                self._sessions.shorten(key, lifetime_seconds, now)
            if now < row.expires_at > expires_at:
                shortened = min(row.lifetime_seconds, lifetime_seconds)
                self._rows.store(row._replace(expires_at=max(expires_at, now), lifetime_seconds=shortened), row)
                addresses.add(row.address)
        return ended
