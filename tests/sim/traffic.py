"""What many logins a second cost a cluster: entries and bytes, processor time and room of a node, load of the stream.

Some nodes are whole. The others have no books, so that a hundred of them fit into one process: they keep the latest
login of each client until the next sending, as an outbox does, and sign and append it by the real half of a link.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from popauthd.cluster.events import PeerLogin
from popauthd.cluster.keys import Key, Keys
from popauthd.cluster.offset import Offset
from popauthd.cluster.outbound import Outbound
from popauthd.cluster.pseudonym import Pseudonyms
from popauthd.cluster.traffic import Sender
from tests.sim.engine import SimEngine
from tests.sim.network import Network
from tests.sim.node import STREAM, Around, Node
from tests.sim.schedule import Schedule
from tests.support.policy import NOW, default_limits

TICK_SECONDS = 0.25
AT_ONCE = 500
CUT_TICK_SECONDS = 10

Clients = Sequence[tuple[str, str]]
Row = dict[str, str | int | float]


@dataclass(frozen=True, slots=True)
class Load:
    """What is played. rate: logins a second on all nodes. clients: pairs of an address and a user.

    whole: how many nodes have books. cut: for how many seconds one of them is then cut off.
    """

    nodes: int
    rate: float
    seconds: int
    seed: int
    clients: int = 1_000_000
    whole: int = 1
    cut: int = 600


class Teller:
    """A node without books, which only tells."""

    def __init__(self, around: Around, name: str) -> None:
        self.told, self.spent = 0, 0.0
        self._names = Pseudonyms(around.keys)
        self._schedule = around.schedule
        me = Sender(name, f"{around.dice.getrandbits(64):016x}", STREAM, around.keys)
        self._outbound = Outbound(around.network.stream(name), me, Offset(), self._now)

    def _now(self) -> float:
        return self._schedule.now

    def logins(self, clients: Clients) -> None:
        """Tell of logins."""
        at, began = int(self._now()), time.process_time()
        events = [
            PeerLogin(address, self._names.of(user)[0], at, at, "imap", "PLAIN", True)
            for address, user in dict.fromkeys(clients)
        ]
        for begin in range(0, len(events), AT_ONCE):
            self._outbound.send(events[begin : begin + AT_ONCE])
        self.told += len(events)
        self.spent += time.process_time() - began


class Traffic:
    """Plays a load."""

    def __init__(self, load: Load, directory: Path) -> None:
        self.load = load
        self._dice = dice = random.Random(load.seed)
        self._schedule = Schedule(float(NOW))
        self.engine = SimEngine(self._now)
        self._network = Network(self._schedule, self.engine, dice)
        keys = Keys((Key("one", dice.randbytes(32)),))
        limits = replace(default_limits(), peer_names=True)
        around = Around(self._schedule, self._network, directory, keys, limits, dice)
        self.whole = [Node(around, f"node{number}") for number in range(load.whole)]
        self.tellers = [Teller(around, f"node{number}") for number in range(load.whole, load.nodes)]

    def _now(self) -> float:
        return self._schedule.now

    def play(self) -> list[Row]:
        """The figures, a row each."""
        load = self.load
        share = load.rate / load.nodes * TICK_SECONDS
        for _ in range(round(load.seconds / TICK_SECONDS)):
            for teller in self.tellers:
                teller.logins(self._clients(share))
            for node in self.whole:
                node.logins(self._clients(share))
                node.turn()
            self._schedule.run(self._now() + TICK_SECONDS)
        return [*self._of_a_node(), *self._of_the_stream(), *self._cut_off()]

    def _clients(self, share: float) -> Clients:
        number = int(share) + (self._dice.random() < share % 1)
        return [_client(self._dice.randrange(self.load.clients)) for _ in range(number)]

    def _of_a_node(self) -> list[Row]:
        load, node = self.load, self.whole[0]
        counted = self.engine.counted
        seconds, each = load.seconds, counted.bytes_in / max(1, counted.entries_in)
        heard = counted.entries_out / load.whole
        own = load.rate / load.nodes * seconds
        rows: list[Row] = [
            _row("a node: logins in its own log /s", own / seconds),
            _row("a node: entries sent /s", node.told / seconds),
            _row("a node: KB sent /s", node.told * each / seconds / 1000),
            _row("a node: entries read /s", heard / seconds),
            _row("a node: KB read /s", counted.bytes_out / load.whole / seconds / 1000),
        ]
        per = {"own logins": own, "what to tell": own, "signing": own, "verifying": heard, "entering": heard}
        rows += [_row(f"a node: {on}, CPU us each", node.spent[on] * 1e6 / number) for on, number in per.items()]
        link, watcher = node.spent["signing"] + node.spent["verifying"], sum(node.spent.values())
        rows += [
            _row("a node: link, CPU s /s", link / seconds),
            _row("a node: watcher, CPU s /s", (watcher - link) / seconds),
        ]
        logins, _waiting = node.rows
        files = {name: node.bytes_of(name) for name in ("books.mdb", "relay.mdb")}
        rows += [_row("a node: logins remembered", logins)]
        return rows + [_row(f"a node: {name}, bytes a login", size / max(1, logins)) for name, size in files.items()]

    def _of_the_stream(self) -> list[Row]:
        load, counted = self.load, self.engine.counted
        entries, size = counted.entries_in / load.seconds, counted.bytes_in / load.seconds
        return [
            _row("the stream: entries in /s", entries),
            _row("the stream: bytes of an entry", size / max(1e-9, entries)),
            _row("the stream: MB in /s", size / 1e6),
            _row("the stream: entries out /s, to all nodes", entries * load.nodes),
            _row("the stream: MB out /s, to all nodes", size * load.nodes / 1e6),
            _row("the stream: million entries in an hour", entries * 3600 / 1e6),
            _row("the stream: GB of them, as sent", size * 3600 / 1e9),
        ]

    def _cut_off(self) -> list[Row]:
        """One node cannot tell for a while: its outbox keeps the latest login of each client."""
        load, node = self.load, self.whole[0]
        if not load.cut:
            return []
        self._network.cut.add(node.name)
        before = node.bytes_of("books.mdb")
        share = load.rate / load.nodes * CUT_TICK_SECONDS
        for _ in range(load.cut // CUT_TICK_SECONDS):
            node.logins(self._clients(share))
            self._schedule.run(self._now() + CUT_TICK_SECONDS)
        _logins, waiting = node.rows
        return [
            _row(f"cut off for {load.cut} s: logins", load.rate / load.nodes * load.cut),
            _row(f"cut off for {load.cut} s: events that wait", waiting),
            _row(f"cut off for {load.cut} s: books grown by, MB", (node.bytes_of("books.mdb") - before) / 1e6),
        ]

    def close(self) -> None:
        """Stop the whole nodes."""
        for node in self.whole:
            node.stop()


def _client(number: int) -> tuple[str, str]:
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}", f"user{number}@example.org"


def _row(what: str, figure: float) -> Row:
    return {"what": what, "figure": round(figure, 1) if figure < 100 else round(figure)}
