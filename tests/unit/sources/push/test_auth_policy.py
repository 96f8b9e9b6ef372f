"""popauthd.sources.push.auth_policy: reports with the secret are heard; nobody else changes anything."""

from __future__ import annotations

import functools
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.errors import ConfigError
from popauthd.sources.push import auth_policy
from popauthd.sources.push.auth_policy import PolicyServer, listen, read_secret
from tests.support.push_messages import CLOSE, NOW, REPORT, SECRET, request, status
from tests.support.pushing import Running


def start() -> Running:
    return Running(listen("127.0.0.1:0"), functools.partial(PolicyServer, secret=SECRET, clock=lambda: NOW))


@pytest.fixture
def running() -> Iterator[Running]:
    started = start()
    yield started
    started.close()


def test_a_reported_login_is_entered(running: Running) -> None:
    reply = running.ask(request(more=CLOSE))
    assert reply.endswith(b'\r\n\r\n{"status": 0, "msg": "granted"}')
    assert [(login.address, login.user, login.tls) for login in running.entered] == [("192.0.2.7", "anna", True)]
    running.counted(auth_policy_granted=1)


def test_a_connection_is_kept_and_requests_may_follow_each_other(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(request() * 100)
        data = b""
        while data.count(b'"granted"') < 100:
            data += connection.recv(65536)
    running.counted(auth_policy_granted=100)


def test_a_request_may_come_byte_by_byte(running: Running) -> None:
    assert status(running.ask(*(bytes([byte]) for byte in request(more=CLOSE)))) == 200


def test_whoever_asks_may_go_on(running: Running) -> None:
    reply = running.ask(request(b"whatever", b"/?command=allow", more=CLOSE))
    assert reply.endswith(b'{"status": 0, "msg": "continue"}')
    running.counted(auth_policy_allow=1)


def test_a_report_that_waited_counts_from_when_it_was_sent(running: Running) -> None:
    running.ask(request(more=CLOSE + b"Date: Mon, 23 Nov 2026 21:00:00 GMT\r\n"))
    assert [login.at for login in running.entered] == [NOW - 1800]


ANSWERS = [
    ("a failure", request(json.dumps({**REPORT, "success": False}).encode(), more=CLOSE), 200, "auth_policy_failed"),
    (
        "smtp",
        request(json.dumps({**REPORT, "protocol": "smtp"}).encode(), more=CLOSE),
        200,
        "auth_policy_other-service",
    ),
    ("proxied", request(json.dumps({**REPORT, "proxy": ""}).encode(), more=CLOSE), 200, "auth_policy_proxied"),
    ("no report", request(b"{}"), 400, "auth_policy_400"),
    ("not JSON", request(b"login"), 400, "auth_policy_400"),
    ("no secret", request(secret=b""), 403, "auth_policy_403"),
    ("another secret", request(secret=SECRET + b"x"), 403, "auth_policy_403"),
    ("not ASCII for a secret", request(secret=b"\xff"), 403, "auth_policy_403"),
    (
        "the secret where it does not belong",
        request(secret=b"", more=b"X-Key: " + SECRET + b"\r\n"),
        403,
        "auth_policy_403",
    ),
    ("GET", request(b"", method=b"GET"), 405, "auth_policy_405"),
    ("no command", request(target=b"/"), 404, "auth_policy_404"),
    ("another command", request(target=b"/?command=reset"), 404, "auth_policy_404"),
    ("two commands", request(target=b"/?command=allow&command=report"), 404, "auth_policy_404"),
    ("another path", request(target=b"//?command=report"), 404, "auth_policy_404"),
    ("a whole URL", request(target=b"http://127.0.0.1/?command=report"), 404, "auth_policy_404"),
    ("two lengths", request(more=b"Content-Length: 0\r\n"), 400, "auth_policy_400"),
    ("chunked", request(more=b"Transfer-Encoding: chunked\r\n"), 501, "auth_policy_501"),
    ("not HTTP", b"\0" * 50, 400, "auth_policy_400"),
]


@pytest.mark.parametrize(("data", "code", "counted"), [row[1:] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def test_whatever_else_comes_is_answered_counted_and_ends(
    running: Running, data: bytes, code: int, counted: str
) -> None:
    with running.connect() as connection:
        connection.sendall(data)
        reply = connection.recv(4096)
        assert status(reply) == code
        assert connection.recv(4096) == b""
    assert running.entered == []
    running.counted(**{counted: 1})


def test_nothing_behind_a_refused_request_is_read(running: Running) -> None:
    with running.connect() as connection:
        connection.sendall(request(more=b"Transfer-Encoding: chunked\r\n") + request())
        assert status(connection.recv(4096)) == 501
    running.counted(auth_policy_501=1)
    assert running.entered == []


def test_a_full_disk_is_told_and_policys_no_is_not_an_error(running: Running) -> None:
    running.verdict = None
    assert status(running.ask(request(more=CLOSE))) == 503
    running.verdict = False
    assert status(running.ask(request(more=CLOSE))) == 200
    running.counted(auth_policy_trouble=1, auth_policy_refused=1)


def test_strangers_cannot_shut_dovecot_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any local user can connect; who has shown no secret makes room for who has."""
    monkeypatch.setattr(auth_policy, "MAX_CLIENTS", 10)
    running = start()
    dovecot = running.connect()
    dovecot.sendall(request())
    assert status(dovecot.recv(4096)) == 200
    silent = [running.connect() for _ in range(60)]
    assert status(running.ask(request(more=CLOSE))) == 200
    dovecot.sendall(request())
    assert status(dovecot.recv(4096)) == 200
    for connection in (dovecot, *silent):
        connection.close()
    running.close()


def test_slow_clients_are_dropped_and_idle_ones_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth_policy, "REQUEST_SECONDS", 0.2)
    running = start()
    with running.connect() as idle, running.connect() as slow:
        idle.sendall(request())
        assert status(idle.recv(4096)) == 200
        slow.sendall(request()[:50])
        assert slow.recv(4096) == b""
        idle.sendall(request()[:50])  # no longer idle
        assert idle.recv(4096) == b""
    running.close()


PLACES = [
    "",
    "4001",
    ":4001",
    "0.0.0.0:4001",
    "192.0.2.1:4001",
    "localhost:4001",
    "127.0.0.1:70000",
    "127.0.0.1",
    "[::]:1",
]


@pytest.mark.parametrize("place", PLACES)
def test_only_loopback_is_listened_on(place: str) -> None:
    with pytest.raises(ConfigError, match="is no loopback address and port"):
        listen(place)


def test_a_place_that_is_taken_is_a_configuration_error() -> None:
    with listen("[::1]:0") as taken, pytest.raises(ConfigError, match="cannot listen on"):
        assert taken.family == socket.AF_INET6
        listen(f"[::1]:{taken.getsockname()[1]}")


SECRETS = [
    ("fine", b"0123456789abcdef\n", 0o640, None),
    ("everybody may read it", b"0123456789abcdef\n", 0o644, "everybody may read it"),
    ("short", b"0123456789abcde\n", 0o600, "must be one line"),
    ("two lines", b"0123456789abcdef\n0123456789abcdef\n", 0o600, "must be one line"),
    ("a blank", b"0123456789 abcdef\n", 0o600, "must be one line"),
    ("endless", b"x" * 100_000, 0o600, "must be one line"),
]


@pytest.mark.parametrize(("text", "mode", "why"), [row[1:] for row in SECRETS], ids=[row[0] for row in SECRETS])
def test_a_secret_is_one_line_that_few_may_read(tmp_path: Path, text: bytes, mode: int, why: str | None) -> None:
    path = tmp_path / "secret"
    path.write_bytes(text)
    path.chmod(mode)
    if why is None:
        assert read_secret(str(path)) == text.strip()
        return
    with pytest.raises(ConfigError, match=why):
        read_secret(str(path))


def test_a_secret_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        read_secret(str(tmp_path / "none"))
