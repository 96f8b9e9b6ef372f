"""popauthd.serving.clients: the loop that every server shares keeps its bounds and drops who is slow or broken."""

from __future__ import annotations

import dataclasses
import logging
import math
import selectors
import socket
import struct
from collections.abc import Iterator

import pytest

from popauthd.serving.clients import Bounds, Client, Clients
from tests.support.helpers import no_descriptor_left

log = logging.getLogger("test")
BOUNDS = Bounds(accept_at_once=4, clients=6, seconds=3600.0, read_bytes=10)
FULL = "more than 6 clients at once; dropping the oldest"


class Echo:
    """A server on a real socket that notes what it is told. Each client's state is its number.

    lose_newest: the newest client makes room.
    """

    def __init__(self, *, lose_newest: bool = False) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.selector = selectors.DefaultSelector()
        self.number = 0
        self.unwelcome: set[int] = set()
        self.taken: list[Client[int]] = []
        self.heard: list[tuple[int, bytes | None]] = []
        self.ended: list[int] = []
        self.connections: list[socket.socket] = []
        self.clients: Clients[int] = Clients(
            self.listener, self.selector, self, BOUNDS, log, self.newest if lose_newest else None
        )

    def newest(self) -> Client[int]:
        return self.taken[-1]

    def take_in(self) -> None:
        for client in self.clients.accept():
            self.taken.append(client)
            self.clients.watch(client)

    def welcome(self, _connection: socket.socket) -> int | None:
        self.number += 1
        return None if self.number in self.unwelcome else self.number

    def hear(self, client: Client[int]) -> None:
        self.heard.append((client.state, self.clients.receive(client)))

    def end(self, client: Client[int]) -> None:
        self.ended.append(client.state)
        self.clients.drop(client)

    def connect(self, number: int = 1) -> list[socket.socket]:
        made = [socket.create_connection(self.listener.getsockname(), 20) for _ in range(number)]
        self.connections += made
        return made

    def turn(self, wait: float = 0) -> None:
        for key, _events in self.selector.select(wait):
            key.data()
        self.clients.tend()

    def numbers(self) -> list[int]:
        return [client.state for client in self.taken if client in self.clients]

    def close(self) -> None:
        self.clients.close()
        for each in (*self.connections, self.listener):
            each.close()
        self.selector.close()


@pytest.fixture
def server() -> Iterator[Echo]:
    made = Echo()
    yield made
    made.close()


def test_a_turn_accepts_so_many_and_the_next_one_the_rest(server: Echo) -> None:
    server.connect(6)
    server.turn()
    assert server.numbers() == [1, 2, 3, 4]
    server.turn()
    assert (server.numbers(), len(server.clients), server.clients.full) == ([1, 2, 3, 4, 5, 6], 6, True)


def test_the_oldest_makes_room_for_one_too_many_and_it_is_said_once(
    server: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    server.connect(6)
    server.turn()
    server.turn()
    assert server.ended == []
    server.connect(2)
    server.turn()
    assert (server.ended, server.numbers()) == ([1, 2], [3, 4, 5, 6, 7, 8])
    assert server.connections[0].recv(10) == b""
    assert [record.getMessage() for record in caplog.records] == [FULL]


def test_a_server_may_choose_who_makes_room() -> None:
    server = Echo(lose_newest=True)
    server.connect(7)
    server.turn()
    server.turn()
    assert (server.ended, server.numbers()) == ([6], [1, 2, 3, 4, 5, 7])
    server.close()


def test_who_is_not_welcome_is_closed_and_takes_nobodys_place(server: Echo) -> None:
    server.connect(6)
    server.turn()
    server.turn()
    server.unwelcome = {7}
    (stranger,) = server.connect()
    server.turn()
    assert stranger.recv(10) == b""
    assert (server.ended, len(server.clients)) == ([], 6)


def test_what_comes_is_read_in_bounded_pieces_and_then_the_end(server: Echo) -> None:
    (client,) = server.connect()
    server.turn()
    client.sendall(b"x" * 15)
    server.turn(20)
    server.turn(20)
    client.close()
    server.turn(20)
    assert server.heard == [(1, b"x" * 10), (1, b"x" * 5), (1, b"")]
    assert (server.ended, server.numbers()) == ([], [1]), "what an end means is for the server to say"


def test_a_broken_connection_is_ended(server: Echo) -> None:
    (client,) = server.connect()
    server.turn()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()  # resets the connection
    server.turn(20)
    assert (server.heard, server.ended, len(server.clients)) == ([(1, None)], [1], 0)


def test_a_client_that_has_sent_nothing_yet_is_watched_once_it_was_read_in_vain(server: Echo) -> None:
    (connection,) = server.connect()
    (client,) = server.clients.accept()
    assert len(server.selector.get_map()) == 1
    assert server.clients.receive(client) is None
    assert server.clients.receive(client) is None
    assert len(server.selector.get_map()) == 2
    connection.sendall(b"late")
    server.turn(20)
    assert server.heard == [(1, b"late")]


def test_who_is_watched_no_more_is_not_heard_and_can_be_dropped(server: Echo) -> None:
    (connection,) = server.connect()
    server.turn()
    (client,) = server.taken
    server.clients.unwatch(client)
    server.clients.unwatch(client)
    connection.sendall(b"word")
    server.turn()
    assert server.heard == []
    server.clients.drop(client)
    assert (len(server.clients), len(server.selector.get_map())) == (0, 1)


def test_who_was_dropped_earlier_in_a_turn_is_not_heard_in_it(server: Echo) -> None:
    for connection in server.connect(2):
        connection.sendall(b"word")
    server.turn()
    events = server.selector.select(20)
    assert len(events) == 2
    for client in server.taken:
        server.clients.drop(client)
    for key, _events in events:
        key.data()
    assert server.heard == []


def test_whose_time_is_over_is_ended_and_nobody_else(server: Echo) -> None:
    assert server.clients.slow_at == math.inf
    server.connect(2)
    server.turn()
    first, second = server.taken
    assert server.clients.slow_at == first.until < second.until
    server.clients.keep_until(second, 0.0)
    assert server.clients.slow_at == 0.0
    server.turn()
    assert (server.ended, server.clients.slow_at) == ([2], first.until)
    server.clients.keep_until(first, math.inf)
    server.turn()
    assert server.ended == [2]


def test_a_time_that_was_put_off_is_looked_at_again_when_the_first_one_is_over(server: Echo) -> None:
    server.connect()
    server.turn()
    (client,) = server.taken
    server.clients.keep_until(client, 0.0)
    server.clients.keep_until(client, math.inf)
    server.turn()
    assert (server.ended, server.clients.slow_at) == ([], math.inf)


def test_other_bounds_hold_from_the_next_client_on(server: Echo) -> None:
    server.connect()
    server.turn()
    server.clients.bounds = dataclasses.replace(BOUNDS, seconds=0.0)
    server.connect()
    server.turn()
    assert (server.ended, server.numbers()) == ([2], [1])


def test_a_reply_is_sent_whole_or_not_at_all(server: Echo) -> None:
    connection, gone = server.connect(2)
    server.turn()
    first, second = server.taken
    assert first.send(b"reply")
    assert connection.recv(10) == b"reply"
    assert not first.send(b"x" * 100_000_000), "more than any buffer holds"
    gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    gone.close()
    assert not second.send(b"reply")


def test_without_a_descriptor_the_loop_rests_and_then_accepts_again(
    server: Echo, caplog: pytest.LogCaptureFixture
) -> None:
    (early,) = server.connect()
    server.turn()
    server.connect()
    with no_descriptor_left():
        server.turn()
        assert server.selector.select(0) == [], "the loop would spin"
        assert 0 < server.clients.wait(60) < 60
        early.sendall(b"word")
        server.turn()
        assert server.heard == [(1, b"word")]
    server.selector.select(server.clients.wait(60))
    server.clients.tend()
    server.turn()
    assert server.numbers() == [1, 2]
    assert server.clients.wait(60) == 60
    assert len(caplog.records) == 1


def test_when_nobody_is_accepted_any_more_those_who_are_in_are_served(server: Echo) -> None:
    (early,) = server.connect()
    server.turn()
    server.clients.accept_no_more()
    server.connect()
    early.sendall(b"word")
    server.turn(20)
    server.turn()
    assert (server.heard, server.numbers()) == ([(1, b"word")], [1])


def test_closing_ends_everybody_and_leaves_the_listener_open(server: Echo) -> None:
    server.connect(3)
    server.turn()
    server.clients.close()
    assert (server.ended, len(server.selector.get_map())) == ([1, 2, 3], 0)
    assert server.listener.fileno() >= 0
