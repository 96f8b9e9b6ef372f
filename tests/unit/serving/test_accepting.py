"""popauthd.serving.accepting: a loop does not spin when no descriptor is left, and accepts again when one is."""

from __future__ import annotations

import logging
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.logs import Quiet
from popauthd.serving.accepting import Accepting
from popauthd.serving.unix_socket import listen
from tests.support.helpers import no_descriptor_left

log = logging.getLogger("test")


def accepting_in(selector: selectors.BaseSelector, listener: socket.socket) -> Accepting:
    """What accepts at a listener, whose events are called "listener"."""
    return Accepting(
        listener,
        lambda: selector.register(listener, selectors.EVENT_READ, "listener"),
        lambda: selector.unregister(listener),
        Quiet(log),
    )


class Loop:
    """A listening socket in a selector, and clients that have connected to it."""

    def __init__(self, directory: Path, clients: int) -> None:
        path = str(directory / "socket")
        self.listener = listen(path, 0o600)
        self.selector = selectors.DefaultSelector()
        self.accepting = accepting_in(self.selector, self.listener)
        self.clients = [socket.socket(socket.AF_UNIX) for _ in range(clients)]
        for client in self.clients:
            client.connect(path)

    def ready(self) -> list[object]:
        return [key.data for key, _events in self.selector.select(0)]

    def accept(self, at_once: int = 64) -> int:
        accepted = list(self.accepting.connections(at_once))
        for connection in accepted:
            connection.close()
        return len(accepted)

    def rest(self) -> None:
        """Wait as a loop does until the rest is over."""
        self.selector.select(self.accepting.wait(1))
        self.accepting.tend()

    def close(self) -> None:
        for each in (*self.clients, self.listener):
            each.close()
        self.selector.close()


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[Loop]:
    made = Loop(tmp_path, 3)
    yield made
    made.close()


def test_so_many_are_accepted_at_once_and_the_rest_at_the_next_turn(loop: Loop) -> None:
    assert loop.ready() == ["listener"]
    assert (loop.accept(2), loop.accept(2), loop.accept(2)) == (2, 1, 0)
    assert loop.ready() == []


def test_without_a_descriptor_the_listener_rests_and_it_is_said_once(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    with no_descriptor_left():
        for _ in range(3):
            assert loop.ready() == ["listener"]
            assert loop.accept() == 0
            assert loop.ready() == [], "the loop would spin"
            loop.accepting.tend()
            assert loop.ready() == [], "it rests for a while"
            assert 0 < loop.accepting.wait(60) < 60
            assert loop.accept() == 0, "nor is it asked in vain meanwhile"
            loop.rest()
    assert [record.getMessage() for record in caplog.records] == [
        "cannot accept a client for now, those who are in are served: Too many open files"
    ]
    assert loop.accept() == 3, "those who waited are in the queue yet"
    assert loop.accepting.wait(60) == 60


def test_room_that_is_made_is_used_and_without_it_the_listener_rests(
    loop: Loop, caplog: pytest.LogCaptureFixture
) -> None:
    kept = socket.socket(socket.AF_UNIX)

    def make_room() -> bool:
        there = kept.fileno() >= 0
        kept.close()
        return there

    loop.accepting._make_room = make_room
    with no_descriptor_left():
        accepted = list(loop.accepting.connections(64))
        assert len(accepted) == 1
        assert len(caplog.records) == 1, "there was no room for the second one"
        assert loop.ready() == []
    accepted[0].close()


def test_a_listener_that_fails_in_another_way_rests_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, selectors.DefaultSelector() as selector:
        accepting = accepting_in(selector, listener)
        listener.shutdown(socket.SHUT_RDWR)  # from now on it is readable, and accept(2) gives EINVAL
        for _ in range(2):
            assert [key.data for key, _events in selector.select(0)] == ["listener"]
            assert list(accepting.connections(64)) == []
            assert selector.select(accepting.wait(1)) == []
            accepting.tend()


def test_closing_it_takes_the_listener_out_also_while_it_rests(loop: Loop) -> None:
    with no_descriptor_left():
        assert loop.accept() == 0
    loop.accepting.close()
    loop.accepting.close()
    assert loop.accepting.wait(60) == 60
    loop.accepting.tend()
    assert loop.ready() == []


class Plain:
    """A listener of a Python whose sockets have accept() alone."""

    def __init__(self, listener: socket.socket) -> None:
        self.family, self.type, self.proto = listener.family, listener.type, listener.proto
        self.accept, self.setblocking = listener.accept, listener.setblocking


def test_a_python_without_the_bare_accept_accepts_the_same(loop: Loop) -> None:
    plain = Accepting(Plain(loop.listener), lambda: None, lambda: None, Quiet(log))  # type: ignore[arg-type]
    for accepting in (plain, loop.accepting):
        (connection,) = accepting.connections(1)
        assert (connection.family, connection.type, connection.gettimeout()) == (
            socket.AF_UNIX,
            socket.SOCK_STREAM,
            None,
        )
        connection.close()
