"""What goes wrong in a storm, a row each: how often, and what it does to the world."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from tests.sim import newer
from tests.sim.engine import SimEngine
from tests.sim.network import Network
from tests.sim.node import LOST, STREAM, Around, Node

TROUBLES = ("refused", "timeout", "auth", "readonly", "full", "loading", "lost")
NEVER_SEEN = b"203.0.113.250"  # no node ever sees a login from there


class Stormy(Protocol):
    """The world as the faults know it. damaged: the stream has lost something that somebody may need."""

    around: Around
    engine: SimEngine
    nodes: list[Node]
    damaged: bool

    @property
    def away(self) -> float:
        """How long a node is away at most, in seconds."""

    @property
    def network(self) -> Network:
        """The way to the engine."""

    def some(self) -> Node | None:
        """A node that runs."""

    def down(self, node: Node, seconds: float, lost: str) -> None:
        """Kill a node; it starts again after so long."""


def _span(world: Stormy) -> float:
    return world.around.dice.choice((0.1, 2.0, 10.0, 30.0, 90.0, world.away))


def partition(world: Stormy) -> None:
    """Some nodes do not reach the engine for a while."""
    dice = world.around.dice
    names = {node.name for node in dice.sample(world.nodes, dice.randint(1, max(1, len(world.nodes) // 2)))}
    world.network.cut |= names
    world.around.schedule.after(_span(world), lambda: world.network.cut.difference_update(names))


def trouble(world: Stormy) -> None:
    """The engine takes nothing for a while: down, hung, full, a replica."""

    def over() -> None:
        world.engine.trouble = ""

    world.engine.trouble = world.around.dice.choice(TROUBLES)
    world.around.schedule.after(_span(world), over)


def flush(world: Stormy) -> None:
    """FLUSHALL."""
    world.engine.flush()
    world.damaged = True


def trim(world: Stormy) -> None:
    """Entries go before some have read them."""
    world.engine.trim(world.around.dice.choice((0, 1, 20, 200)))
    world.damaged = True


def failover(world: Stormy) -> None:
    """A replica takes over that lacks the end, and has a clock of its own."""
    dice = world.around.dice
    world.engine.lose_end(dice.choice((1, 1, 5, 50, 1000)), dice.choice((0.0, 0.0, -2.0, 1.5)))
    world.damaged = True


def restart(world: Stormy) -> None:
    """A node is killed and starts again, with its books or without."""
    dice, node = world.around.dice, world.some()
    if node is not None:
        world.down(node, _span(world), dice.choices(LOST, (8, 1, 1))[0])


def link(world: Stormy) -> None:
    """A link's process dies."""
    if (node := world.some()) is not None:
        node.link_anew()


def replay(world: Stormy) -> None:
    """Somebody without the key sends again what he has read, in any order."""
    found = [fields for _id, fields in world.engine.some(3600)]
    chosen = world.around.dice.choices(found, k=min(20, len(found)))
    world.engine.append(chosen, 0)


def forge(world: Stormy) -> None:
    """Somebody without the key changes what he has read."""
    if found := world.engine.some(600):
        fields = world.around.dice.choice(found)[1]
        world.engine.append([newer.forged(fields, NEVER_SEEN)], 0)


def unknown(world: Stormy) -> None:
    """A newer node tells what nobody here knows."""
    if found := world.engine.some(60):
        fields = world.around.dice.choice(found)[1]
        world.engine.append([newer.of_a_new_kind(fields, world.around.keys, STREAM)], 0)


FAULTS: Sequence[tuple[int, Callable[[Stormy], None]]] = (
    (8, partition),
    (6, trouble),
    (3, flush),
    (3, trim),
    (6, failover),
    (8, restart),
    (4, link),
    (4, replay),
    (4, forge),
    (3, unknown),
)
"""How often each comes, in shares of all."""
