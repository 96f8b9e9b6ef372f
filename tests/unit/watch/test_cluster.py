"""Several nodes over an engine in memory: a login on one opens the relay on all, and everything heals."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from popauthd.cluster.events import PeerLogin
from popauthd.cluster.keys import make_key, parse_keys
from popauthd.cluster.pseudonym import Pseudonyms
from popauthd.cluster.stream import EngineError
from popauthd.errors import StoreError
from popauthd.policy.user_files import UserFiles
from popauthd.store.books.counters import day_of
from popauthd.watch import peer_batch
from tests.support.nodes import KEYS, Clock, Node, settle
from tests.support.policy import default_limits, nets
from tests.support.streams import Engine

NOW = 1_795_467_600
A, B, SIX = "192.0.2.10", "192.0.2.11", "2001:db8::1"
ANNA, BOB = "anna@example.org", "bob"
Make = Callable[..., Node]


@pytest.fixture
def clock() -> Clock:
    return Clock(NOW)


@pytest.fixture
def engine(clock: Clock) -> Engine:
    return Engine(clock)


@pytest.fixture
def make(tmp_path: Path, engine: Engine, clock: Clock) -> Iterator[Make]:
    made: list[Node] = []

    def one(name: str, **more: object) -> Node:
        made.append(Node(tmp_path, engine, clock, name, **more))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for node in made:
        node.stop()


@pytest.fixture
def nodes(make: Make, clock: Clock) -> list[Node]:
    made = [make("a"), make("b"), make("c")]
    settle(clock, made)
    return made


def test_a_login_on_one_node_lets_the_address_relay_on_all_and_not_before(nodes: list[Node], clock: Clock) -> None:
    nodes[0].login(A)
    assert [node.relays for node in nodes] == [{A}, set(), set()]
    settle(clock, nodes)
    assert [node.relays for node in nodes] == [{A}] * 3
    assert not any(node.conditions for node in nodes)


@pytest.mark.parametrize("whom", [{"address": A}, {"user": ANNA}, {}], ids=["address", "user", "everybody"])
def test_a_revocation_on_any_node_ends_it_on_all_and_a_new_login_counts_again(
    nodes: list[Node], clock: Clock, whom: dict[str, str]
) -> None:
    a, b, _c = nodes
    a.login(A)
    settle(clock, nodes)
    b.revoke(**whom)
    settle(clock, nodes)
    assert [node.relays for node in nodes] == [set()] * 3
    assert a.login(A, at=NOW) == "revoked"
    assert a.login(A) == ""
    settle(clock, nodes)
    assert [node.relays for node in nodes] == [{A}] * 3


def test_a_held_session_holds_on_all_nodes_and_the_revocation_of_its_user_ends_it(
    nodes: list[Node], clock: Clock
) -> None:
    a, b, _c = nodes
    a.open_session(A, ANNA, "s1")
    for _ in range(5):
        settle(clock, nodes)
        clock.now += 450
    settle(clock, nodes)
    assert [node.relays for node in nodes] == [{A}] * 3
    b.revoke(user=ANNA)
    settle(clock, nodes)
    assert [node.relays for node in nodes] == [set()] * 3
    clock.now += 500
    settle(clock, nodes)
    assert [node.relays for node in nodes] == [set()] * 3


def test_what_a_dead_node_held_runs_out_within_a_lifetime(nodes: list[Node], clock: Clock) -> None:
    a, *others = nodes
    a.open_session(A, ANNA, "s1")
    settle(clock, nodes)
    clock.now += 450
    settle(clock, nodes)
    clock.now += 900
    settle(clock, others)
    assert [node.relays for node in others] == [set()] * 2


def test_a_grant_by_hand_goes_to_all_with_its_own_end(nodes: list[Node], clock: Clock) -> None:
    a, b, c = nodes
    with a.ledger.change() as writing:
        writing.logins.grant_by_hand(A, a.at, a.at + 5000)
    settle(clock, nodes)
    clock.now += 4000
    assert b.relays == c.relays == {A}
    clock.now += 1000
    assert b.relays == c.relays == set()


def test_a_peers_login_passes_this_nodes_own_policy(make: Make, clock: Clock, tmp_path: Path) -> None:
    denied = tmp_path / "denied"
    denied.write_text("@example.org\n!bob@example.org\neve\n")
    files = UserFiles("", str(denied), lambda entry: _pseudonyms().of_entry(entry))
    files.load()
    a = make("a")
    allowed = default_limits(never=nets("192.0.2.11"), lifetime_by_network=((*nets("192.0.2.12"), 60),))
    b = make("b", limits=files.applied(allowed))
    settle(clock, [a, b])
    for address, user in (
        (A, ANNA), (B, BOB), ("192.0.2.12", BOB), ("192.0.2.13", "bob@example.org"), ("192.0.2.14", "Eve"), (SIX, BOB)
    ):  # fmt: skip
        a.login(address, user)
    settle(clock, [a, b])
    assert b.relays == {"192.0.2.12", "192.0.2.13", SIX}
    clock.now += 60
    assert b.relays == {"192.0.2.13", SIX}
    with b.ledger.reading() as reading:
        assert reading.counters.of(day_of(NOW))["cluster.refused"] >= 3


def _pseudonyms() -> Pseudonyms:
    return Pseudonyms(KEYS)


def test_many_logins_at_once_come_to_the_same_as_one_by_one(
    make: Make, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = make("a"), make("b")
    dice = random.Random(1)
    for _ in range(300):
        a.login(f"192.0.2.{dice.randrange(1, 250)}", dice.choice((ANNA, BOB)), at=NOW - dice.randrange(950))
    monkeypatch.setattr(peer_batch, "MANY", 1)
    settle(clock, [a, b])
    monkeypatch.setattr(peer_batch, "MANY", 10_000)
    c = make("c")
    settle(clock, [a, b, c])
    with a.ledger.reading() as one, b.ledger.reading() as two, c.ledger.reading() as three:
        found = [sorted(reading.published.all()) for reading in (one, two, three)]
    assert found[0] == found[1] == found[2]


def test_a_local_login_by_a_name_that_is_a_pseudonym_is_refused(nodes: list[Node]) -> None:
    assert nodes[0].login(A, _pseudonyms().of(ANNA)[0].upper()) == "peer-name"


def lose_all(engine: Engine) -> None:
    engine.flush()


def lose_the_end(engine: Engine) -> None:
    engine.cut(3)


@pytest.mark.parametrize("lose", [lose_all, lose_the_end])
def test_whatever_the_engine_loses_heals_by_itself(
    nodes: list[Node], clock: Clock, engine: Engine, lose: Callable[[Engine], None]
) -> None:
    a, b, c = nodes
    a.login(A)
    b.login(B, BOB)
    settle(clock, nodes)
    c.reach(reached=False)
    a.login(SIX)
    b.revoke(user=BOB)
    settle(clock, nodes)
    lose(engine)
    settle(clock, [a, b])
    assert any("cluster-gap" in node.conditions or node.member.status(0).gaps for node in (a, b))
    c.reach(reached=True)
    settle(clock, nodes, 40)
    assert [node.relays for node in nodes] == [{A, SIX}] * 3
    assert not any(node.conditions for node in nodes)


def test_a_node_that_was_down_for_hours_ends_a_held_session_that_was_revoked_meanwhile(
    nodes: list[Node], clock: Clock
) -> None:
    a, b, c = nodes
    a.open_session(A, ANNA, "s1")
    settle(clock, nodes)
    a.reach(reached=False)
    b.revoke(user=ANNA)
    for _ in range(24):  # the stream is kept for an hour
        clock.now += 450
        settle(clock, nodes, 1)
        b.login(B, BOB)
    assert a.relays == {A}, "nobody can tell it"
    assert a.conditions == {"cluster-unreachable"}
    a.reach(reached=True)
    settle(clock, nodes, 40)
    assert [node.relays for node in nodes] == [{B}] * 3
    clock.now += 450
    settle(clock, nodes)
    assert A not in a.relays
    assert c.member.status(0).gaps == 0


def test_a_revocation_of_a_clock_that_was_set_back_ends_no_later_login_elsewhere(
    nodes: list[Node], clock: Clock, engine: Engine
) -> None:
    a, b, _c = nodes
    a.reach(reached=False)
    a.ahead = 300.0
    a.revoke(user=ANNA)
    a.ahead = 0.0
    with a.ledger.change() as writing:
        writing.clock_was_set_back(300, a.at)
        writing.outbox.clear()
    clock.now += 20
    b.login(A)
    a.reach(reached=True)
    clock.now += 600
    b.login(B)
    a.member._again.ask(clock.now)
    settle(clock, nodes)
    assert b.relays == {A, B}


def test_a_restart_goes_on_where_it_was_and_tells_what_was_not_sent(nodes: list[Node], clock: Clock) -> None:
    a, b, c = nodes
    a.reach(reached=False)
    a.login(A)
    settle(clock, nodes)
    a.stop()
    b.login(B, BOB)
    settle(clock, [b, c])
    a.start()
    settle(clock, nodes)
    assert [node.relays for node in nodes] == [{A, B}] * 3
    assert not any(node.conditions for node in nodes)


def test_a_node_whose_clock_is_minutes_off_works_and_is_told(make: Make, clock: Clock) -> None:
    a, b, fast = make("a"), make("b"), make("fast", ahead=300.0)
    settle(clock, [a, b, fast])
    fast.login(A)
    b.login(B, BOB)
    settle(clock, [a, b, fast])
    assert [node.relays for node in (a, b, fast)] == [{A, B}] * 3
    assert [node.conditions for node in (a, b, fast)] == [{"cluster-clock-skew"}] * 3
    a.revoke(user=ANNA)
    fast.revoke(user=BOB)
    settle(clock, [a, b, fast])
    assert [node.relays for node in (a, b, fast)] == [set()] * 3


def test_a_node_name_used_twice_is_told_and_neither_loses_anything(
    nodes: list[Node], make: Make, clock: Clock, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    twin = Node(tmp_path / "other", nodes[0].engine, clock, "a")
    twin._runs = 100
    twin.stop()
    twin.start()
    everybody = [*nodes, twin]
    settle(clock, everybody, 40)
    twin.login(A)
    nodes[0].login(B)
    settle(clock, everybody)
    assert [node.relays for node in everybody] == [{A, B}] * 4
    assert [node.conditions for node in everybody] == [
        {"cluster-node-name-twice"}, set(), set(), {"cluster-node-name-twice"}
    ]  # fmt: skip
    twin.stop()
    settle(clock, nodes, 120)
    assert not nodes[0].conditions


def test_a_node_with_another_key_opens_nothing_and_is_told(nodes: list[Node], make: Make, clock: Clock) -> None:
    stranger = make("d", keys=parse_keys(make_key()))
    for _ in range(4):
        stranger.login(A)
        settle(clock, [*nodes, stranger], 12)
    assert [node.relays for node in nodes] == [set()] * 3
    assert [node.conditions for node in nodes] == [{"cluster-key-wrong"}] * 3


def test_a_full_engine_is_told_at_once_and_what_waits_is_sent_by_itself(
    nodes: list[Node], clock: Clock, engine: Engine
) -> None:
    a = nodes[0]
    engine.trouble = EngineError("full", "OOM command not allowed")
    a.login(A)
    a.turn()
    assert a.conditions == {"cluster-full"}
    assert a.member.status(1).unsent == 1
    engine.trouble = None
    settle(clock, nodes)
    assert [node.relays for node in nodes] == [{A}] * 3
    assert a.conditions == set()


def test_a_node_in_dry_run_hears_and_tells_nothing_but_that_it_is_there(make: Make, clock: Clock) -> None:
    a, dry = make("a"), make("dry", dry_run=True)
    settle(clock, [a, dry])
    dry.login(A)
    dry.revoke(user="eve")
    a.login(B, BOB)
    settle(clock, [a, dry])
    assert a.relays == {B}
    assert dry.relays == {A, B}, "what would be published"
    assert [peer.node for peer in a.member.status(0).peers] == ["dry"]


def test_a_node_that_leaves_dry_run_tells_once_what_it_has_learnt(make: Make, clock: Clock, engine: Engine) -> None:
    a, dry = make("a"), make("dry", dry_run=True)
    dry.login(A)
    settle(clock, [a, dry])
    with dry.ledger.going_by(replace(dry.ledger.rules, replicate=True), dry_run=False):
        pass
    settle(clock, [a, dry])
    assert a.relays == {A}
    before = engine.added
    settle(clock, [a, dry], 20)
    assert engine.added - before <= 6, "it says that it is there every ten seconds"


def test_a_place_behind_nothing_that_matters_is_saved_once_a_minute(nodes: list[Node], clock: Clock) -> None:
    def saved() -> str:
        with nodes[0].ledger.reading() as reading:
            return (reading.places.of("cluster") or b"").decode()

    places = []
    for _ in range(12):
        settle(clock, nodes, 10)
        places.append(saved())
    assert 2 <= len(set(places)) <= 4


def test_what_cannot_be_entered_is_entered_later_and_its_place_with_it(
    nodes: list[Node], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, _c = nodes
    before = b.member.place
    incoming = []
    received = b.member.received
    monkeypatch.setattr(b.member, "received", lambda one, now: incoming.append((one, now)))
    a.login(A)
    settle(clock, nodes)
    monkeypatch.undo()
    with monkeypatch.context() as patch, pytest.raises(StoreError):
        patch.setattr(b.intake, "take_from_peers", _full)
        for one, now in incoming:
            received(one, now)
    assert (b.member.place, b.relays) == (before, set())
    for one, now in incoming:
        b.member.received(one, now)
    assert b.relays == {A}
    with b.ledger.reading() as reading:
        saved = (reading.places.of("cluster") or b"").decode()
    assert saved <= b.member.place
    assert saved != before


def _full(*_arguments: object) -> None:
    raise StoreError("full")


def test_every_node_tells_again_what_stands_every_ten_minutes(nodes: list[Node], clock: Clock, engine: Engine) -> None:
    a = nodes[0]
    a.open_session(A, ANNA, "s1")
    a.revoke(user=BOB)
    settle(clock, nodes)
    engine.trim(0)
    clock.now += 600
    settle(clock, nodes)
    fields = [entry[1] for entry in engine.entries]
    assert [one[b"a"] for one in fields if one[b"k"] == b"login" and one[b"n"] == b"a"] != []
    assert {one[b"n"] for one in fields if one[b"k"] == b"revocation"} == {b"a", b"b", b"c"}


def test_many_rows_are_told_in_bounded_pieces(nodes: list[Node], clock: Clock) -> None:
    a = nodes[0]
    for number in range(1200):
        a.login(f"10.1.{number // 250}.{number % 250 + 1}")
    pieces = []
    while events := a.member.outgoing(a.now()):
        pieces.append(len(events))
        a.member.sent(a.now())
    assert max(pieces) <= 501
    assert sum(pieces) >= 1200


def test_a_batch_that_was_not_sent_is_given_out_again_with_what_has_changed(nodes: list[Node], clock: Clock) -> None:
    a = nodes[0]
    a.login(A)
    first = a.member.outgoing(a.now())
    assert a.member.outgoing(a.now()) == ()
    clock.now += 5
    a.login(A)
    a.member.dropped()
    again = a.member.outgoing(a.now())
    was = [one for one in first if isinstance(one, PeerLogin)]
    now = [one for one in again if isinstance(one, PeerLogin)]
    assert [one.at for one in now] == [was[0].at + 5]
    assert [replace(one, at=0, open_at=0) for one in now] == [replace(one, at=0, open_at=0) for one in was]
