"""What the watcher's small steps cost with few grants and with many: a sweep with nothing due, and a login.

    python3 -m tests.bench.bench_steps [--few N] [--many N] [--json FILE]

Processor time in microseconds. The books are in this process; `a turn`: all that is done by the clock, with nothing
due. Logins are of new users from addresses all over, so that each touches other pages: one in a transaction, and a
hundred.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from popauthd.model import Grant
from popauthd.store.books import Books, Rules
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from popauthd.watch.housekeeping import Housekeeping
from popauthd.watch.ledger import Ledger
from tests.bench.bench_revoke import fill
from tests.bench.table import Row, arguments, show
from tests.support.policy import default_limits
from tests.support.watching import housekeeping_of

LIFETIME = 7 * 86400
TURNS, LOGINS, TOGETHER = 2000, 1000, 100


@dataclass
class Site:
    """Books with many grants, and a watcher's housekeeping on them."""

    ledger: Ledger
    housekeeping: Housekeeping
    now: int
    dice: random.Random

    def login(self, number: int) -> None:
        """Enter so many logins in one transaction."""
        with self.ledger.change() as writing:
            for _ in range(number):
                at = self.dice.randrange(1 << 24)
                client = f"10.{at >> 16}.{at >> 8 & 255}.{at & 255}"
                grant = Grant(client, f"n{at}", self.now, self.now + LIFETIME, "dovecot", 0, "imap", "PLAIN", True)
                writing.logins.grant(grant, self.now)


def microseconds(work: Callable[[], object], times: int) -> float:
    """Processor time of one of so many runs."""
    began = time.process_time()
    for _ in range(times):
        work()
    return 1e6 * (time.process_time() - began) / times


def measured(directory: Path, grants: int) -> Row:
    """The costs with so many grants."""
    books = Books(str(directory / f"books{grants}.mdb"), Rules(shared_users=25, hold_seconds=43200))
    fill(books, grants)
    publisher = Publisher(MapWriter(str(directory / f"relay{grants}.mdb")))
    now = int(time.time())
    ledger, housekeeping = housekeeping_of(
        books, publisher, default_limits(lifetime_seconds=LIFETIME), lambda: int(time.time() - time.monotonic())
    )
    housekeeping.prepare(now)
    with ledger.beginning() as writing:
        housekeeping.start(writing, now)
    housekeeping.tend(now, caught_up=True)
    site = Site(ledger, housekeeping, now, random.Random(1))
    row: Row = {
        "grants": grants,
        "sweep us": microseconds(lambda: housekeeping._tend_expiries(now, caught_up=True), TURNS),
        "a turn us": microseconds(lambda: housekeeping.tend(now, caught_up=True), TURNS),
        "login alone us": microseconds(lambda: site.login(1), LOGINS),
        f"login, one of {TOGETHER} us": microseconds(lambda: site.login(TOGETHER), LOGINS // 10) / TOGETHER,
    }
    ledger.close()
    return row


def main(options: argparse.Namespace) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        rows = [measured(Path(directory), grants) for grants in (options.few, options.many)]
    ratios: Row = {
        key: float(many) / float(few) for (key, few), many in zip(rows[0].items(), rows[1].values(), strict=True)
    }
    show("steps", [*rows, {**ratios, "grants": "x"}], options)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--few", type=int, default=10_000)
    parser.add_argument("--many", type=int, default=1_000_000)
    main(parser.parse_args())
