"""A world from a seed: nodes, an engine, a storm of logins and faults, then calm; and whether all is right.

All along: no node lets relay whom no node saw log in, nor whom it has itself revoked, nor whose time is over.
In the calm: before long every node lets relay the same addresses, until the same time, and those that history says.
At the end: what stood has run out, everywhere.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from popauthd.cluster.keys import Key, Keys
from tests.sim import newer
from tests.sim.engine import SimEngine
from tests.sim.faults import FAULTS
from tests.sim.history import Happened, History, Revoked
from tests.sim.network import Change, Network
from tests.sim.node import STREAM, Around, Node
from tests.sim.schedule import Schedule
from tests.support.policy import NOW, default_limits

TURN_SECONDS = (0.2, 0.6)
HEALED_SECONDS = 45.0  # everybody is asked for all once in 30 s
HEALED_BY_ITSELF_SECONDS = 660.0  # and tells all by himself in 600 s: a loss that nobody can see takes so long
SKEWS = (0.0, 0.0, 0.0, 3.0, -3.0, 20.0, -45.0, 290.0, -290.0)
GRANT_SECONDS = 200
SLACK = 3.0  # between what happens and a turn that knows of it, and for whole seconds
SKEW_SLACK = 8.0  # clocks that lie apart by less than 5 s are left as they are, and measured to 2 s


@dataclass(frozen=True, slots=True)
class Storm:
    """What is played. rate: logins a second of all nodes. revocations: their share of all that happens.

    faults: seconds from one to the next. only: their names; () for all. loss, mixing: see Network and Around. skew:
    clocks differ. twins: two nodes have one name. pace: how slow the nodes are. away: how long a node that is killed,
    or cut off, is at most.
    """

    seed: int
    nodes: int = 5
    seconds: int = 300
    rate: float = 2.0
    revocations: float = 0.03
    faults: float = 10.0
    lifetime: int = 300
    loss: float = 0.02
    mixing: float = 0.1
    skew: bool = False
    twins: bool = False
    addresses: int = 200
    users: int = 60
    pace: float = 1.0
    away: float = 200.0
    only: tuple[str, ...] = ()


class WrongError(Exception):
    """Something is not as it must be."""


class World:
    """The nodes and everything around them, at the true time `now`. slow: how slow the nodes are."""

    def __init__(self, storm: Storm, directory: Path) -> None:
        self.storm = storm
        dice = random.Random(storm.seed)
        schedule = Schedule(float(NOW))
        self.engine = SimEngine(lambda: schedule.now, dice.choice(SKEWS) if storm.skew else 0.0)
        network = Network(schedule, self.engine, random.Random(dice.getrandbits(64)))
        network.loss = storm.loss
        keys = Keys((Key("one", dice.randbytes(32)),))
        limits = replace(default_limits(lifetime_seconds=storm.lifetime), peer_names=True)
        self.around = Around(schedule, network, directory, keys, limits, dice, storm.mixing)
        self.history = History(storm.lifetime, SKEW_SLACK if storm.skew else SLACK)
        self.damaged = False
        self.nodes: list[Node] = []
        self.log: list[str] = []
        self._sessions = 0
        self._calm = False
        self.slow = storm.pace
        for number in range(storm.nodes):
            ahead = dice.choice(SKEWS) if storm.skew else 0.0
            called = "node0" if storm.twins and number == 1 else ""
            node = Node(self.around, f"node{number}", ahead, self._version(number), called)
            self.nodes.append(node)
            self.turn(node)

    def _version(self, number: int) -> Change:
        if number % 3:
            return dict
        return lambda fields: newer.with_a_field_more(fields, self.around.keys, STREAM)

    @property
    def now(self) -> float:
        """The true time."""
        return self.around.schedule.now

    @property
    def away(self) -> float:
        """How long a node is away at most, in seconds."""
        return self.storm.away

    @property
    def network(self) -> Network:
        """The way to the engine."""
        return self.around.network

    def some(self) -> Node | None:
        """A node that runs."""
        running = [node for node in self.nodes if node.up]
        return self.around.dice.choice(running) if running else None

    def down(self, node: Node, seconds: float, lost: str) -> None:
        """Kill a node; it starts again after so long."""
        node.stop(self.around.dice.choice(("", "sending", "reading")), lost)
        self._tell(f"{node.name} killed, for {seconds:g} s, {lost or 'nothing'} lost")
        if lost:
            self.history.lost(node.name, self.now, all_lost=lost == "all")
        self.around.schedule.after(seconds, lambda: self._start(node))

    def _start(self, node: Node) -> None:
        if not node.up:
            node.start()
            self.turn(node)

    def turn(self, node: Node) -> None:
        """A turn of a node, and the next one after it."""
        if not node.up:
            return
        node.turn()
        self.history.alive(node.name, self.now)
        runs = node.run
        again = self.around.dice.uniform(*TURN_SECONDS) * self.slow
        self.around.schedule.after(again, lambda: self.turn(node) if node.run == runs else None)

    def play(self) -> float:
        """The storm, then the calm. Raises WrongError; else returns after how many seconds all nodes were equal."""
        storm, schedule, dice = self.storm, self.around.schedule, self.around.dice
        began = self.now
        self._often(1 / storm.rate, self._happen)
        if storm.faults:
            faults = [(weight, fault) for weight, fault in FAULTS if not storm.only or fault.__name__ in storm.only]
            weights = [weight for weight, _fault in faults]

            def fault() -> None:
                chosen = dice.choices(faults, weights)[0][1]
                self._tell(chosen.__name__)
                chosen(self)

            self._often(storm.faults, fault)
        self._often(storm.seconds / 100, self.check)
        schedule.run(began + storm.seconds)
        return self._heal()

    def _often(self, mean_seconds: float, act: Callable[[], None]) -> None:
        """Do something again and again in the storm."""

        def again() -> None:
            if not self._calm:
                act()
                self._often(mean_seconds, act)

        self.around.schedule.after(self.around.dice.expovariate(1 / mean_seconds), again)

    def close(self) -> None:
        """Stop every node."""
        for node in self.nodes:
            if node.up:
                node.stop()

    def _happen(self) -> None:
        """A login, mostly; or a session's end, a revocation, a grant by hand."""
        dice, node = self.around.dice, self.some()
        if node is None:
            return
        what = dice.random()
        if what < self.storm.revocations:
            self._revoke(node)
        elif what < self.storm.revocations + 0.004:
            address = self._address()
            node.grant(address, GRANT_SECONDS)
            self.history.login(Happened(node.name, address, "", self.now, self.now + GRANT_SECONDS))
        elif what < self.storm.revocations + 0.09 and self.history.open:
            one = self.history.open[dice.choice(list(self.history.open))]
            there = next(node for node in self.nodes if node.name == one.node)
            if there.up:
                there.end(one.session)
                self.history.end(one, self.now)
        else:
            self._login(node)

    def _address(self) -> str:
        number = self.around.dice.randrange(self.storm.addresses)
        return f"198.51.{100 + number // 250}.{1 + number % 250}"

    def _login(self, node: Node) -> None:
        dice, address, session = self.around.dice, self._address(), ""
        user = f"user{dice.randrange(self.storm.users)}@example.org"
        if dice.random() < 0.2:
            self._sessions += 1
            session = f"session{self._sessions}"
        node.login(address, user, session)
        one = Happened(node.name, address, user, self.now, session=session, open_until=self.now, told_until=self.now)
        self.history.login(one)

    def _revoke(self, node: Node) -> None:
        dice = self.around.dice
        kind = dice.random()
        address = self._address() if kind < 0.6 else ""
        user = f"user{dice.randrange(self.storm.users)}@example.org" if 0.6 <= kind < 0.97 else ""
        node.revoke(address, user)
        self.history.revoked.append(Revoked(node.name, self.now, address, user))
        self._tell(f"{node.name} revokes {address or user or 'everybody'}")

    def later(self, seconds: float) -> None:
        """Let time pass."""
        self.around.schedule.run(self.now + seconds)

    def check(self) -> None:
        """Nobody relays on any node who must not, by what this node itself knows. Raises WrongError."""
        for node in self.nodes:
            wrong = self._wrongly(node) if node.up else []
            if wrong:
                raise WrongError(self._story(f"{node.name} lets relay {wrong[0]}", wrong[0]))

    def _wrongly(self, node: Node) -> list[str]:
        return [one for one in node.published() if not self.history.may(one, self.now, by=node.name)]

    def _heal(self) -> float:
        """All is well again; how long until all nodes are equal and right."""
        self._calm = True
        self.engine.trouble = ""
        self.network.cut.clear()
        self.network.loss = 0.0
        for node in self.nodes:
            self._start(node)
        self._tell("calm")
        healed = self._settle()
        schedule = self.around.schedule
        for session, one in list(self.history.open.items()):
            next(node for node in self.nodes if node.name == one.node).end(session)
            self.history.end(one, self.now)
        self._settle()
        self.slow = 5.0 * self.storm.pace
        schedule.run(self.now + 20)
        if wrong := self._differences():
            raise WrongError(wrong)
        schedule.run(self.now + max(self.storm.lifetime, GRANT_SECONDS) + 4 * self.history.blur)
        for node in self.nodes:
            if left := node.published():
                raise WrongError(self._story(f"{node.name} still lets relay {next(iter(left))}", next(iter(left))))
        return healed

    def _settle(self) -> float:
        """How long it takes until all nodes are equal and right. Raises WrongError if it takes too long."""
        began = self.now
        while wrong := self._differences():
            if self.now - began > self.most_seconds:
                raise WrongError(wrong)
            self.around.schedule.run(self.now + 0.5)
        return self.now - began

    @property
    def most_seconds(self) -> float:
        """Within how long all must be equal."""
        return HEALED_BY_ITSELF_SECONDS if self.damaged else HEALED_SECONDS

    def _differences(self) -> str:
        """What is not right on some node now; "" for nothing."""
        must = self.history.must(self.now)
        maps = [(node, node.published()) for node in self.nodes]
        first = {address: until - self.nodes[0].ahead for address, until in maps[0][1].items()}
        for node, published in maps:
            if lacking := must - published.keys():
                address = min(lacking)
                return self._story(f"{node.name} does not let relay {address}", address)
            for address in published:
                if not self.history.may(address, self.now):
                    return self._story(f"{node.name} lets relay {address}", address)
            mine = {address: until - node.ahead for address, until in published.items()}
            for address in mine.keys() | first.keys():
                apart = abs(mine.get(address, self.now) - first.get(address, self.now))
                if apart > self._play_of(address) and not self._unsure(address):
                    return self._story(f"{node.name} and {self.nodes[0].name} differ by {apart:.0f} s", address)
        return ""

    def _play_of(self, address: str) -> float:
        """By how much nodes may differ: while a session is open, by one renewal that is on its way."""
        held = any(one.session for one in self.history.logins.get(address, ()))
        return (self.storm.lifetime if held else 0) + (2 * self.history.blur if self.storm.skew else 0)

    def _unsure(self, address: str) -> bool:
        """Whether nodes may differ: one has lost what it knew, or clocks do not agree on what came first."""
        some = self.history.standing(address, self.now)
        return any(not one.sure or self.history.lengthened(one) for one in some) or (
            self.storm.skew and any(map(self.history.close, some))
        )

    def _tell(self, what: str) -> None:
        self.log.append(f"{self.now - NOW:8.1f}  {what}")

    def _story(self, wrong: str, address: str) -> str:
        """What is wrong, with everything that is about an address."""
        happened = [f"    {one}" for one in self.history.logins.get(address, ())]
        concerned = [one for some in (self.history.logins.get(address, ()),) for one in some]
        happened += [f"    {one}" for one in self.history.revoked if any(one.concerns(each) for each in concerned)]
        rows = []
        for node in self.nodes:
            if node.up:
                with node.ledger.reading() as reading:
                    rows += [f"    {node.name}: {row}" for row in reading.logins.of(address)]
        return "\n".join([f"at {self.now:.1f}: {wrong}", *happened, *rows])
