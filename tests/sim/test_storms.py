"""Many nodes, whatever happens: one map in the end, nobody who must not, and revocations win.

A few storms in the usual run, always the same ones. POPAUTHD_STORMS sets how many of each kind, POPAUTHD_SEED the first
seed, or "random". One that fails is told with its seed and can be played again by it. Big ones, and the other seeds:

    python3 -m tests.sim storm --nodes 100 --seconds 600 --storms 5 --seed 1
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from popauthd.cluster.stream import Fields
from tests.sim.history import Happened, Revoked
from tests.sim.node import Node
from tests.sim.play import directory, play
from tests.sim.world import Storm, World, WrongError
from tests.support.dose import dose, first_seed

STORMS = dose("STORMS", 1)
SEED = first_seed(1)
SMALL = Storm(SEED, nodes=3, seconds=150, lifetime=60, faults=5.0, addresses=20, users=6, away=100.0)
KINDS = (
    ("everything at once", SMALL),
    ("clocks that differ", replace(SMALL, skew=True, seed=SEED + 1)),
    ("few users at few addresses", replace(SMALL, addresses=3, users=3, seed=SEED + 2)),
    ("away for longer than the stream keeps", replace(
        SMALL, seconds=15000, rate=0.05, faults=1500.0, lifetime=900, pace=120.0, away=9000.0, seed=SEED + 3)),
    ("two nodes of one name", replace(SMALL, twins=True, seed=SEED + 5)),
    ("many nodes", replace(SMALL, nodes=12, seconds=60, seed=SEED + 4)),
)  # fmt: skip


@pytest.mark.parametrize("storm", [storm for _name, storm in KINDS], ids=[name for name, _storm in KINDS])
def test_after_a_storm_all_nodes_have_the_map_that_they_must_have(storm: Storm) -> None:
    for number in range(STORMS):
        assert play(replace(storm, seed=storm.seed + 100 * number)).wrong == ""


def test_a_storm_is_the_same_again_by_its_seed() -> None:
    short = replace(SMALL, seconds=60)
    assert play(short) == play(short)


def nothing_told(_fields: Fields) -> dict[bytes, bytes]:
    return {b"v": b"1"}


def test_the_simulation_finds_a_node_that_tells_nothing() -> None:
    with directory() as place:
        world = World(replace(SMALL, seconds=30, lifetime=300, addresses=200, faults=0.0), place)
        silent: Node = world.nodes[1]
        silent.change = nothing_told
        silent.link_anew()
        with pytest.raises(WrongError, match="does not let relay"):
            world.play()
        world.close()


def test_the_simulation_finds_a_login_that_nobody_saw() -> None:
    with directory() as place:
        world = World(replace(SMALL, faults=0.0), place)
        world.check()
        world.nodes[0].login("198.51.100.1", "anna")
        with pytest.raises(WrongError, match=r"node0 lets relay 198\.51\.100\.1"):
            world.check()
        world.close()


def test_the_simulation_finds_a_node_that_forgets_its_own_revocation() -> None:
    with directory() as place:
        world = World(replace(SMALL, faults=0.0), place)
        world.history.login(Happened("node1", "198.51.100.1", "anna", world.now))
        world.nodes[0].login("198.51.100.1", "anna")
        world.history.revoked.append(Revoked("node1", world.now + 10, "", "anna"))
        world.check()
        world.history.revoked.append(Revoked("node0", world.now + 10, "", "anna"))
        with pytest.raises(WrongError, match=r"node0 lets relay 198\.51\.100\.1"):
            world.check()
        world.close()
