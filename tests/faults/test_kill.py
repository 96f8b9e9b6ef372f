"""kill -9 of either process at any moment under a stream of logins: afterwards the map is what the log says.

In every other round there is a backlog as well, so that it is killed while it catches up. Who asks meanwhile gets the
right answer, or none while the responder is dead. POPAUTHD_KILLS sets how often (200 unless told), POPAUTHD_RATE how
many logins a second are written meanwhile, POPAUTHD_BACKLOG how many lines wait, POPAUTHD_WITHIN in how many seconds
all must be right after the last kill of a round, POPAUTHD_SEED the seed, or "random"; it is printed. The long campaign:

    POPAUTHD_KILLS=1000 POPAUTHD_RATE=5000 POPAUTHD_BACKLOG=100000 POPAUTHD_WITHIN=3 \\
        sh tests/run.sh -s tests/faults/test_kill.py
"""

from __future__ import annotations

import random
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.support.daemons import LIFETIME, Installation, login_line
from tests.support.dose import dose, first_seed
from tests.support.helpers import eventually

KILLS = dose("KILLS", 200)
SEED = first_seed(1)
CHECK_EVERY = 20
LOGINS_A_SECOND = dose("RATE", 1000)
BACKLOG = dose("BACKLOG", 5000)
WITHIN = dose("WITHIN", 60)
STANDING = "192.0.2.254"  # logs in again and again, so it must relay all the time
STRANGER = "203.0.113.66"  # never logs in


def logins(dice: random.Random, number: int, newest: dict[str, int]) -> bytes:
    """Lines of logins from random addresses; `newest` remembers the newest of each."""
    lines, now = [], int(time.time())
    for _ in range(number):
        address = f"10.{dice.randrange(3)}.{dice.randrange(256)}.{dice.randrange(256)}"
        at = now - dice.choice((0, 0, 0, 1, 30, 600))
        newest[address] = max(newest.get(address, 0), at)
        lines.append(login_line(address, at=at, user=f"user{dice.randrange(50)}"))
    newest[STANDING] = now
    return b"".join([*lines, login_line(STANDING, at=now)])


class Stream(threading.Thread):
    """Writes logins until stopped."""

    def __init__(self, installation: Installation, dice: random.Random, newest: dict[str, int]) -> None:
        super().__init__()
        self._installation = installation
        self._dice = dice
        self._newest = newest
        self.stopped = threading.Event()

    def run(self) -> None:
        due = time.monotonic()
        while not self.stopped.wait(max(0.0, due - time.monotonic())):
            self._installation.write(logins(self._dice, LOGINS_A_SECOND // 100, self._newest))
            due += 0.01


class Asker(threading.Thread):
    """Asks all the time for one who must relay and one who must not. `answered` counts; `wrong` has what was wrong."""

    def __init__(self, installation: Installation) -> None:
        super().__init__()
        self._installation = installation
        self.stopped = threading.Event()
        self.answered = self.unanswered = 0
        self.wrong: list[str] = []

    def run(self) -> None:
        while not self.stopped.wait(0.001):
            for address, right in ((STANDING, "yes"), (STRANGER, "no")):
                answer = self._installation.ask(address)
                self.answered += answer != ""
                self.unanswered += answer == ""  # the responder is dead, or not there yet
                if answer not in ("", right):
                    self.wrong.append(f"{address}: {answer}")


@pytest.mark.slow
def test_after_kills_at_any_moment_the_map_is_what_the_log_says(tmp_path: Path) -> None:
    print(f"seed {SEED}, kills {KILLS}, logins a second {LOGINS_A_SECOND}, backlog {BACKLOG}")
    dice = random.Random(SEED)
    installation = Installation(tmp_path, "host_list = true")
    parts = {part: installation.start(part) for part in ("watch", "respond")}
    installation.ready()
    said: dict[str, int] = {}
    installation.write(logins(dice, 1, said))
    eventually(lambda: installation.ask(STANDING) == "yes", "the first login is granted")
    asker = Asker(installation)
    asker.start()
    killed = rounds = 0
    slowest = 0.0
    try:
        while killed < KILLS:
            stream = Stream(installation, random.Random(dice.random()), said)
            if rounds % 2:
                installation.write(logins(dice, BACKLOG, said))
            stream.start()
            for _ in range(min(CHECK_EVERY, KILLS - killed)):
                time.sleep(dice.uniform(0, dice.choice((0.35, 0.35, 0.35, 1))))  # while starting, or while it reads
                part = dice.choice(("watch",) * 4 + ("respond",))
                parts[part].send_signal(signal.SIGKILL)
                parts[part].wait()
                parts[part] = installation.start(part)
                killed += 1
            began = time.monotonic()
            stream.stopped.set()
            stream.join()
            installation.ready()
            rounds += 1
            marker = f"192.0.2.{rounds % 250 + 1}"
            said[marker] = int(time.time())
            installation.write(login_line(marker, at=said[marker]))
            eventually(lambda: as_said(installation, said), "the map is what the log says", WITHIN)
            slowest = max(slowest, time.monotonic() - began)
            lasting = {address: at + LIFETIME for address, at in said.items() if at + LIFETIME > time.time() + 70}
            eventually(lambda: lasting.items() <= installation.host_list().items(), "the host list is whole", 60)  # noqa: B023
            assert asker.wrong == []
    finally:
        asker.stopped.set()
        asker.join()
        installation.close()
    print(
        f"killed {killed} times, {len(said)} addresses, lost 0, invented 0, right after {slowest:.1f} s at most; "
        f"{asker.answered} lookups answered, 0 wrong, {asker.unanswered} while the responder was dead"
    )
    assert asker.answered > 0
    assert "Traceback" not in installation.errors("watch") + installation.errors("respond")


def as_said(installation: Installation, said: dict[str, int]) -> bool:
    """Whether the map holds what the log says, and nothing else. One about to run out may be there or not."""
    soon = time.time() + 5
    found = {address: expiry for address, expiry in installation.published().items() if expiry > soon}
    return found == {address: at + LIFETIME for address, at in said.items() if at + LIFETIME > soon}
