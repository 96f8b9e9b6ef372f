"""Short histories with a name, each of which a cluster could get wrong; played in the world of the storms."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sim.history import Happened, Revoked
from tests.sim.play import directory
from tests.sim.world import Storm, World

X = "198.51.100.7"
ANNA = "anna@example.org"
LIFETIME = 300


@pytest.fixture
def world() -> Iterator[World]:
    with directory() as place:
        world = World(Storm(1, nodes=4, lifetime=LIFETIME, loss=0.0, mixing=0.0, faults=0.0), place)
        world.later(2)
        yield world
        world.close()


def login(world: World, number: int, session: str = "") -> Happened:
    one = Happened(f"node{number}", X, ANNA, world.now, session=session, open_until=world.now, told_until=world.now)
    world.nodes[number].login(X, ANNA, session)
    world.history.login(one)
    return one


def revoke(world: World, number: int) -> None:
    world.nodes[number].revoke("", ANNA)
    world.history.revoked.append(Revoked(f"node{number}", world.now, "", ANNA))


def test_a_session_that_was_revoked_elsewhere_lengthens_a_later_login_by_a_lifetime_at_most(world: World) -> None:
    login(world, 0, "s1")
    world.later(5)
    world.network.cut = {"node0"}
    revoke(world, 2)
    world.later(50)
    login(world, 1)
    world.later(250)
    world.network.cut = set()
    world.later(10)
    ends = [node.published()[X] for node in world.nodes]
    assert ends[0] == ends[1] == int(world.now) - 260 + LIFETIME
    assert max(ends) <= world.now + LIFETIME
    world.later(LIFETIME)
    assert [node.published() for node in world.nodes] == [{}] * 4


def test_a_node_that_was_down_for_three_hours_ends_a_session_that_was_revoked_meanwhile(world: World) -> None:
    login(world, 0, "s1")
    world.later(30)
    world.nodes[0].stop()
    world.later(60)
    revoke(world, 1)
    world.slow = 300.0
    world.later(3 * 3600)
    world.slow = 1.0
    world.later(150)
    world.engine.trim(0)
    world.nodes[0].start()
    assert world.nodes[0].published() == {}
    world.turn(world.nodes[0])
    world.later(10)
    assert [node.published() for node in world.nodes] == [{}] * 4
    with world.nodes[0].ledger.reading() as reading:
        assert reading.sessions.renewal_due(world.nodes[0].at) is False
    world.later(LIFETIME)
    assert world.nodes[0].published() == {}


def test_a_session_goes_on_over_all_nodes_while_its_own_runs_and_ends_a_lifetime_after_it_died(world: World) -> None:
    login(world, 0, "s1")
    world.later(5 * LIFETIME)
    assert all(X in node.published() for node in world.nodes)
    world.nodes[0].stop()
    world.later(LIFETIME / 3)
    assert all(X in node.published() for node in world.nodes[1:])
    world.later(LIFETIME)
    assert [node.published() for node in world.nodes[1:]] == [{}] * 3


def test_logins_made_while_the_stream_was_gone_and_the_books_of_others_lost_come_back(world: World) -> None:
    login(world, 0)
    world.later(3)
    world.nodes[3].stop(lost="all")
    world.engine.flush()
    world.nodes[3].start()
    world.turn(world.nodes[3])
    world.later(35)  # all was told at the start: who asks for it again waits up to 30 s
    assert all(X in node.published() for node in world.nodes)
