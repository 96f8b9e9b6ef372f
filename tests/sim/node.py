"""A node of the simulation: the watcher's real parts and the two halves of its link, turned by the schedule."""

from __future__ import annotations

import random
import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from popauthd.cluster.events import Hello
from popauthd.cluster.inbound import Inbound
from popauthd.cluster.keys import Keys
from popauthd.cluster.offset import Offset
from popauthd.cluster.outbound import Outbound
from popauthd.cluster.pseudonym import Pseudonyms
from popauthd.cluster.stream import EngineError
from popauthd.cluster.traffic import INBOUND, OUTBOUND, Incoming, Sender
from popauthd.model import Grant, Login, Revocation
from popauthd.policy.limits import Limits
from popauthd.store.books import Books, Rules
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from popauthd.watch.cluster import Member
from popauthd.watch.health import Health
from popauthd.watch.intake import Intake
from tests.sim.network import Change, Network
from tests.sim.schedule import Schedule
from tests.support.watching import housekeeping_of

STREAM = "popauthd:{grants}"
HOLD_SECONDS = 43200
BATCHES = 40  # in one turn
LOST = ("", "books", "all")


@dataclass
class Around:
    """What every node of one world has. mixing: how likely it is that a batch comes shuffled, or twice."""

    schedule: Schedule
    network: Network
    directory: Path
    keys: Keys
    limits: Limits
    dice: random.Random
    mixing: float = 0.0


class Node:
    """A node; `up` while it runs. name: its own; called: in the cluster. ahead: its clock, seconds before the true one.

    told: how many events went out, Hellos aside. spent: processor time, in seconds, by what it was spent on.
    """

    def __init__(self, around: Around, name: str, ahead: float = 0.0, change: Change = dict, called: str = "") -> None:
        self.name, self.ahead, self.up = name, ahead, False
        self._called = called or name
        self.told = 0
        self.spent: defaultdict[str, float] = defaultdict(float)
        self._around, self.change = around, change
        self._directory = around.directory / name
        self._directory.mkdir()
        self.run = ""
        self._link_at = 0.0
        self._read: Incoming | None = None
        self.start()

    def now(self) -> float:
        """Its own clock."""
        return self._around.schedule.now + self.ahead

    @property
    def at(self) -> int:
        """The same in whole seconds."""
        return int(self.now())

    def start(self) -> None:
        """As the watcher starts, with whatever books there are."""
        around = self._around

        self.run = run = f"{around.dice.getrandbits(64):016x}"
        rules = Rules(hold_seconds=HOLD_SECONDS, pseudonyms=Pseudonyms(around.keys).of, replicate=True)
        books = Books(str(self._directory / "books.mdb"), rules)
        publisher = Publisher(MapWriter(str(self._directory / "relay.mdb")))
        self.ledger, self._housekeeping = housekeeping_of(books, publisher, around.limits, lambda: round(self.ahead))
        self._intake = Intake(self.ledger, self._housekeeping, many_ways=False)
        self.health = Health()
        self.member = Member(self._called, run, self.ledger, self._intake, self.health)
        self._housekeeping.prepare(self.at)
        with self.ledger.beginning() as writing:
            self._housekeeping.start(writing, self.at)
            self.member.start(writing, self.at)
        self._me = Sender(self._called, run, STREAM, around.keys)
        self.up = True
        self.link_anew()

    def link_anew(self) -> None:
        """The link's process begins, at first or again: what it held in its hands is gone."""
        stream, between = self._around.network.stream(self.name, self.change), Offset()
        self._inbound = Inbound(stream, self._me, between, self.now, self.member.place)
        self._outbound = Outbound(stream, self._me, between, self.now)
        self._read = None
        self.member.dropped()
        self._link_at = 0.0

    def stop(self, when: str = "", lost: str = "") -> None:
        """It is killed: between turns, "sending" or "reading". lost: of LOST, what is gone from its disk."""
        if when == "sending" and (events := self.member.outgoing(self.now())):
            self._try(OUTBOUND, lambda: self._outbound.send(events))
        if when == "reading":
            self._try(INBOUND, lambda: self._inbound.turn(0) and None)
        self.ledger.close()
        self.up = False
        for path in self._directory.glob("*" if lost == "all" else "books.mdb*" if lost == "books" else "relay.mdb*"):
            if lost or self._around.dice.random() < 0.2:
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def turn(self) -> None:
        """What watcher and link do again and again."""
        if self.now() >= self._link_at or self._link_at > self.now() + 60:
            self._send()
            self._receive()
        with self._spent("by the clock"):
            self.member.tend(self.at)
            self._housekeeping.tend(self.at, caught_up=True)

    @contextmanager
    def _spent(self, on: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.spent[on] += time.process_time() - began

    def _send(self) -> None:
        for _ in range(BATCHES):
            with self._spent("what to tell"):
                events = self.member.outgoing(self.now())
            if not events:
                if self.member.more(self.now()):
                    continue
                return
            with self._spent("signing"):
                done = self._try(OUTBOUND, lambda events=events: self._outbound.send(events))
            if not done:
                self.member.dropped()
                return
            self.told += sum(not isinstance(event, Hello) for event in events)
            self.member.sent(self.now())

    def _receive(self) -> None:
        for _ in range(BATCHES):
            with self._spent("verifying"):
                done = self._try(INBOUND, self._take)
            if not done or self._read is None:
                return
            incoming = self._mixed(self._read)
            with self._spent("entering"):
                self.member.received(incoming, self.at)
            if self._around.dice.random() < self._around.mixing:
                self.member.received(incoming, self.at)  # as after a StoreError
            if incoming.caught_up:
                return

    def _take(self) -> None:
        self._read = None
        self._read = self._inbound.turn(0)

    def _mixed(self, incoming: Incoming) -> Incoming:
        """The same batch in another order, with some of it twice."""
        dice = self._around.dice
        if dice.random() >= self._around.mixing:
            return incoming
        heard = [*incoming.heard, *dice.choices(incoming.heard, k=min(5, len(incoming.heard)))]
        dice.shuffle(heard)
        return replace(incoming, heard=tuple(heard))

    def _try(self, half: str, act: object) -> bool:
        assert callable(act)
        try:
            act()
        except EngineError as error:
            self.member.failed(half, error.word, error.text, self.at)
            self._link_at = self.now() + self._around.dice.uniform(0.2, 2.0)
            return False
        self.member.failed(half, "", "", self.at)
        return True

    def logins(self, clients: Sequence[tuple[str, str]]) -> None:
        """Many logins of addresses and users in this node's log, at once."""
        with self._spent("own logins"):
            logins = [Login(self.at, address, user, "imap", "PLAIN", True) for address, user in clients]
            self._intake.take(logins, "log", self.at)

    def login(self, address: str, user: str, session: str = "") -> None:
        """A login in this node's log; session: it stays open."""
        self._intake.take([Login(self.at, address, user, "imap", "PLAIN", True)], "log", self.at)
        if session:
            with self.ledger.change() as writing:
                writing.sessions.note_end(self.at)
                row = next((row for row in writing.rows.of(address) if row.user == user), None)
                if row is not None and row.login_at == self.at:
                    until = self.at + self._around.limits.lifetime_seconds
                    writing.sessions.open(session, Grant(address, user, self.at, until), self.at)

    def end(self, session: str) -> None:
        """The session ends."""
        with self.ledger.change() as writing:
            writing.sessions.end(session, self.at, self.at)

    def revoke(self, address: str, user: str) -> None:
        """`popauthctl revoke` here."""
        self._intake.take([Revocation(self.at, address, user, made_here=True)], "control", self.at)

    def grant(self, address: str, seconds: int) -> None:
        """`popauthctl grant` here."""
        with self.ledger.change() as writing:
            writing.logins.grant_by_hand(address, self.at, self.at + seconds)

    @property
    def rows(self) -> tuple[int, int]:
        """How many logins it remembers, and how many events wait to be told."""
        with self.ledger.reading() as reading:
            return reading.transaction.count("logins"), reading.outbox.count()

    def bytes_of(self, name: str) -> int:
        """The size of a file of its own."""
        return (self._directory / name).stat().st_size

    def published(self) -> dict[str, int]:
        """The addresses that may relay, and until when, by its own clock."""
        with self.ledger.reading() as reading:
            return {address: until for address, until in reading.published.all() if until > self.at}
