"""The doctor asks where Dovecot tells of logins: who is heard, who is not, and what else may be listening."""

from __future__ import annotations

import functools
import socket
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from popauthd.config import from_mapping
from popauthd.doctor.push import push
from popauthd.doctor.verdicts import FAIL, OK, Verdict
from popauthd.serving.unix_socket import listen
from popauthd.sources.push import auth_policy
from popauthd.sources.push import post_login as pushsource
from tests.servers.place import free_port
from tests.support.push_messages import NOBODY, SECRET
from tests.support.pushing import Running

GROUP = "nogroup"


def verdicts(**settings: Any) -> list[Verdict]:
    return list(push(from_mapping({"group": GROUP, **settings}, "test")))


def test_what_is_not_configured_is_one_line() -> None:
    (found,) = verdicts()
    assert found.state == OK


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A directory that everybody can reach, as tmp_path is not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def script(run_dir: Path, allowed: tuple[int, ...] = (), mode: int = 0o666, **settings: Any) -> list[Verdict]:
    """What is found of a script's socket that hears these users; nothing is ever told or counted as such."""
    listener = listen(str(run_dir / "push.sock"), mode)
    running = Running(listener, functools.partial(pushsource.PushServer, allowed=allowed), str(run_dir / "push.sock"))
    try:
        found = verdicts(post_login=True, run_dir=str(run_dir), **settings)
        assert running.entered == []
        assert {*running.server.counts} <= {"push.forbidden"}
    finally:
        running.close()
    return found


def test_the_scripts_user_is_heard(run_dir: Path) -> None:
    path = run_dir / "push.sock"
    assert script(run_dir) == [Verdict(OK, f"root is heard on {path}")]
    found = script(run_dir, (NOBODY,), push_users=["nobody", "root"])
    assert found == [Verdict(OK, f"{user} is heard on {path}") for user in ("nobody", "root")]


def test_the_group_of_the_snippet_lets_the_script_in(run_dir: Path) -> None:
    run_dir.chmod(0o750)
    (found,) = script(run_dir, (1,), 0o666, push_users=["daemon"], group="root")
    assert found.state == OK


def test_a_user_that_is_not_heard_is_told(run_dir: Path) -> None:
    (found,) = script(run_dir, push_users=["nobody"])
    assert found.state == FAIL
    assert "nobody is cut off" in found.seen
    assert "push_users" in found.advice


def test_a_socket_that_cannot_be_reached_is_told(run_dir: Path) -> None:
    (found,) = script(run_dir, (NOBODY,), 0o600, push_users=["nobody"])
    assert found.state == FAIL
    assert "Permission denied" in found.seen
    assert f"extra_groups = {GROUP}" in found.advice
    (run_dir / "push.sock").unlink()
    (found,) = verdicts(post_login=True, run_dir=str(run_dir))
    assert (found.state, found.seen.count("No such file")) == (FAIL, 1)


def policy(port: int, secret: Path) -> Verdict:
    where = f"127.0.0.1:{port}"
    (found,) = verdicts(auth_policy_listen=where, auth_policy_secret_file=str(secret))
    assert SECRET.decode() not in found.seen + found.advice
    return found


def test_an_auth_policy_server_that_answers_is_fine_until_its_secret_is_another(secret: Path) -> None:
    listener = auth_policy.listen("127.0.0.1:0")
    port = listener.getsockname()[1]
    running = Running(listener, functools.partial(auth_policy.PolicyServer, secret=SECRET))
    try:
        found = policy(port, secret)
        assert found == Verdict(OK, f"answers on 127.0.0.1:{port}, and knows the secret")
        running.counted(auth_policy_allow=1)
        secret.write_bytes(b"another-secret-of-16")
        found = policy(port, secret)
        assert found.state == FAIL
        assert "another secret" in found.seen
        secret.chmod(0o644)
        assert "everybody may read it" in policy(port, secret).seen
        secret.unlink()
        assert "cannot be read" in policy(port, secret).seen
    finally:
        running.close()


def test_where_nobody_listens_the_drop_in_is_named(secret: Path) -> None:
    found = policy(free_port(), secret)
    assert found.state == FAIL
    assert "nobody listens" in found.seen
    assert "/usr/share/doc/popauthd/examples/auth-policy.conf" in found.advice


OTHERS = [
    ("garbage", bytes(range(256))),
    ("silence", b""),
    ("a web server", b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
    ("another auth policy server", b'HTTP/1.1 200 OK\r\nContent-Length: 26\r\n\r\n{"status":0,"msg":"maybe"}'),
    ("a list", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]"),
    ("no JSON", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"),
]


@pytest.mark.parametrize("reply", [row[1] for row in OTHERS], ids=[row[0] for row in OTHERS])
def test_another_program_on_the_port_is_told(secret: Path, reply: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def answer() -> None:
            with listener.accept()[0] as client:
                client.recv(4096)
                client.sendall(reply)

        thread = threading.Thread(target=answer)
        thread.start()
        found = policy(port, secret)
        thread.join()
    assert found.state == FAIL
    assert "it is not popauthd that answers" in found.seen
    assert f":{port}" in found.advice
