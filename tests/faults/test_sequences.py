"""The corpus's sequences: what happens to a log in order, and what the map must hold at the end.

The real watcher, books, map and log source, with the clock in the test's hand. As in the other corpus
test the lifetime is 1800 s, which is what the corpus's expiries were made with.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.sources.file.source import LogFile
from popauthd.store.books import DATABASES, SCHEMA, Books
from popauthd.store.publisher import Publisher
from popauthd.store.quarantine import heal
from popauthd.store.relay_map import MapWriter
from popauthd.watch.watcher import Followed, Watcher
from tests.support.helpers import ROOT
from tests.support.policy import default_limits
from tests.support.watching import housekeeping_of

LIMITS = default_limits(lifetime_seconds=1800)
CASES: list[dict[str, Any]] = [
    case
    for line in (ROOT / "tests" / "corpus" / "adversarial.jsonl").read_text(encoding="utf-8").splitlines()
    if (case := json.loads(line))["format"] == "sequence"
]


class World:
    """A log, a watcher on it, and a clock."""

    def __init__(self, directory: Path, now: float) -> None:
        self.log = directory / "dovecot.log"
        self.log.touch()
        self._directory = directory
        self.now = now
        self.offset = 1000
        self.watcher = self._start()

    def _start(self) -> Watcher:
        books, relay_map = str(self._directory / "books.mdb"), str(self._directory / "relay.mdb")
        heal(books, DATABASES, SCHEMA.decode())
        recogniser = Recogniser(Options("dovecot-file"))
        source = LogFile(str(self.log), recogniser.stamp, clock=lambda: self.now)
        opened, publisher = Books(books), Publisher(MapWriter(relay_map))
        ledger, housekeeping = housekeeping_of(opened, publisher, LIMITS, lambda: self.offset)
        watcher = Watcher(ledger, housekeeping, [Followed(source, recogniser)], clock=lambda: self.now)
        watcher.start()
        return watcher

    def read(self) -> None:
        """Let the watcher look until nothing is left, as its loop does."""
        for _ in range(20):
            if not self.watcher.turn():
                self.watcher.turn()
                return

    def restart(self) -> None:
        self.watcher.close()
        self.watcher = self._start()

    def append(self, text: str) -> None:
        with self.log.open("ab") as file:
            file.write(text.encode())

    def published(self) -> dict[str, int]:
        with self.watcher.ledger.reading() as reading:
            return dict(reading.published.all())


def rename_create(world: World) -> None:
    for number in range(8, 0, -1):
        older = world.log.with_name(f"dovecot.log.{number}")
        if older.exists():
            older.rename(world.log.with_name(f"dovecot.log.{number + 1}"))
    world.log.rename(world.log.with_name("dovecot.log.1"))
    world.log.touch()


def copytruncate(world: World) -> None:
    world.log.with_name("dovecot.log.1").write_bytes(world.log.read_bytes())
    os.truncate(world.log, 0)


def replace_with_symlink(world: World, target: str) -> None:
    world.log.unlink()
    world.log.symlink_to(target)


def write_garbage_place(world: World) -> None:
    with world.watcher.ledger.change() as writing:
        writing.places.set(str(world.log), b"garbage, not a place")


def clock_forward(world: World, seconds: int) -> None:
    world.now += seconds
    world.offset += seconds


def revoke(world: World, change: Callable[[Any], object]) -> None:
    with world.watcher.ledger.change() as writing:
        change(writing)


STEPS: dict[str, Callable[..., None]] = {
    "append": lambda world, line: world.append(line + "\n"),
    "append_no_lf": lambda world, text: world.append(text),
    "append_rest": lambda world, text: world.append(text + "\n"),
    "read": World.read,
    "restart": World.restart,
    "rename_create": rename_create,
    "copytruncate": copytruncate,
    "replace_with_symlink": replace_with_symlink,
    "write_lowercase_offset_garbage": write_garbage_place,
    "clock_forward": clock_forward,
    "clock_back": lambda world, seconds: clock_forward(world, -seconds),
    "revoke": lambda world, address: revoke(world, lambda w: w.revocations.revoke_address(address, int(world.now))),
    "revoke_user": lambda world, user: revoke(world, lambda w: w.revocations.revoke_user(user, int(world.now))),
}


@pytest.mark.parametrize("case", CASES, ids=[case["id"] for case in CASES])
def test_a_sequence_ends_as_the_corpus_says(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", case.get("tz", "UTC"))
    time.tzset()
    world = World(tmp_path, datetime.fromisoformat(case["now"]).timestamp())
    for step, *arguments in case["steps"]:
        STEPS[step](world, *arguments)
    expect = case["expect"]
    wanted = expect["grant"] if isinstance(expect["grant"], list) else [expect["grant"]] * (expect["grant"] is not None)
    world.watcher.turn()
    assert world.published() == dict.fromkeys(wanted, expect["expiry"])
    world.watcher.close()
    monkeypatch.undo()
    time.tzset()


def login(at: float, address: str) -> str:
    stamp = time.strftime("%b %d %H:%M:%S", time.localtime(at))
    return (
        f"{stamp} imap-login: Info: Login: user=<alice>, method=PLAIN, rip={address}, lip=198.51.100.5, mpid=4242, "
        "TLS, session=<aKTnLvhgIrN/AAAB>\n"
    )


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path, 1_795_467_600.0)


def test_a_clock_set_back_does_not_lengthen_a_grant(world: World) -> None:
    world.append(login(world.now, "192.0.2.10"))
    world.read()
    assert world.published() == {"192.0.2.10": 1_795_467_600 + 1800}
    clock_forward(world, -600)
    world.read()
    assert world.published() == {"192.0.2.10": 1_795_467_600 + 1200}
    world.append(login(world.now, "192.0.2.10"))
    world.read()
    assert world.published() == {"192.0.2.10": 1_795_467_000 + 1800}, "a new login under the new clock counts in full"


def test_a_clock_set_back_while_stopped_does_not_lengthen_a_grant(world: World) -> None:
    world.append(login(world.now, "192.0.2.10"))
    world.read()
    clock_forward(world, -600)
    world.restart()
    assert world.published() == {"192.0.2.10": 1_795_467_600 + 1200}


def test_a_step_ahead_and_back_revives_nothing(world: World) -> None:
    world.append(login(world.now, "192.0.2.10"))
    world.read()
    clock_forward(world, 7200)
    world.read()
    assert world.published() == {}
    clock_forward(world, -7200)
    world.read()
    world.restart()
    world.read()
    assert world.published() == {}


def test_books_that_are_lost_come_back_from_the_log_with_the_same_expiries(world: World) -> None:
    for back in (0, 100, 1799, 1800, 4000):
        world.append(login(world.now - 4000 + back, "192.0.2.9"))
    for back in (1799, 60, 0):
        world.append(login(world.now - back, f"192.0.2.{back % 250 + 1}"))
    world.read()
    before = world.published()
    assert len(before) == 4
    world.watcher.close()
    (world.log.parent / "books.mdb").unlink()
    world.watcher = world._start()
    world.read()
    assert world.published() == before
