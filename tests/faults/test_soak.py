"""A day of logs, played as fast as it goes: memory, open files and books are at its end as after its first hours.

Customers log in, stay a while and leave; every hour the log is rotated, and only the newest old files are kept. The
watcher reads it by a clock in the test's hand. POPAUTHD_HOURS sets how long the day is (three hours unless told), and
POPAUTHD_PER_MINUTE how many log in a minute. The long campaign:

    POPAUTHD_HOURS=24 POPAUTHD_PER_MINUTE=600 sh tests/run.sh -s tests/faults/test_soak.py
"""

from __future__ import annotations

import gc
import os
import random
import time
from pathlib import Path
from typing import NamedTuple

from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.sources.file.source import LogFile
from popauthd.store.books import Books, Rules
from popauthd.store.host_list import HostList
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from popauthd.watch.watcher import Followed, Watcher
from tests.support.dose import dose, first_seed
from tests.support.policy import default_limits
from tests.support.watching import housekeeping_of

HOURS = dose("HOURS", 3)
PER_MINUTE = dose("PER_MINUTE", 20)
SEED = first_seed(7)
NOW = 1_795_467_600
MINUTE, HOUR = 60, 3600
HISTORY = 600
CUSTOMERS = 20_000
KEPT = 4  # rotated files
STAYS = (2, 30, 700, 5000)  # seconds


class Size(NamedTuple):
    """How much the watcher needs."""

    books: int
    memory: int
    files: int


class Soak:
    """A log, its writer, and a watcher on it."""

    def __init__(self, directory: Path, dice: random.Random) -> None:
        self.now = NOW
        self.logins = 0
        self._dice = dice
        self._leaving: dict[int, list[bytes]] = {}
        self._log = directory / "dovecot.log"
        self._log.touch()
        self._books = directory / "books.mdb"
        books = Books(str(self._books), Rules(shared_users=25, hold_seconds=12 * HOUR))
        publisher = Publisher(MapWriter(str(directory / "relay.mdb")), HostList(str(directory / "relay-hosts")))
        ledger, housekeeping = housekeeping_of(books, publisher, default_limits(), lambda: NOW - 1000, HISTORY)
        recogniser = Recogniser(Options("dovecot-file"))
        source = LogFile(str(self._log), recogniser.stamp, clock=lambda: self.now)
        self.watcher = Watcher(ledger, housekeeping, [Followed(source, recogniser)], clock=lambda: self.now)
        self.watcher.start()

    def minute(self) -> None:
        """Who comes and who leaves in a minute, and what the watcher does meanwhile."""
        stamp = time.strftime("%b %d %H:%M:%S", time.localtime(self.now)).encode()
        lines = self._leaving.pop(self.now // MINUTE, [])
        for _ in range(PER_MINUTE):
            self.logins += 1
            who = self._dice.randrange(CUSTOMERS)
            user, session = b"user%d@example.org" % who, b"s%d/%d" % (self.now, self.logins)
            lines.append(
                b"imap-login: Info: Login: user=<%b>, method=PLAIN, rip=10.0.%d.%d, lip=198.51.100.5, mpid=1, TLS, "
                b"session=<%b>\n" % (user, who >> 8, who & 255, session)
            )
            until = (self.now + self._dice.choice(STAYS)) // MINUTE + 1
            gone = b"imap(%b)<1><%b>: Info: Disconnected: Logged out in=1 out=2\n" % (user, session)
            self._leaving.setdefault(until, []).append(gone)
        with self._log.open("ab") as log:
            log.writelines(b"%b %b" % (stamp, line) for line in lines)
        while self.watcher.turn():
            pass
        self.now += MINUTE

    def rotate(self) -> None:
        for number in reversed(range(1, KEPT)):
            old = self._log.with_name(f"dovecot.log.{number}")
            if old.exists():
                old.rename(self._log.with_name(f"dovecot.log.{number + 1}"))
        self._log.rename(self._log.with_name("dovecot.log.1"))
        self._log.touch()

    def size(self) -> Size:
        gc.collect()
        status = Path("/proc/self/status").read_text().splitlines()
        memory = next(int(line.split()[1]) for line in status if line.startswith("RssAnon:"))
        return Size(self._books.stat().st_size >> 10, memory, len(os.listdir("/proc/self/fd")))  # noqa: PTH208


def test_a_day_of_logs_leaves_nothing_behind(tmp_path: Path) -> None:
    soak = Soak(tmp_path, random.Random(SEED))
    sizes = []
    for _hour in range(HOURS):
        for _minute in range(60):
            soak.minute()
        soak.rotate()
        sizes.append(soak.size())
    status = soak.watcher.status()
    soak.watcher.close()
    print(f"seed {SEED}, {HOURS} hours, {soak.logins} logins; after each hour: KiB of books, KiB of memory, open files")
    print("\n".join(f"{size.books} {size.memory} {size.files}" for size in sizes))
    settled, last = sizes[min(3, HOURS // 2)], sizes[-1]  # the longest stay is over by then, and so is the history
    assert last.books <= settled.books * 1.25
    assert last.memory <= settled.memory * 1.1 + 8192
    assert last.files <= settled.files
    assert status.degraded == ""
    assert status.addresses > 0
    assert status.held > 0
