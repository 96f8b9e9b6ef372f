"""popauthd.sources.push.post_login: who may tell is heard at once, whoever else pushes and shoves."""

from __future__ import annotations

import functools
import os
import selectors
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.errors import ConfigError, StoreBrokenError
from popauthd.serving.unix_socket import listen
from popauthd.sources.push import post_login
from popauthd.sources.push.messages import ASK
from popauthd.sources.push.post_login import PushServer
from tests.support.push_messages import ALL, NEEDED, NOBODY
from tests.support.push_messages import push as message
from tests.support.pushing import Running


def serve(path: Path, mode: int = 0o600, allowed: tuple[int, ...] = ()) -> Running:
    return Running(listen(str(path), mode), functools.partial(PushServer, allowed=allowed), str(path))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    started = serve(tmp_path / "push.sock")
    yield started
    started.close()


def test_a_login_is_entered_before_the_reply(running: Running) -> None:
    assert running.ask(message(*ALL)) == b"granted\n"
    assert [login.user for login in running.entered] == ["anna"]
    running.counted(push_granted=1)


def test_a_message_may_come_byte_by_byte(running: Running) -> None:
    assert running.ask(*(bytes([byte]) for byte in message(*ALL))) == b"granted\n"


def test_a_login_that_policy_refuses_is_answered(running: Running) -> None:
    running.verdict = False
    assert running.ask(message(*ALL)) == b"refused\n"
    running.counted(push_refused=1)


def test_whoever_asks_is_heard_and_nothing_is_counted(running: Running) -> None:
    assert running.ask(ASK) == b"heard\n"
    running.counted()
    assert running.entered == []


def test_a_login_that_cannot_be_entered_is_refused(running: Running) -> None:
    running.verdict = None
    assert running.ask(message(*ALL)) == b"refused\n"
    running.counted(push_trouble=1)


def test_books_that_are_broken_end_the_process(tmp_path: Path) -> None:
    def broken(_login: object) -> bool:
        raise StoreBrokenError("a commit failed half-way")

    with listen(str(tmp_path / "push.sock"), 0o600) as listener:
        selector = selectors.DefaultSelector()
        server = PushServer(listener, broken, selector)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "push.sock"))
            client.sendall(message(*ALL))
            with pytest.raises(StoreBrokenError):
                selector.select()[0][0].data()
        server.close()
        selector.close()


HOSTILE = [
    ("garbage", os.urandom(4000)),
    ("a long line", b"x" * 100_000),
    ("NULs", b"\0" * 100),
    ("a long name", message(*NEEDED[:2], b"user=" + b"x" * 3000, NEEDED[3])),
    ("two logins in one", message(*NEEDED) * 2),
    ("a second field in the name", message(*NEEDED[:2], b"user=a", b"user=b", NEEDED[3])),
]


@pytest.mark.parametrize("data", [row[1] for row in HOSTILE], ids=[row[0] for row in HOSTILE])
def test_nonsense_is_refused_and_counted(running: Running, data: bytes) -> None:
    with running.connect() as connection:
        connection.send(data)
        running.counted(push_bad=1)
    assert running.entered == []


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that everybody can reach, as tmp_path is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_who_may_not_tell_is_not_heard(open_directory: Path) -> None:
    """Root's and our own messages are heard; anybody else's only if he is named."""
    for allowed, reply in (((), b""), ((NOBODY,), b"granted\n")):
        path = open_directory / f"push-{len(allowed)}.sock"
        running = serve(path, 0o666, allowed)
        code = (
            "import os, socket, sys\n"
            "if os.getuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "client = socket.socket(socket.AF_UNIX); client.connect(sys.argv[1])\n"
            "try: client.sendall(sys.stdin.buffer.read()); sys.stdout.buffer.write(client.recv(100))\n"
            "except ConnectionError: pass"
        )
        told = subprocess.run([sys.executable, "-c", code, path], input=message(*ALL), capture_output=True, check=True)
        own = os.getuid() != 0  # then the child could not become anybody else
        assert told.stdout == (b"granted\n" if own else reply)
        running.counted(**({"push_granted": 1} if own or reply else {"push_forbidden": 1}))
        running.close()


def test_silent_clients_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_login, "CLIENT_SECONDS", 0.1)
    running = serve(tmp_path / "push.sock")
    silent = [running.connect() for _ in range(50)]
    silent[0].sendall(message(*ALL)[:30])
    assert [connection.recv(100) for connection in silent] == [b""] * 50
    for connection in silent:
        connection.close()
    running.close()


def test_a_flood_of_connections_does_not_shut_out_a_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(post_login, "MAX_CLIENTS", 10)
    running = serve(tmp_path / "push.sock")
    silent = [running.connect() for _ in range(100)]
    assert running.ask(message(*ALL)) == b"granted\n"
    for connection in silent:
        connection.close()
    running.close()


def test_a_turn_accepts_a_part_of_a_flood_so_that_the_watcher_has_its_own(tmp_path: Path) -> None:
    with listen(str(tmp_path / "push.sock"), 0o600) as listener:
        selector = selectors.DefaultSelector()
        server = PushServer(listener, lambda _login: True, selector)
        flood = []
        for _ in range(100):
            client = socket.socket(socket.AF_UNIX)
            client.connect(str(tmp_path / "push.sock"))
            flood.append(client)
        selector.select()[0][0].data()
        assert len(selector.get_map()) - 1 <= 16
        for client in flood:
            client.close()
        server.close()
        selector.close()


def test_a_user_that_is_not_there_is_a_configuration_error() -> None:
    assert post_login.uids(["root"]) == {0}
    with pytest.raises(ConfigError, match="push_users: this machine has no user 'no-such-user'"):
        post_login.uids(["root", "no-such-user"])
