"""Finds held sessions whose closing line was lost, by asking Dovecot now and then who is still there."""

from __future__ import annotations

import logging
import time

from popauthd.address import keys
from popauthd.errors import SourceError
from popauthd.logs import Quiet
from popauthd.watch.doveadm_who import Who
from popauthd.watch.ledger import Ledger

log = logging.getLogger("popauthd.watch")

ASK_EVERY_SECONDS = 300.0


class LostSessions:
    """Asks at most every ASK_EVERY_SECONDS, and only while sessions are held.

    A session ends if Dovecot knows no connection from its address at all: user names may be written
    in two ways, and an address that is still connected may be held for somebody.
    """

    def __init__(self, who: Who) -> None:
        self._who = who
        self._ask_at = 0.0
        self._asked_at = 0
        self._quiet = Quiet(log, 3600)

    def tend(self, ledger: Ledger, now: int) -> int:
        """Ask, or look whether the answer is there; returns how many sessions ended."""
        try:
            found = self._who.answer()
            if found is None:
                self._ask(ledger, now)
                return 0
        except SourceError as error:
            self._quiet.warn("who", f"cannot ask which sessions are open: {error}")
            return 0
        there = {key for client in found for key in keys(client)}
        with ledger.change() as writing:
            return writing.sessions.end_elsewhere(there, self._asked_at, now)

    def _ask(self, ledger: Ledger, now: int) -> None:
        if self._who.asking or time.monotonic() < self._ask_at:
            return
        with ledger.reading() as reading:
            if not reading.sessions.held_count():
                return
        self._ask_at = time.monotonic() + ASK_EVERY_SECONDS
        self._asked_at = now
        self._who.ask()

    def close(self) -> None:
        """Ask no more."""
        self._who.close()
