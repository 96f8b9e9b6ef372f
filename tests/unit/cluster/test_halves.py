"""The two halves of a link over a stream in memory: what one sends the others read, and what is lost is found."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest

from popauthd.cluster import gaps
from popauthd.cluster.events import Hello, PeerEvent, PeerGrant, PeerLogin, PeerRevocation
from popauthd.cluster.gaps import look
from popauthd.cluster.inbound import AGAIN_MS, COUNT, Inbound
from popauthd.cluster.keys import make_key, parse_keys
from popauthd.cluster.offset import Offset, moved
from popauthd.cluster.outbound import Outbound
from popauthd.cluster.stream import EngineError, Entry, Info
from popauthd.cluster.traffic import Heard, Incoming, Place, Sender, read_place
from tests.support.streams import Engine, MemoryStream

NOW = 1_795_467_600
KEYS = parse_keys(make_key())
USER = "~" + "a" * 24


def login(at: int = NOW, address: str = "192.0.2.10") -> PeerLogin:
    return PeerLogin(address, USER, at, at, "imap", "PLAIN", True)


@dataclass
class Clock:
    """A clock of the test's; nodes may be ahead of it."""

    now: float = NOW

    def __call__(self) -> float:
        return self.now


@dataclass
class Node:
    """A node's halves over an engine. ahead: of the engine's clock, seconds."""

    engine: Engine
    name: str
    clock: Clock
    run: str
    ahead: float = 0.0
    place: str = ""
    me: Sender = field(init=False)
    inbound: Inbound = field(init=False)
    outbound: Outbound = field(init=False)

    def __post_init__(self) -> None:
        self.me = Sender(self.name, self.run, "popauthd:{grants}", KEYS)
        offset = Offset()
        self.inbound = Inbound(self.engine.stream(), self.me, offset, self.now, self.place)
        self.outbound = Outbound(self.engine.stream(), self.me, offset, self.now)

    def now(self) -> float:
        return self.clock() + self.ahead

    def hear(self) -> list[PeerEvent]:
        return [one.event for one in self.turn().heard]

    def turn(self) -> Incoming:
        return self.inbound.turn(0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def engine(clock: Clock) -> Engine:
    return Engine(clock)


@pytest.fixture
def a(engine: Engine, clock: Clock) -> Node:
    return Node(engine, "a", clock, "a" * 16)


@pytest.fixture
def b(engine: Engine, clock: Clock) -> Node:
    return Node(engine, "b", clock, "b" * 16)


EVENTS: list[PeerEvent] = [login(), PeerGrant("192.0.2.11", NOW, NOW + 60), PeerRevocation(NOW, "", USER), Hello()]


def test_what_one_sends_the_other_reads_once_and_nobody_hears_himself(a: Node, b: Node) -> None:
    a.outbound.send(EVENTS)
    assert b.hear() == EVENTS
    assert b.hear() == []
    found = a.turn()
    assert (found.heard, found.caught_up) == ((), True)


def test_a_reader_goes_on_at_its_place_and_misses_nothing_that_came_while_it_was_away(a: Node, b: Node) -> None:
    a.outbound.send([login()])
    place = b.turn().place
    a.outbound.send([login(NOW + 1)])
    again = Node(b.engine, "b", b.clock, "c" * 16, place=place)
    found = again.turn()
    assert [one.event for one in found.heard] == [login(NOW + 1)]
    assert found.gap == ""


def test_more_than_is_read_at_once_is_read_in_pieces(a: Node, b: Node) -> None:
    a.outbound.send([login(NOW + number) for number in range(COUNT + 1)])
    first, second = b.turn(), b.turn()
    assert (len(first.heard), first.caught_up, len(second.heard), second.caught_up) == (COUNT, False, 1, True)


def test_nodes_whose_clocks_are_minutes_off_agree_on_what_came_first(engine: Engine, clock: Clock, b: Node) -> None:
    fast = Node(engine, "fast", clock, "f" * 16, ahead=300.0)
    fast.outbound.send([login(NOW + 300)])
    assert b.hear() == [login(NOW)]
    clock.now += 10
    b.outbound.send([PeerRevocation(NOW + 10, user=USER)])
    found = fast.turn()
    assert [one.event for one in found.heard] == [PeerRevocation(NOW + 310, user=USER)]
    assert found.offset_ms == -300_000
    assert found.heard[0].skew_ms == 0
    b.outbound.send([])
    fast.outbound.send([Hello()])
    assert [one.skew_ms for one in b.turn().heard] == [-300_000]


def test_clocks_that_are_nearly_right_change_no_time(engine: Engine, clock: Clock, b: Node) -> None:
    slow = Node(engine, "slow", clock, "f" * 16, ahead=-4.0)
    slow.outbound.send([login(NOW - 4)])
    assert b.hear() == [login(NOW - 4)]


def test_a_correction_stays_while_the_clocks_drift_a_little_and_ends_when_they_are_set(
    engine: Engine, clock: Clock, b: Node
) -> None:
    fast = Node(engine, "fast", clock, "f" * 16, ahead=60.0)
    seen = []
    for ahead in (60.0, 61.5, 58.5, 63.0, 0.0):
        fast.ahead = ahead
        clock.now += 5
        fast.outbound.send([login(NOW)])
        seen += b.hear()
    assert [NOW - one.at for one in seen if isinstance(one, PeerLogin)] == [60, 60, 60, 63, 0]


def test_another_run_under_our_name_is_seen_once_we_are_in_the_stream_ourselves(
    a: Node, b: Node, engine: Engine, clock: Clock
) -> None:
    twin = Node(engine, "a", clock, "d" * 16)
    twin.outbound.send([Hello()])  # as our own run of before
    a.outbound.send([Hello()])
    twin.outbound.send([Hello()])
    assert [(one.node, one.beside) for one in a.turn().heard] == [("a", False), ("a", True)]
    assert [one.beside for one in b.turn().heard] == [False] * 3


def test_what_is_forged_or_replayed_is_counted_and_nothing_else(a: Node, b: Node, engine: Engine, clock: Clock) -> None:
    a.outbound.send([login()])
    entry = dict(engine.entries[0][1])
    engine.stream().append([{**entry, b"a": b"192.0.2.99"}, {b"k": b"login"}], 0)
    other = replace(b.me, keys=parse_keys(make_key()))
    Outbound(engine.stream(), other, Offset(), clock).send([login()])
    clock.now += 601
    engine.stream().append([entry], 0)
    found = b.turn()
    assert [one.event for one in found.heard] == [login()]
    assert found.rejected == {"forged": 3, "replayed": 1}


def lose(engine: Engine, what: str) -> None:
    if what == "flushed":
        engine.flush()
    elif what == "an older copy":
        engine.cut(2)
    elif what == "trimmed":
        engine.trim(0)


LOST = [
    ("flushed", 0, gaps.GONE),
    ("flushed", 1, gaps.MISCOUNTED),
    ("flushed", 9, gaps.MISCOUNTED),
    ("an older copy", 0, gaps.BACK),
    ("an older copy", 1, gaps.MISCOUNTED),
    ("an older copy", 9, gaps.MISCOUNTED),
    ("trimmed", 0, ""),
    ("trimmed", 1, ""),
    ("nothing", 0, ""),
    ("nothing", 9, ""),
]


@pytest.mark.parametrize(("what", "then", "gap"), LOST, ids=[f"{row[0]}-{row[1]}" for row in LOST])
@pytest.mark.parametrize("down", [False, True], ids=["up", "down"])
def test_what_a_stream_loses_is_found_and_all_of_it_is_read_again(
    a: Node, b: Node, clock: Clock, what: str, then: int, gap: str, down: bool
) -> None:
    """then: how many entries come after it. down: the reader is restarted meanwhile."""
    a.outbound.send([login(NOW + number) for number in range(5)])
    b.turn()
    clock.now += 2
    place = b.turn().place
    lose(b.engine, what)
    clock.now += 2
    a.outbound.send([login(NOW + 100 + number) for number in range(then)])
    if down:
        b = Node(b.engine, "b", clock, "c" * 16, place=place)
    heard: list[PeerEvent] = []
    told = []
    for _ in range(3):
        found = b.turn()
        heard += [one.event for one in found.heard]
        told += [found.gap] if found.gap else []
        clock.now += 2
    assert told == ([gap] if gap else [])
    assert {login(NOW + 100 + number) for number in range(then)} <= set(heard)


def test_who_sends_takes_out_what_is_older_than_it_is_to_be_kept(a: Node, engine: Engine, clock: Clock) -> None:
    for _ in range(3):
        a.outbound.send([login()])
        clock.now += a.me.keep_seconds / 2
    assert len(engine.entries) == 3
    clock.now += 1
    a.outbound.send([login()])
    assert len(engine.entries) == 2
    numbers = [int(fields[b"i"]) for _id, fields in engine.entries]
    assert numbers == [3, 4]


def test_what_was_trimmed_before_it_was_read_is_a_gap(a: Node, b: Node, clock: Clock) -> None:
    a.outbound.send([login()])
    b.turn()
    clock.now += 2
    place = b.turn().place
    a.outbound.send([login(NOW + number) for number in range(4)])
    a.engine.trim(2)
    assert Node(b.engine, "b", clock, "c" * 16, place=place).turn().gap == gaps.TRIMMED


@pytest.mark.parametrize("new", [True, False], ids=["after the first reading", "after a first loss"])
def test_what_is_lost_right_after_a_reading_from_the_beginning_is_found(
    a: Node, b: Node, clock: Clock, new: bool
) -> None:
    a.outbound.send([login(NOW + number) for number in range(5)])
    b.turn()
    if not new:
        b.engine.flush()
        clock.now += 2
        assert b.turn().gap == gaps.GONE
        a.outbound.send([login(NOW + number) for number in range(3)])
        b.turn()
    b.engine.flush()
    clock.now += 0.5
    a.outbound.send([login(NOW + 100)])
    found = b.turn()
    assert (len(found.heard), found.gap) == (1, ""), "it is not looked again so soon"
    clock.now += 2
    assert b.turn().gap == gaps.MISCOUNTED


def test_a_gap_is_told_though_reading_failed_right_after_it_was_found(
    a: Node, b: Node, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    a.outbound.send([login()])
    b.turn()
    b.engine.flush()
    clock.now += 2

    def cut(*_arguments: object) -> list[Entry]:
        raise EngineError("lost", "the connection was closed")

    with monkeypatch.context() as patched, pytest.raises(EngineError):
        patched.setattr(MemoryStream, "read", cut)
        b.turn()
    assert b.turn().gap == gaps.GONE
    assert b.turn().gap == ""


def test_what_is_trimmed_while_a_new_node_begins_to_read_is_no_gap(
    a: Node, b: Node, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    a.outbound.send([login(NOW + number) for number in range(5)])

    def trimmed(stream: MemoryStream) -> Info:
        found = info(stream)
        b.engine.trim(2)
        return found

    info = MemoryStream.info
    with monkeypatch.context() as patched:
        patched.setattr(MemoryStream, "info", trimmed)
        assert len(b.turn().heard) == 2
    for _ in range(2):
        clock.now += 2
        assert b.turn().gap == ""
    a.outbound.send([login(NOW + number) for number in range(5)])
    b.engine.trim(2)
    clock.now += 2
    assert b.turn().gap == gaps.TRIMMED


def test_a_new_node_reads_from_the_beginning_and_misses_nothing(a: Node, b: Node, engine: Engine) -> None:
    a.outbound.send([login(NOW + number) for number in range(4)])
    engine.trim(2)
    found = b.turn()
    assert (len(found.heard), found.gap) == (2, "")


def test_after_any_trouble_the_last_minute_is_read_a_second_time_and_is_no_gap(a: Node, b: Node, clock: Clock) -> None:
    a.outbound.send([login()])
    clock.now += AGAIN_MS / 1000 + 30
    a.outbound.send([login(NOW + 90)])
    assert len(b.hear()) == 2
    b.engine.trouble = EngineError("timeout", "no answer")
    for _ in range(3):
        with pytest.raises(EngineError):
            b.turn()
    b.engine.trouble = None
    a.outbound.send([login(NOW + 91)])
    found = b.turn()
    assert [one.event for one in found.heard] == [login(NOW + 90), login(NOW + 91)]
    assert found.gap == ""
    clock.now += 2
    assert b.turn() == replace(found, heard=(), place=b.turn().place)


@pytest.mark.parametrize("position", [-1, 5], ids=["not counted", "counted"])
def test_an_engine_that_does_not_count_is_judged_by_ids(position: int) -> None:
    place, added = Place("100-5", position), -1
    assert look(place, Info("100-1", "100-5", added, 5)) == ""
    assert look(place, Info("100-1", "200-0", added, 6)) == ""
    assert look(place, Info("150-0", "200-0", added, 2)) == gaps.TRIMMED
    assert look(place, Info("100-1", "100-4", added, 4)) == gaps.BACK
    assert look(place, Info()) == gaps.GONE
    assert look(Place(), Info()) == ""


@pytest.mark.parametrize("text", ["", "x", "1-", "1-2", "1-2 x", "-1 2", "1-2 3 4"])
def test_a_place_that_is_none_is_the_beginning(text: str) -> None:
    assert read_place(text) == Place()
    assert read_place(str(Place("12-3", 4))) == Place("12-3", 4)


def test_an_event_that_cannot_travel_is_left_out_and_a_method_of_any_length_is_not_known(a: Node, b: Node) -> None:
    a.outbound.send([replace(login(), user="anna"), replace(login(), method="x" * 65)])
    assert b.hear() == [replace(login(), method="")]


def test_times_move_and_a_hello_has_none() -> None:
    assert moved(Hello(), 5) == Hello()
    assert moved(PeerGrant("192.0.2.1", 10, 20), -15) == PeerGrant("192.0.2.1", 0, 5)


def test_an_answer_that_took_long_does_not_tell_the_time() -> None:
    offset = Offset()
    offset.measured(NOW, NOW * 1000, NOW)
    offset.measured(NOW, NOW * 1000, NOW + 30)
    assert (offset.ms, offset.seconds) == (0, 0)
    assert offset.stale(NOW + 2)
    assert offset.stale(NOW - 1)


def test_what_is_heard_says_how_old_it_is(a: Node, b: Node, clock: Clock) -> None:
    a.outbound.send([login()])
    clock.now += 7
    assert [one.age_ms for one in b.turn().heard] == [7000]
    assert Incoming().empty
    assert not Incoming(heard=(Heard(login(), "a", "b", "1-0"),)).empty
