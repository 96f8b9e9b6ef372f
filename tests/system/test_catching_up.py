"""A real watcher that reads a long log: who tells it of a login meanwhile is answered."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from popauthd.control_client import ask_status
from popauthd.sources.push.messages import OK
from tests.support.daemons import Installation, login_line
from tests.support.helpers import answers, eventually
from tests.support.push_messages import push

pytestmark = pytest.mark.system

LINES = 100_000
CLIENTS = 30_000


def line(number: int) -> bytes:
    """A login of one of many clients, each with a session of its own."""
    client = number % CLIENTS
    text = login_line(f"10.0.{client >> 8}.{client & 255}", user=f"user{client}@example.org")
    return text.replace(b"session=<", b"session=<%d" % number)


def told(installation: Installation, number: int) -> bytes:
    """Tell of a login as the post-login script does; the answer."""
    fields = (b"at=%d" % time.time(), b"address=192.0.2.%d" % number, b"user=anna", b"protocol=imap")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(installation.run_dir / "push.sock"))
        connection.sendall(push(*fields))
        return connection.recv(64)


def test_logins_that_are_told_while_a_log_is_caught_up_are_granted_soon(tmp_path: Path) -> None:
    installation = Installation(tmp_path, 'post_login = true\nhold_sessions = true\nlog_grants = "none"\n')
    installation.log.write_bytes(b"".join(map(line, range(LINES))))
    try:
        installation.start("watch")
        eventually(lambda: answers(installation.run_dir / "push.sock"), "the watcher hears scripts")
        eventually(lambda: answers(installation.run_dir / "control.sock"), "the watcher answers")
        replies: list[bytes] = []
        read = 0
        while read < LINES:
            replies.append(told(installation, 1 + len(replies) % 250))
            read = ask_status(str(installation.run_dir / "control.sock")).today.get("lines", 0)
        assert len(replies) >= 5, "nobody waits until the log has been read"
        assert set(replies) == {OK}
    finally:
        installation.close()
