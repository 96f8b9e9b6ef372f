"""Pairs logins that are told in two ways (by a log and by Dovecot itself), so that each is counted once.

Only counting is at stake: entering a login twice changes nothing. Bounded: what finds no partner within
PAIR_SECONDS is forgotten.
"""

from __future__ import annotations

from collections import OrderedDict

from popauthd.model import Login

PAIR_SECONDS = 60
ABOUT_SECONDS = 5  # how far the two tellings may lie apart where one has no session id
REMEMBERED = 20_000  # (address, user) pairs


class Twice:
    """Remembers the logins of the last minute that were told in one way only."""

    def __init__(self) -> None:
        self._alone: OrderedDict[tuple[str, str], list[tuple[str, str, int]]] = OrderedDict()

    def first(self, way: str, login: Login, client: str) -> bool:
        """Whether this login has not been told in another way before. client: its address, canonical."""
        key = client, login.user
        waiting = [entry for entry in self._alone.pop(key, []) if abs(entry[2] - login.at) <= PAIR_SECONDS]
        found = next((entry for entry in waiting if entry[0] != way and _same(entry, login)), None)
        if found is not None:
            waiting.remove(found)
        else:
            waiting.append((way, login.session, login.at))
        if waiting:
            self._alone[key] = waiting
            while len(self._alone) > REMEMBERED:
                self._alone.popitem(last=False)
        return found is None


def _same(entry: tuple[str, str, int], login: Login) -> bool:
    _way, session, at = entry
    if session and login.session:
        return session == login.session
    return abs(at - login.at) <= ABOUT_SECONDS
