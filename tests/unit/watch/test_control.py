"""popauthd.watch.control: the loop of the control socket. What the commands do is for the tests of commands."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from popauthd.errors import UsageError
from popauthd.protocol import CONTROL_BYTES
from popauthd.watch import control
from popauthd.watch.control import ControlServer, listen
from tests.support.helpers import no_descriptor_left

REPLY = b'{"done":true}\n'


class Serving:
    """A control server turned by hand; asked: the requests that its handler got."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "control.sock")
        self.listener = listen(self.path, 0o600)
        self.selector = selectors.DefaultSelector()
        self.asked: list[Mapping[str, Any]] = []
        self.server = ControlServer(self.listener, self.handle, self.selector)

    def handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self.asked.append(request)
        if "wrong" in request:
            raise UsageError("wrong")
        return {"done": True}

    def turn(self) -> None:
        for key, _events in self.selector.select(0):
            key.data()
        self.server.drop_slow()

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


def test_one_turn_accepts_several(serving: Serving) -> None:
    waiting = [serving.connect() for _ in range(3)]
    serving.turn()
    assert len(serving.selector.get_map()) == 4
    for client in waiting:
        client.close()
    serving.turn()
    assert len(serving.selector.get_map()) == 1


def test_who_is_silent_is_dropped(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "CLIENT_SECONDS", 0.0)
    with serving.connect() as client:
        serving.turn()
        assert client.recv(10) == b""


def test_there_is_a_bound(serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "MAX_CLIENTS", 2)
    clients = [serving.connect() for _ in range(3)]
    serving.turn()
    assert clients[2].recv(10) == b""
    clients[0].sendall(b"{}\n")
    serving.turn()
    assert clients[0].recv(100) == REPLY
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
