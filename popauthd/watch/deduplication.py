"""Pairs logins that are told in several ways (by a log and by Dovecot itself), so that each is counted once.

Only counting is at stake: entering a login twice changes nothing. Bounded: what is PAIR_SECONDS old is
forgotten.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from popauthd.model import Login

PAIR_SECONDS = 60
ABOUT_SECONDS = 5  # how far the two tellings may lie apart where one has no session id
REMEMBERED = 20_000  # (address, user) pairs
REMEMBERED_OF_ONE = 100  # logins of such a pair


@dataclass(slots=True)
class _Told:
    ways: set[str]
    session: str
    at: int


class Twice:
    """Remembers the logins of the last minute, and in which ways each was told."""

    def __init__(self) -> None:
        self._told: OrderedDict[tuple[str, str], list[_Told]] = OrderedDict()

    def first(self, way: str, login: Login, client: str) -> bool:
        """Whether this login has not been told in another way before. client: its address, canonical."""
        key = client, login.user
        told = [entry for entry in self._told.pop(key, []) if abs(entry.at - login.at) <= PAIR_SECONDS]
        found = next((entry for entry in told if way not in entry.ways and _same(entry, login)), None)
        if found is not None:
            found.ways.add(way)
            found.session = found.session or login.session
        else:
            told.append(_Told({way}, login.session, login.at))
        self._told[key] = told[-REMEMBERED_OF_ONE:]
        while len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return found is None


def _same(entry: _Told, login: Login) -> bool:
    if entry.session and login.session:
        return entry.session == login.session
    return abs(entry.at - login.at) <= ABOUT_SECONDS
