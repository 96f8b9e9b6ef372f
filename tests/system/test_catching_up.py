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

LINES = 60_000
CLIENTS = 30_000
SECONDS = 1.0  # popauthd's own part of it is a tenth of that; the machine may be busy


def line(number: int) -> bytes:
    """A login of one of many clients, each with a session of its own."""
    client = number % CLIENTS
    text = login_line(f"10.0.{client >> 8}.{client & 255}", user=f"user{client}@example.org")
    return text.replace(b"session=<", b"session=<%d" % number)


def told(installation: Installation, number: int) -> tuple[bytes, float]:
    """Tell of a login as the post-login script does; the answer, and after how long it came."""
    fields = (b"at=%d" % time.time(), b"address=192.0.2.%d" % number, b"user=anna", b"protocol=imap")
    begin = time.monotonic()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(60)
        connection.connect(str(installation.run_dir / "push.sock"))
        connection.sendall(push(*fields))
        return connection.recv(64), time.monotonic() - begin


def test_logins_that_are_told_while_a_log_is_caught_up_are_granted_soon(tmp_path: Path) -> None:
    installation = Installation(tmp_path, 'post_login = true\nhold_sessions = true\nlog_grants = "none"\n')
    installation.log.write_bytes(b"".join(map(line, range(LINES))))
    try:
        installation.start("watch")
        eventually(lambda: answers(installation.run_dir / "control.sock"), "the watcher answers")
        replies: list[tuple[bytes, float]] = []
        read = 0
        while read < LINES:
            replies.append(told(installation, 1 + len(replies) % 250))
            read = ask_status(str(installation.run_dir / "control.sock")).today.get("lines", 0)
        assert len(replies) >= 5, "the log was still being read"
        assert {reply for reply, _seconds in replies} == {OK}
        assert sorted(seconds for _reply, seconds in replies)[len(replies) * 9 // 10] < SECONDS
    finally:
        installation.close()
