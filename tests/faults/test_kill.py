"""kill -9 of either process at any moment under a stream of logins: afterwards the map is what the log says.

POPAUTHD_KILLS sets how often (200 unless told), POPAUTHD_RATE how many logins a second are written
meanwhile. The seed is printed; POPAUTHD_SEED repeats a run. The long campaign of a release:

    POPAUTHD_KILLS=1000 POPAUTHD_RATE=2000 sh tests/run.sh -s tests/faults/test_kill.py
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import lmdb
import pytest

from tests.support.daemons import LIFETIME, Installation, login_line
from tests.support.helpers import eventually

KILLS = int(os.environ.get("POPAUTHD_KILLS", "200"))
SEED = int(os.environ.get("POPAUTHD_SEED", str(time.time_ns() % 1_000_000)))
CHECK_EVERY = 20
LOGINS_A_SECOND = int(os.environ.get("POPAUTHD_RATE", "1000"))


class Stream(threading.Thread):
    """Writes logins from random addresses until stopped, and remembers the newest of each."""

    def __init__(self, installation: Installation, dice: random.Random) -> None:
        super().__init__()
        self.newest: dict[str, int] = {}
        self._installation = installation
        self._dice = dice
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(0.01):
            lines = []
            for _ in range(LOGINS_A_SECOND // 100):
                address = f"10.{self._dice.randrange(8)}.{self._dice.randrange(256)}.{self._dice.randrange(256)}"
                at = int(time.time()) - self._dice.choice((0, 0, 0, 1, 30, 600))
                self.newest[address] = max(self.newest.get(address, 0), at)
                lines.append(login_line(address, at=at, user=f"user{self._dice.randrange(50)}"))
            self._installation.write(b"".join(lines))


def map_holds(installation: Installation) -> dict[str, int]:
    with (
        lmdb.open(str(installation.run_dir / "relay.mdb"), subdir=False, readonly=True, lock=False) as env,
        env.begin() as txn,
    ):
        records = {bytes(key).decode(): bytes(value).decode().split() for key, value in txn.cursor()}
    assert all(address == key for key, (_expiry, address) in records.items())
    return {key: int(expiry) for key, (expiry, _address) in records.items()}


def listed(installation: Installation) -> dict[str, int]:
    lines = (installation.run_dir / "relay-hosts").read_text().splitlines()
    return {address: int(expiry) for address, expiry in (line.split(": ") for line in lines)}


@pytest.mark.slow
def test_after_kills_at_any_moment_the_map_is_what_the_log_says(tmp_path: Path) -> None:
    print(f"seed {SEED}, kills {KILLS}, logins a second {LOGINS_A_SECOND}")
    dice = random.Random(SEED)
    installation = Installation(tmp_path, "host_list = true")
    parts = {part: installation.start(part) for part in ("watch", "respond")}
    installation.ready()
    said: dict[str, int] = {}
    killed = 0
    try:
        while killed < KILLS:
            stream = Stream(installation, random.Random(dice.random()))
            stream.newest = said
            stream.start()
            for _ in range(min(CHECK_EVERY, KILLS - killed)):
                time.sleep(dice.uniform(0, 0.35))  # at any moment: while starting as well
                part = dice.choice(("watch", "watch", "respond"))
                parts[part].send_signal(signal.SIGKILL)
                parts[part].wait()
                parts[part] = installation.start(part)
                killed += 1
            stream.stopped.set()
            stream.join()
            installation.ready()
            marker = f"192.0.2.{killed // CHECK_EVERY % 250 + 1}"
            said[marker] = int(time.time())
            installation.write(login_line(marker, at=said[marker]))
            eventually(lambda marker=marker: installation.ask(marker) == "yes", "the log is read to its end", 60)  # type: ignore[misc]
            now = int(time.time())
            found = map_holds(installation)
            # an entry about to run out may be in the one and not in the other
            wanted = {address: at + LIFETIME for address, at in said.items()}
            assert {a: e for a, e in found.items() if e > now + 5} == {a: e for a, e in wanted.items() if e > now + 5}
            lasting = {address for address, expiry in found.items() if expiry > now + 70}  # still there after the wait
            eventually(lambda: listed(installation).keys() >= lasting, "the host list is whole", 60)  # noqa: B023
            assert all(wanted[address] == expiry for address, expiry in listed(installation).items())
    finally:
        installation.close()
    print(f"killed {killed} times, {len(said)} addresses, lost 0, invented 0")
    assert "Traceback" not in installation.errors("watch") + installation.errors("respond")
