"""An installation to which things happen, which is waited for until it says again what its log says."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from dataclasses import dataclass, field

import lmdb

from popauthd.control_client import ask
from popauthd.errors import PopauthdError
from tests.support.daemons import LIFETIME, Installation, login_line
from tests.support.helpers import eventually

AT_ONCE = 300  # logins
STRANGER = "203.0.113.66"


@dataclass
class Patient:
    """An installation whose files are damaged again and again, and what its log says."""

    installation: Installation
    dice: random.Random
    within: float
    said: dict[str, int] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    number: int = 0
    slowest: float = 0.0
    deaths: int = 0
    watcher: subprocess.Popen[bytes] | None = None
    responder: subprocess.Popen[bytes] | None = None

    def log_in(self) -> None:
        """More logins, one of which is revoked."""
        self.number += 1
        at = int(time.time())
        fresh = {f"10.{self.number}.{one >> 8}.{one & 255}": at for one in range(AT_ONCE)}
        self.said |= fresh
        self.installation.write(*[login_line(address, at=at, user=f"user{address}") for address in fresh])
        self.comes_right()
        whom = self.dice.choice(list(fresh))
        reply = ask(str(self.installation.run_dir / "control.sock"), {"command": "revoke", "address": whom})
        assert "error" not in reply
        del self.said[whom]
        self.revoked.add(whom)
        self.comes_right()

    def comes_right(self) -> None:
        """Wait until everybody says what the log says. A watcher that ended is started anew, as systemd does it."""
        began = time.monotonic()
        eventually(self._right, "all is as the log says", self.within, 0.02)
        self.slowest = max(self.slowest, time.monotonic() - began)
        for address in self.dice.sample(sorted(self.said), min(len(self.said), 3)):
            assert self._answer(address) == "yes"
        for address in (*self.revoked, STRANGER):
            assert self._answer(address) == "no"

    def _answer(self, address: str) -> str:
        """What the responder says. A map that is damaged under it may end it; then it is started anew."""
        until = time.monotonic() + self.within
        while not (answer := self.installation.ask(address)) and time.monotonic() < until:
            if self.responder is None or self.responder.poll() is not None:
                self.deaths += self.responder is not None
                self.responder = self.installation.start("respond")
            time.sleep(0.02)
        return answer

    def _right(self) -> bool:
        if self.watcher is None or self.watcher.poll() is not None:
            self.watcher = self.installation.start("watch")
        right = {address: at + LIFETIME for address, at in self.said.items()}
        try:
            # Who answers has made whole what was damaged before it was started; a damaged map would end this process.
            return self.installation.degraded() == "" and self.installation.published() == right
        except (PopauthdError, lmdb.Error):
            return False

    def end(self, number: signal.Signals) -> None:
        assert self.watcher is not None
        self.watcher.send_signal(number)
        self.watcher.wait(30)
