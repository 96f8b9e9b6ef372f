"""The books stay as large as what must be remembered, however long the watcher runs.

A hundred histories of ten minutes go by, by a clock in the test's hand: customers log in, stay a while and leave, and
the house is kept as the watcher keeps it. In the normal run few log in; the campaign is

    POPAUTHD_LOGINS_PER_SECOND=50 python3 -m pytest -s tests/faults/test_growth.py
"""

from __future__ import annotations

import os
import random
from pathlib import Path

from popauthd.model import Event, Login, SessionEnd
from popauthd.store.books import Books, Rules
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from popauthd.watch.batch import Batch, Terms
from tests.support.policy import default_limits
from tests.support.watching import housekeeping_of

NOW = 1_795_467_600
HISTORY = 600
STEP = 60  # seconds of log a transaction
CUSTOMERS = 20_000
PER_SECOND = float(os.environ.get("POPAUTHD_LOGINS_PER_SECOND", "1"))


def logins(dice: random.Random, now: int, open_sessions: list[tuple[int, str]]) -> list[Event]:
    """What the log says of one step: who came, and who left."""
    events: list[Event] = []
    for number in range(int(PER_SECOND * STEP)):
        who = dice.randrange(CUSTOMERS)
        session = f"{now}/{number}"
        events.append(
            Login(now, f"10.0.{who >> 8}.{who & 255}", f"user{who}@example.org", "imap", "PLAIN", True, session)
        )
        open_sessions.append((now + dice.choice((2, 30, 700)), session))
    left = [session for until, session in open_sessions if until <= now]
    open_sessions[:] = [(until, session) for until, session in open_sessions if until > now]
    events += [SessionEnd(now, session, "", "imap") for session in left]
    events += [SessionEnd(now, f"unknown/{now}/{number}", "", "imap") for number in range(STEP // 10)]
    return events


def test_the_books_do_not_grow_without_end(tmp_path: Path) -> None:
    path = tmp_path / "books.mdb"
    dice, open_sessions = random.Random(7), list[tuple[int, str]]()
    books = Books(str(path), Rules(shared_users=25, hold_seconds=43200))
    publisher = Publisher(MapWriter(str(tmp_path / "relay.mdb")))
    limits = default_limits(lifetime_seconds=300)
    ledger, housekeeping = housekeeping_of(books, publisher, limits, lambda: 1000, HISTORY)
    with ledger.change() as writing:
        housekeeping.start(writing, NOW)
    sizes = []
    for history in range(100):
        for now in range(NOW + history * HISTORY, NOW + (history + 1) * HISTORY, STEP):
            batch = Batch("log")
            batch.learn(logins(dice, now, open_sessions), Terms(housekeeping.limits.now, now, holding=True, twice=None))
            with ledger.change() as writing:
                batch.enter(writing, now, remember=False)
            while housekeeping.tend(now, caught_up=True):
                pass
        sizes.append(path.stat().st_size)
    shown = ", ".join(f"{size >> 10}" for size in (*sizes[:3], *sizes[9::10]))
    print(f"{PER_SECOND:g} logins/s: KiB after the first, second and third history, and after every tenth: {shown}")
    # Keys fall where chance puts them, so pages fill less over time; books that forget nothing grow thirty times.
    assert sizes[-1] <= sizes[2] * 1.25, sizes
    with books.reading() as reading:
        assert len(list(reading.logins.of())) <= PER_SECOND * STEP * (2 * HISTORY + 300 + 700) / STEP + 1000
    books.close()
