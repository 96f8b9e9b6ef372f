"""popauthd.responder: a clean yes, otherwise no; nobody waits for a slow neighbour."""

from __future__ import annotations

import dataclasses
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from popauthd.responder import Responder
from popauthd.serving import accepting
from popauthd.serving.unix_socket import listen
from popauthd.store.relay_map import MapReader
from tests.support.helpers import no_descriptor_left, write_map

FAR = 4_000_000_000


class Running:
    """A responder turning in a thread, on a real socket and a real map."""

    def __init__(self, directory: Path, hold_ms: int = 0) -> None:
        self.map = directory / "relay.mdb"
        self.path = str(directory / "lookup.sock")
        self.listener = listen(self.path, 0o660)
        self.responder = Responder(self.listener, MapReader(str(self.map)), hold_ms)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._turn)
        self._thread.start()

    def _turn(self) -> None:
        while not self._stop.is_set():
            self.responder.turn(0.01)

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(10)
        connection.connect(self.path)
        return connection

    def ask(self, request: bytes, *, shut: bool = False) -> bytes:
        with self.connect() as connection:
            connection.sendall(request)
            if shut:
                connection.shutdown(socket.SHUT_WR)
            return b"".join(iter(lambda: connection.recv(100), b""))

    def bound(self, **bounds: Any) -> None:
        """Give it other Bounds, by name."""
        self.responder.bounds = dataclasses.replace(self.responder.bounds, **bounds)

    def halt(self) -> None:
        """Turn no more; what has connected so far is known to it."""
        self._stop.set()
        self._thread.join()
        self.responder.turn(0)

    def successor(self, listener: socket.socket) -> Responder:
        """Another responder on the same map, which LMDB does not open twice in one process."""
        self.responder._reader.close()
        return Responder(listener, MapReader(str(self.map)), 0)

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.responder.close()
        self.listener.close()


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    write_map(tmp_path / "relay.mdb", {"192.0.2.10": FAR, "2001:db8::7": FAR, "192.0.2.11": 1_000_000_000})
    started = Running(tmp_path)
    yield started
    started.close()


ANSWERS = [
    ("allowed", b"192.0.2.10\n", b"yes"),
    ("allowed, mapped", b"::ffff:192.0.2.10\n", b"yes"),
    ("allowed, IPv6 as exim -bh writes it", b"2001:0DB8:0000:0000:0000:0000:0000:0007\n", b"yes"),
    ("expired and not yet swept", b"192.0.2.11\n", b"no"),
    ("unknown", b"192.0.2.12\n", b"no"),
    ("bad", b"who?\n", b"no"),
    ("too long", b"1" * 200, b"no"),
    ("two requests", b"192.0.2.10\n192.0.2.10\n", b"no"),
]


@pytest.mark.parametrize(("request_", "reply"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_one_request_gets_one_reply(running: Running, request_: bytes, reply: bytes) -> None:
    assert running.ask(request_) == reply


def test_a_request_may_end_by_closing(running: Running) -> None:
    assert running.ask(b"192.0.2.10", shut=True) == b"yes"
    assert running.ask(b"", shut=True) == b"no"


def test_a_request_may_come_byte_by_byte(running: Running) -> None:
    with running.connect() as connection:
        for byte in b"192.0.2.10\n":
            connection.sendall(bytes([byte]))
            time.sleep(0.002)  # so that each is a read of its own
        assert connection.recv(100) == b"yes"


def test_silent_clients_harm_nobody_and_are_dropped(running: Running) -> None:
    running.bound(seconds=0.2)
    silent = [running.connect() for _ in range(100)]
    silent[0].sendall(b"192.0.2.1")
    assert running.ask(b"192.0.2.10\n") == b"yes"
    assert [connection.recv(100) for connection in silent] == [b"no"] * 100
    for connection in silent:
        connection.close()


def test_more_clients_than_places_cost_the_oldest_theirs(running: Running) -> None:
    running.bound(clients=10)
    silent = [running.connect() for _ in range(30)]
    assert running.ask(b"192.0.2.10\n") == b"yes"
    assert silent[0].recv(100) == b"no"
    for connection in silent:
        connection.close()


def test_as_many_clients_as_places_are_all_kept_and_one_more_costs_the_oldest_alone(running: Running) -> None:
    running.bound(clients=4)
    running.halt()
    clients = [running.connect() for _ in range(4)]
    running.responder.turn(5)
    assert len(running.responder) == 4
    clients.append(running.connect())
    running.responder.turn(5)
    assert clients[0].recv(100) == b"no"
    for client in clients[1:]:
        client.sendall(b"192.0.2.10\n")
    running.responder.turn(5)
    assert [client.recv(100) for client in clients[1:]] == [b"yes"] * 4
    for client in clients:
        client.close()


def test_a_flood_of_connections_is_accepted_in_turns(running: Running) -> None:
    running.bound(accept_at_once=3)
    running.halt()
    clients = [running.connect() for _ in range(5)]
    for expected in (3, 5):
        running.responder.turn(5)
        assert len(running.responder) == expected
    for client in clients:
        client.close()


@pytest.mark.parametrize(("now", "reply"), [(999.999, b"yes"), (1000.0, b"no"), (1000.001, b"no")])
def test_an_entry_ends_at_its_expiry(tmp_path: Path, now: float, reply: bytes) -> None:
    write_map(tmp_path / "relay.mdb", {"192.0.2.10": 1000})
    with listen(str(tmp_path / "socket"), 0o600) as listener, socket.socket(socket.AF_UNIX) as client:
        served = Responder(listener, MapReader(str(tmp_path / "relay.mdb")), 0, clock=lambda: now)
        client.connect(str(tmp_path / "socket"))
        client.sendall(b"192.0.2.10\n")
        served.turn(5)
        assert client.recv(100) == reply
        served.close()


def test_trouble_with_the_map_is_logged_and_is_a_no(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    running = Running(tmp_path)
    assert [running.ask(b"192.0.2.10\n") for _ in range(3)] == [b"no"] * 3
    running.close()
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"answering no: relay map {running.map}: cannot be read")


def test_closing_answers_no_to_whoever_is_in(running: Running) -> None:
    with running.connect() as waiting:
        running.halt()
        running.responder.close()
        assert waiting.recv(100) == b"no"


def test_a_missing_map_is_no_and_its_coming_is_noticed(tmp_path: Path) -> None:
    running = Running(tmp_path)
    try:
        assert running.ask(b"192.0.2.10\n") == b"no"
        write_map(running.map, {"192.0.2.10": FAR})
        assert running.ask(b"192.0.2.10\n") == b"yes"
        running.map.write_bytes(b"")
        assert running.ask(b"192.0.2.10\n") == b"no"
    finally:
        running.close()


def test_a_no_is_held_while_a_login_may_still_arrive(tmp_path: Path) -> None:
    write_map(tmp_path / "relay.mdb", {"192.0.2.11": FAR})
    running = Running(tmp_path, hold_ms=3_600_000)
    try:
        with running.connect() as connection:
            connection.sendall(b"192.0.2.10\n")
            write_map(running.map, {"192.0.2.10": FAR})
            assert connection.recv(100) == b"yes"
    finally:
        running.close()


def test_a_held_no_ends_when_its_time_is_over_or_its_client_gone(tmp_path: Path) -> None:
    write_map(tmp_path / "relay.mdb", {"192.0.2.11": FAR})
    running = Running(tmp_path, hold_ms=50)
    try:
        running.connect().close()
        with running.connect() as gone:
            gone.sendall(b"192.0.2.10\n")
        began = time.monotonic()
        assert running.ask(b"192.0.2.10\n", shut=True) == b"no"
        assert time.monotonic() - began >= 0.05
    finally:
        running.close()


def test_a_client_that_goes_away_or_sends_more_while_its_no_is_held_makes_no_turns(tmp_path: Path) -> None:
    write_map(tmp_path / "relay.mdb", {"192.0.2.11": FAR})
    running = Running(tmp_path, hold_ms=3_600_000)
    running.halt()
    served = running.responder
    try:
        with running.connect() as ending, running.connect() as talking:
            for client in (ending, talking):
                client.sendall(b"192.0.2.10\n")
            served.turn(5)
            assert len(served) == 2
            ending.shutdown(socket.SHUT_WR)
            talking.sendall(b"192.0.2.10\n")
            served.turn(5)
            assert talking.recv(100) == b"no", "at once"
            assert len(served) == 1
            assert served._epoll.poll(0) == [], "the end was read, the loop would spin"
    finally:
        running.close()


def test_the_socket_is_replaced_without_a_gap(tmp_path: Path) -> None:
    first = listen(str(tmp_path / "lookup.sock"), 0o660)
    second = listen(str(tmp_path / "lookup.sock"), 0o660)
    assert (tmp_path / "lookup.sock").stat().st_mode & 0o777 == 0o660
    first.close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "lookup.sock"))
    second.close()


class Counting(socket.socket):
    """A listener that counts how often it was asked for a connection."""

    asked = 0

    def _accept(self) -> tuple[int, object]:
        self.asked += 1
        return super()._accept()  # type: ignore[misc,no-any-return]


def test_without_a_descriptor_it_does_not_spin_and_answers_when_there_is_one(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accepting, "REST_SECONDS", 0.5)
    running.halt()
    listener = Counting(fileno=running.listener.detach())
    served = running.successor(listener)
    with running.connect() as client:
        client.sendall(b"192.0.2.10\n")
        with no_descriptor_left():
            served.turn(5)
            before = listener.asked
            for _ in range(100):
                served.turn(0)
            assert listener.asked == before
        served.turn(5)
        served.turn(5)
        assert client.recv(100) == b"yes"
    served.close()
    listener.close()


def test_without_a_descriptor_the_oldest_who_is_silent_makes_room_before_whoever_has_asked(running: Running) -> None:
    running.responder.hold_no(3_600_000)
    running.halt()
    served = running.responder
    with running.connect() as held, running.connect() as first, running.connect() as second, running.connect() as good:
        held.sendall(b"192.0.2.12\n")
        for client in (first, second):
            client.sendall(b"192.0.2.")
        good.sendall(b"192.0.2.10\n")
        running.bound(accept_at_once=3)
        served.turn(5)
        assert len(served) == 3
        with no_descriptor_left():
            served.turn(5)  # the map is open, though nobody had asked yet
            assert good.recv(100) == b"yes"
            assert first.recv(100) == b"no"
            second.sendall(b"10\n")
            served.turn(5)
            assert second.recv(100) == b"yes"
        assert len(served) == 1, "who has asked keeps his place"
        with running.connect() as late:
            late.sendall(b"192.0.2.10\n")
            with no_descriptor_left():
                served.turn(5)
            assert held.recv(100) == b"no"
            assert late.recv(100) == b"yes"


def test_a_map_that_comes_later_is_open_before_somebody_asks(tmp_path: Path) -> None:
    running = Running(tmp_path)
    running.halt()
    try:
        write_map(running.map, {"192.0.2.10": FAR})
        with running.connect() as client:
            running.responder._open_map_at = 0.0  # its second is over
            running.responder.turn(5)
            with no_descriptor_left():
                client.sendall(b"192.0.2.10\n")
                running.responder.turn(5)
            assert client.recv(100) == b"yes"
    finally:
        running.close()


def test_who_is_connected_is_served_before_the_responder_goes(running: Running) -> None:
    with running.connect() as waiting:
        running.halt()
        waiting.sendall(b"192.0.2.10\n")  # connected before, asks only now
        running.responder.drain()
        assert waiting.recv(100) == b"yes"


def test_who_connects_while_it_goes_waits_for_the_next(running: Running) -> None:
    running.bound(seconds=0.1)
    running.halt()
    with running.connect() as slow:
        running.responder.turn(5)
        with running.connect() as early:
            early.sendall(b"192.0.2.10\n")
            running.responder.drain()
            assert slow.recv(100) == b"no"
            early.setblocking(False)
            with pytest.raises(BlockingIOError):
                early.recv(100)
            early.settimeout(10)
            successor = running.successor(running.listener)
            successor.turn(5)
            assert early.recv(100) == b"yes"
            successor.close()


def test_a_map_that_goes_and_comes_again_while_a_no_is_held_is_looked_into(running: Running) -> None:
    running.responder.hold_no(3_600_000)
    running.halt()
    served = running.responder
    with running.connect() as client:
        client.sendall(b"192.0.2.12\n")
        served.turn(5)
        running.map.unlink()
        for _ in range(3):
            served.turn(5)
        write_map(running.map, {"192.0.2.12": FAR})
        until = time.monotonic() + 10
        while len(served) and time.monotonic() < until:
            served.turn(5)
        assert client.recv(100) == b"yes"


@pytest.mark.parametrize("known", [True, False])
def test_a_connection_that_breaks_is_dropped(tmp_path: Path, known: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:  # a unix socket does not break
        served = Responder(listener, MapReader(str(tmp_path / "relay.mdb")), 0)
        with socket.create_connection(listener.getsockname()) as client:
            if known:
                client.sendall(b"192.0.2.")
                served.turn(5)
                assert len(served) == 1
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        served.turn(5)
        assert len(served) == 0
        served.close()


class Asleep:
    """In the place of epoll: notes how long it would have waited."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    def poll(self, wait: float, _events: int) -> list[tuple[int, int]]:
        self.waits.append(wait)
        return []


@pytest.mark.parametrize(("request_", "least", "most"), [(b"", 0.1, 2), (b"192.0.2.12\n", 0, 0.005)])
def test_it_sleeps_until_somebody_who_waits_is_due(
    running: Running, monkeypatch: pytest.MonkeyPatch, request_: bytes, least: float, most: float
) -> None:
    running.responder.hold_no(3_600_000)
    running.halt()
    with running.connect() as client:
        client.sendall(request_)
        running.responder.turn(5)
        asleep = Asleep()
        monkeypatch.setattr(running.responder, "_epoll", asleep)
        for _ in range(3):
            running.responder.turn(5)
        assert len(asleep.waits) == 3
        assert min(asleep.waits) >= least, "it does not turn without a rest"
        assert max(asleep.waits) <= most
