"""popauthd.watch.control: the loop of the control socket. What the commands do is for the tests of commands."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pwd
import selectors
import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from popauthd.errors import PopauthdError, StoreError, UnavailableError, UsageError
from popauthd.protocol import CONTROL_BYTES
from popauthd.serving.unix_socket import listen
from popauthd.store.books import Books
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from popauthd.watch.commands import handle
from popauthd.watch.control import ControlServer, Handler
from popauthd.watch.watcher import Watcher
from tests.support.helpers import no_descriptor_left
from tests.support.policy import default_limits
from tests.support.watching import housekeeping_of

NOBODY = pwd.getpwnam("nobody")
REPLY = b'{"done":true}\n'


@contextlib.contextmanager
def as_effective_user(uid: int) -> Iterator[None]:
    """Act as this user, if we are root; else as we are."""
    if os.getuid() != 0:
        yield
        return
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


class Serving:
    """A control server turned by hand; asked: the requests that its handler got. error: what the handler raises."""

    def __init__(self, directory: Path, mode: int = 0o600) -> None:
        self.path = str(directory / "control.sock")
        self.listener = listen(self.path, mode)
        self.selector = selectors.DefaultSelector()
        self.asked: list[Mapping[str, Any]] = []
        self.error: PopauthdError | None = None
        self.carry_out: Handler = self.handle
        self.server = ControlServer(self.listener, lambda request: self.carry_out(request), self.selector)

    def handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        if "wrong" in request:
            raise UsageError("wrong")
        if self.error is not None:
            raise self.error
        return {"done": True}

    def turn(self) -> None:
        for key, _events in self.selector.select(0):
            key.data()
        self.server.drop_slow()

    def bound(self, **bounds: Any) -> None:
        """Give it other Bounds, by name."""
        clients = self.server._clients
        clients.bounds = dataclasses.replace(clients.bounds, **bounds)

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(20)
        connection.connect(self.path)
        return connection

    def close(self) -> None:
        self.server.close()
        self.selector.close()
        self.listener.close()


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    made = Serving(tmp_path)
    yield made
    made.close()


def test_a_request_may_come_byte_by_byte(serving: Serving) -> None:
    with serving.connect() as client:
        serving.turn()
        for byte in b'{"command":"status"}\n':
            assert serving.asked == []
            client.send(bytes([byte]))
            serving.turn()
        assert serving.asked == [{"command": "status"}]
        assert client.recv(100) == REPLY
        assert client.recv(100) == b""


def test_a_request_may_come_in_two_pieces(serving: Serving) -> None:
    with serving.connect() as client:
        client.sendall(b'{"command":')
        serving.turn()
        serving.turn()
        assert serving.asked == []
        client.sendall(b'"status"}\n')
        serving.turn()
        assert serving.asked == [{"command": "status"}]
        assert client.recv(100) == REPLY


ANSWERS = [
    ("not JSON", b"hello\n", b"not JSON"),
    ("a number of many digits", b'{"a":' + b"9" * 60000 + b"}\n", b"not JSON"),
    ("nested deeply", b"[" * 60000 + b"\n", b"not JSON"),
    ("two lines", b"{}\n{}\n", b"more than one line"),
    ("no end", b"x" * (CONTROL_BYTES + 1), b"too long"),
    ("what the handler refuses", b'{"wrong":1}\n', b'"wrong"'),
]


@pytest.mark.parametrize(("data", "why"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_what_is_wrong_is_said(serving: Serving, data: bytes, why: bytes) -> None:
    with serving.connect() as client:
        client.sendall(data)
        for _ in range(20):
            serving.turn()
        reply = client.recv(1000)
        assert why in reply
        assert b'"exit_code":64' in reply


ERRORS = [
    ("a request that cannot be done", UsageError("no such address"), 64),
    ("the disk is full", StoreError("the disk is full"), 74),
    ("what is not there", UnavailableError("the journal is gone"), 69),
]


@pytest.mark.parametrize(("error", "exit_code"), [row[1:] for row in ERRORS], ids=[row[0] for row in ERRORS])
def test_an_error_is_the_reply_with_its_exit_code(serving: Serving, error: PopauthdError, exit_code: int) -> None:
    serving.error = error
    with serving.connect() as client:
        client.sendall(b"{}\n")
        serving.turn()
        serving.turn()
        assert json.loads(client.recv(1000)) == {"error": str(error), "exit_code": exit_code}
        assert client.recv(10) == b"", "one request a connection"


def test_a_command_that_is_not_known_is_answered_with_those_that_are(serving: Serving, tmp_path: Path) -> None:
    publisher = Publisher(MapWriter(str(tmp_path / "relay.mdb")))
    ledger, housekeeping = housekeeping_of(Books(str(tmp_path / "books.mdb")), publisher, default_limits(), lambda: 0)
    watcher = Watcher(ledger, housekeeping, [])
    serving.carry_out = lambda request: handle(watcher, request)
    with serving.connect() as client:
        client.sendall(b'{"command":"stop"}\n')
        serving.turn()
        serving.turn()
        error = "unknown command; known are status, grant, revoke, reload, failed"
        assert json.loads(client.recv(1000)) == {"error": error, "exit_code": 64}
    watcher.close()


@pytest.mark.parametrize("uid", [NOBODY.pw_uid, 0], ids=["another user", "root"])
def test_another_users_process_is_refused_and_it_is_logged(uid: int, caplog: pytest.LogCaptureFixture) -> None:
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)  # everybody can reach it, as tmp_path is not
        serving = Serving(Path(name), mode=0o666)
        with as_effective_user(uid):
            client = serving.connect()  # the kernel notes who connects
        serving.turn()
        heard = len(serving.selector.get_map()) == 2
        client.close()
        serving.close()
    refused = [f"control: refused uid={uid} clients=0"] if uid == NOBODY.pw_uid and os.getuid() == 0 else []
    assert heard is not bool(refused), "who is not root cannot connect as another user, and is heard"
    assert [record.getMessage() for record in caplog.records] == refused


def test_one_turn_accepts_several(serving: Serving) -> None:
    waiting = [serving.connect() for _ in range(3)]
    serving.turn()
    assert len(serving.selector.get_map()) == 4
    for client in waiting:
        client.close()
    serving.turn()
    assert len(serving.selector.get_map()) == 1


def test_who_is_silent_is_dropped(serving: Serving) -> None:
    serving.bound(seconds=0.0)
    with serving.connect() as client:
        serving.turn()
        assert client.recv(10) == b""


def test_who_sends_no_more_than_a_part_of_a_request_is_dropped(serving: Serving) -> None:
    with serving.connect() as client:
        client.sendall(b'{"command":')
        serving.turn()
        serving.turn()
        (slow,) = serving.server._clients._open
        serving.server._clients.keep_until(slow, 0.0)  # its seconds are over
        serving.turn()
        assert client.recv(10) == b""
    assert (serving.asked, len(serving.selector.get_map())) == ([], 1)


def test_there_is_a_bound(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    serving.bound(clients=2)
    clients = [serving.connect() for _ in range(3)]
    serving.turn()
    assert clients[2].recv(10) == b""
    assert [record.getMessage() for record in caplog.records] == [f"control: refused uid={os.geteuid()} clients=2"]
    clients[0].sendall(b"{}\n")
    serving.turn()
    assert clients[0].recv(100) == REPLY
    for client in clients:
        client.close()


def test_32_clients_are_heard_at_the_same_time(serving: Serving) -> None:
    clients = [serving.connect() for _ in range(33)]
    for _ in range(3):
        serving.turn()
    for client in clients[:32]:
        client.sendall(b"{}\n")
    for _ in range(3):
        serving.turn()
    assert [client.recv(100) for client in clients] == [REPLY] * 32 + [b""]
    for client in clients:
        client.close()


def test_without_a_descriptor_those_who_are_in_are_answered(serving: Serving, caplog: pytest.LogCaptureFixture) -> None:
    with serving.connect() as inside, serving.connect() as late:
        serving.turn()
        with socket.socket(socket.AF_UNIX) as waiting:
            with no_descriptor_left():
                waiting.connect(serving.path)
                serving.turn()
                assert serving.selector.select(0) == [], "the loop would spin"
                assert 0 < serving.server.wait(60) < 60
                inside.sendall(b"{}\n")
                serving.turn()
                assert inside.recv(100) == REPLY
            waiting.sendall(b"{}\n")
            late.sendall(b"{}\n")
            serving.turn()
            assert late.recv(100) == REPLY
            serving.selector.select(serving.server.wait(60))
            for _ in range(3):
                serving.turn()
            assert waiting.recv(100) == REPLY
    said = [record.getMessage() for record in caplog.records]
    assert said == ["cannot accept a client for now, those who are in are served: Too many open files"]
