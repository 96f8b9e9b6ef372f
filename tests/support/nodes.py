"""Nodes of a cluster without processes: real books, intake and member, and the halves of a link over one engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from popauthd.cluster.inbound import Inbound
from popauthd.cluster.keys import Keys, make_key, parse_keys
from popauthd.cluster.offset import Offset
from popauthd.cluster.outbound import Outbound
from popauthd.cluster.pseudonym import Pseudonyms
from popauthd.cluster.stream import EngineError
from popauthd.cluster.traffic import INBOUND, OUTBOUND, Sender
from popauthd.model import Grant, Login, Revocation
from popauthd.policy.limits import Limits
from popauthd.store.books import Books, Rules
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from popauthd.watch.cluster import Member
from popauthd.watch.health import Health
from popauthd.watch.intake import Intake
from tests.support.policy import default_limits
from tests.support.streams import Engine
from tests.support.watching import housekeeping_of

KEYS = parse_keys(make_key())


@dataclass
class Clock:
    """The true time, in the test's hand."""

    now: float

    def __call__(self) -> float:
        return self.now


class Node:
    """A node. name: of the node; ahead: its clock, seconds before the true one."""

    def __init__(
        self,
        directory: Path,
        engine: Engine,
        clock: Clock,
        name: str,
        *,
        ahead: float = 0.0,
        keys: Keys = KEYS,
        limits: Limits | None = None,
        dry_run: bool = False,
    ) -> None:
        self.name, self.ahead = name, ahead
        self.engine, self._clock, self._keys = engine, clock, keys
        self._directory = directory / name
        self._directory.mkdir()
        self._limits = replace(limits or default_limits(), peer_names=True)
        self._dry_run = dry_run
        self._runs = 0
        self.start()

    def now(self) -> float:
        """Its own clock."""
        return self._clock() + self.ahead

    @property
    def at(self) -> int:
        """The same in whole seconds."""
        return int(self.now())

    def start(self) -> None:
        """As the watcher starts."""
        self._runs += 1
        run = f"{self._runs:08x}" + self.name.encode().hex()[:8].rjust(8, "0")
        rules = Rules(
            hold_seconds=43200, pseudonyms=Pseudonyms(self._keys).of, replicate=not self._dry_run, shared_users=50
        )
        books = Books(str(self._directory / "books.mdb"), rules)
        publisher = Publisher(MapWriter(str(self._directory / "relay.mdb")), dry_run=self._dry_run)
        self.health = Health()
        self.ledger, self.housekeeping = housekeeping_of(books, publisher, self._limits, lambda: 0)
        self.intake = Intake(self.ledger, self.housekeeping, many_ways=False)
        self.member = Member(self.name, run, self.ledger, self.intake, self.health)
        self.housekeeping.prepare(self.at)
        with self.ledger.beginning() as writing:
            self.housekeeping.start(writing, self.at)
            self.member.start(writing, self.at)
        me = Sender(self.name, run, "popauthd:{grants}", self._keys)
        between = Offset()
        self._streams = self.engine.stream(), self.engine.stream()
        self._inbound = Inbound(self._streams[0], me, between, self.now, self.member.place)
        self._outbound = Outbound(self._streams[1], me, between, self.now)

    def reach(self, *, reached: bool) -> None:
        """Whether this node reaches the engine from now on."""
        for stream in self._streams:
            stream.trouble = None if reached else EngineError("timeout", "no answer")

    def stop(self) -> None:
        """As it stops, or is killed."""
        self.ledger.close()

    def turn(self) -> bool:
        """What the watcher and its link do again and again; whether anything was sent or heard."""
        busy = self._send()
        busy = self._read() or busy
        self.member.tend(self.at)
        self.housekeeping.tend(self.at, caught_up=True)
        return busy

    def _send(self) -> bool:
        events = self.member.outgoing(self.now())
        if not events:
            return self.member.more(self.now())
        try:
            self._outbound.send(events)
        except EngineError as error:
            self.member.failed(OUTBOUND, error.word, error.text, self.at)
            self.member.dropped()
            return False
        self.member.failed(OUTBOUND, "", "", self.at)
        self.member.sent(self.now())
        return True

    def _read(self) -> bool:
        try:
            incoming = self._inbound.turn(0)
        except EngineError as error:
            self.member.failed(INBOUND, error.word, error.text, self.at)
            return False
        self.member.failed(INBOUND, "", "", self.at)
        self.member.received(incoming, self.at)
        return bool(incoming.heard)

    def login(self, address: str, user: str = "anna@example.org", at: int | None = None) -> str:
        """A login in this node's log; why it is refused, or ""."""
        login = Login(self.at if at is None else at, address, user, "imap", "PLAIN", True)
        refused = self.intake.take([login], "log", self.at).refused
        return refused[0].reason if refused else ""

    def revoke(self, **whom: str) -> None:
        """`popauthctl revoke` here."""
        self.intake.take([Revocation(self.at, made_here=True, **whom)], "control", self.at)

    def open_session(self, address: str, user: str, session: str) -> None:
        """A login whose session is held."""
        with self.ledger.change() as writing:
            writing.sessions.note_end(self.at)
        self.login(address, user)
        with self.ledger.change() as writing:
            row = next(row for row in writing.rows.of(address) if row.user == user)
            grant = Grant(row.address, row.user, row.login_at, row.expires_at)
            writing.sessions.open(session, grant, self.at)

    @property
    def relays(self) -> set[str]:
        """The addresses that may relay."""
        with self.ledger.reading() as reading:
            return {address for address, until in reading.published.all() if until > self.at}

    @property
    def conditions(self) -> set[str]:
        """The words of those that hold."""
        return {one.word for one in self.health.standing}


def settle(clock: Clock, nodes: Sequence[Node], seconds: float = 3.0) -> None:
    """Let the nodes work until nobody has anything to tell, and at least so long."""
    until = clock.now + seconds
    for _ in range(1000):
        busy = [node.turn() for node in nodes]
        clock.now += 0.25
        if clock.now >= until and not any(busy):
            return
    raise AssertionError("the nodes never come to rest")
