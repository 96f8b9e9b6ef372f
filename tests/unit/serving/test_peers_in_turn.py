"""popauthd.serving.peers_in_turn: peers take turns, each is bounded, and a turn is short."""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.serving import peers_in_turn
from popauthd.serving.peers_in_turn import PeersInTurn, Speaker
from popauthd.serving.unix_socket import listen
from tests.support.helpers import no_descriptor_left

log = logging.getLogger("test")
AT_MOST = 100


class Words:
    """What a client sends; a blank ends a word."""

    def __init__(self) -> None:
        self.text = b""

    def feed(self, more: bytes) -> None:
        self.text += more


class Serving:
    """Clients on a real socket. uids: of the connections to come, in their order; None is not welcome."""

    def __init__(self, directory: Path, at_most: int = AT_MOST, seconds: float = 60.0) -> None:
        self.path = str(directory / "socket")
        self.listener = listen(self.path, 0o600)
        self.selector = selectors.DefaultSelector()
        self.uids: list[int | None] = []
        self.heard: list[bytes] = []
        self.connections: list[socket.socket] = []
        self.clients = PeersInTurn(
            self.listener, self.selector, log=log, at_most=at_most, seconds=seconds,
            welcome=lambda _connection: self.uids.pop(0), stream=Words, hear=self.hear,
        )  # fmt: skip

    def hear(self, client: Speaker[Words]) -> bool:
        word, blank, rest = client.state.stream.text.partition(b" ")
        if not blank:
            return False
        self.heard.append(word)
        client.state.stream.text = rest
        if word == b"proof":
            self.clients.prove(client)
        if word == b"bye":
            self.clients.end(client)
            return False
        return bool(rest)

    def connect(self, uid: int | None, text: bytes = b"", number: int = 1) -> list[socket.socket]:
        made = []
        for _ in range(number):
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(20)
            connection.connect(self.path)
            if text:
                connection.sendall(text)
            self.uids.append(uid)
            made.append(connection)
        self.connections += made
        return made

    def turn(self) -> int:
        """One turn of the loop as the watcher makes it; how many were heard in it."""
        before = len(self.heard)
        self.clients.tend()
        for key, _events in self.selector.select(0):
            key.data()
        return len(self.heard) - before

    def open(self, connections: list[socket.socket]) -> int:
        """How many of them the server has not closed."""
        kept = 0
        for connection in connections:
            connection.setblocking(False)
            try:
                kept += connection.recv(10) != b""
            except BlockingIOError:
                kept += 1
            except ConnectionResetError:  # with a word unread
                pass
        return kept

    def close(self) -> None:
        self.clients.close()
        for each in (*self.connections, self.listener):
            each.close()
        self.selector.close()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    made = Serving(tmp_path)
    yield made
    made.close()


def test_peers_take_turns_whoever_came_first(serving: Serving) -> None:
    serving.connect(1, b"one bye ", 40)
    serving.connect(2, b"two bye ")
    serving.connect(3, b"three bye ", 3)
    serving.turn()
    assert serving.heard[:3] == [b"one", b"two", b"three"]
    assert serving.heard[3:6] == [b"one", b"bye", b"three"]


def test_a_turn_hears_so_many_and_the_loop_does_not_wait_for_the_rest(serving: Serving) -> None:
    serving.connect(1, b"word ", 40)
    assert [serving.turn(), serving.clients.wait(5)] == [peers_in_turn.HEAR_AT_ONCE, 0]
    assert [serving.turn(), serving.clients.wait(5)] == [peers_in_turn.HEAR_AT_ONCE, 0]
    assert [serving.turn(), serving.clients.wait(5)] == [40 - 2 * peers_in_turn.HEAR_AT_ONCE, 5]


def test_one_client_that_says_much_is_heard_once_in_a_round(serving: Serving) -> None:
    serving.connect(1, b"much " * 50)
    serving.connect(2, b"little ")
    serving.turn()
    assert serving.heard[:2] == [b"much", b"little"]
    for _ in range(9):
        serving.turn()
    assert serving.heard.count(b"much") == 50


def test_what_a_client_says_later_is_heard_like_what_it_said_at_once(serving: Serving) -> None:
    silent = serving.connect(1, number=20)
    for _ in range(3):
        serving.turn()
    assert serving.open(silent) == 20
    for connection in silent:
        connection.send(b"late ")
    heard = [serving.turn() for _ in range(3)]
    assert (sum(heard), max(heard)) == (20, peers_in_turn.HEAR_AT_ONCE)


def test_the_peer_with_the_most_clients_makes_room(serving: Serving) -> None:
    honest = serving.connect(2, number=10)
    crowd = serving.connect(1, number=AT_MOST + 50)
    late = serving.connect(3, b"word ")
    for _ in range(20):
        serving.turn()
    assert serving.open(honest) == 10
    assert serving.open(crowd) == AT_MOST - 11
    assert serving.open(crowd[:61]) == 0, "its oldest go first"
    assert serving.heard == [b"word"]
    assert serving.open(late) == 1
    assert len(serving.clients) == AT_MOST


def test_who_has_proved_himself_makes_room_last(serving: Serving) -> None:
    proved = serving.connect(-1, b"proof ", AT_MOST - 10)
    for _ in range(10):
        serving.turn()
    strangers = serving.connect(-1, number=50)
    for _ in range(10):
        serving.turn()
    assert (serving.open(proved), serving.open(strangers)) == (AT_MOST - 10, 10)
    more = []
    for _ in range(20):
        more += serving.connect(-1, b"proof ")
        serving.turn()
    assert (serving.open(strangers), serving.open(more)) == (0, 20)
    assert (serving.open(proved), serving.open(proved[:10])) == (AT_MOST - 20, 0), "then the oldest of all"


def test_strangers_do_not_stand_before_who_has_proved_himself(serving: Serving) -> None:
    proved = serving.connect(-1, b"proof ")[0]
    serving.turn()
    serving.connect(-1, b"stranger ", 40)
    serving.turn()
    proved.send(b"known ")
    serving.turn()
    serving.turn()
    assert b"known" in serving.heard[: 2 * peers_in_turn.HEAR_AT_ONCE + 3]


def test_who_is_not_welcome_is_closed_at_once_and_holds_nobody_up(serving: Serving) -> None:
    strangers = serving.connect(None, b"word ", 60)
    serving.connect(1, b"hello ")
    assert serving.turn() == 1
    assert serving.open(strangers) == 0
    assert (serving.heard, len(serving.clients)) == ([b"hello"], 1)


def test_the_queue_is_emptied_faster_than_clients_are_heard(serving: Serving) -> None:
    """Else a crowd fills it, and nobody can connect."""
    serving.connect(1, b"word ", 400)
    serving.turn()
    assert len(serving.clients) == AT_MOST
    assert serving.uids == []


def test_who_goes_away_is_forgotten(serving: Serving) -> None:
    for connection in serving.connect(1, b"word ", 10) + serving.connect(1, number=10):
        connection.close()
    for _ in range(4):
        serving.turn()
    assert (len(serving.heard), len(serving.clients)) == (10, 0)
    assert len(serving.selector.get_map()) == 1


def test_who_is_dropped_while_he_waits_in_line_is_not_heard(serving: Serving) -> None:
    crowd = {b"%d" % number: serving.connect(1, b"%d " % number) for number in range(AT_MOST + 40)}
    for _ in range(20):
        serving.turn()
    assert len(serving.heard) == len(set(serving.heard)) < AT_MOST + 40
    assert {name for name, connection in crowd.items() if serving.open(connection)} <= set(serving.heard)
    assert len(serving.clients) == AT_MOST


def test_time_runs_out(tmp_path: Path) -> None:
    serving = Serving(tmp_path, seconds=0.0)
    silent = serving.connect(1, number=5)
    serving.turn()
    serving.turn()
    assert (serving.open(silent), len(serving.clients)) == (0, 0)
    serving.close()


def test_without_a_descriptor_those_who_are_in_are_heard(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    known = serving.connect(1, number=3)
    serving.turn()
    with no_descriptor_left():
        for _ in range(3):
            known[0].send(b"word ")
            serving.turn()
            serving.turn()
        assert serving.heard == [b"word"] * 3
    late = socket.socket(socket.AF_UNIX)
    with late:
        late.connect(serving.path)
        serving.uids.append(2)
        late.send(b"late ")
        with no_descriptor_left():
            serving.turn()
            serving.turn()
            assert serving.selector.select(0) == [], "the loop would spin"
            assert 0 < serving.clients.wait(60) < 60
            known[0].send(b"word ")
            serving.turn()
            assert serving.heard[-1] == b"word"
        serving.selector.select(serving.clients.wait(60))
        serving.turn()
        assert serving.heard[-1] == b"late"
    said = [record.getMessage() for record in caplog.records]
    assert said == ["cannot accept a client for now, those who are in are served: Too many open files"]


def test_closing_leaves_nothing(serving: Serving) -> None:
    connections = serving.connect(1, b"word ", 40)
    serving.turn()
    serving.clients.close()
    assert (serving.open(connections), len(serving.clients), serving.clients.wait(7)) == (0, 0, 7)
    assert len(serving.selector.get_map()) == 0
