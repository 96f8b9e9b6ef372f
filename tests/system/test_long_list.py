"""A host list so long that a process of its own writes it, with a real watcher."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

import pytest

from popauthd.config import load
from popauthd.model import Grant
from popauthd.processes import pids
from popauthd.store.books import Books
from popauthd.watch.assembly import rules
from tests.support.daemons import Installation, login_line
from tests.support.helpers import answers, eventually

pytestmark = pytest.mark.system

A, B, REVOKED = "192.0.2.10", "192.0.2.11", "10.0.1.7"
MANY = 12_000


@pytest.fixture
def many(installation: Installation) -> Installation:
    """A watcher with many grants."""
    settings = load(str(installation.config))
    Path(settings.state_dir).mkdir()
    books, now = Books(settings.books_path, rules(settings)), int(time.time())
    with books.writing() as writing:
        for number in range(MANY):
            client = f"10.0.{number >> 8}.{number & 255}"
            writing.logins.grant(Grant(client, f"user{number}", now, now + 900, "dovecot", 0, "imap", "PLAIN", True))
    books.close()
    installation.start("watch")
    eventually(lambda: answers(installation.run_dir / "control.sock"), "it is ready")
    return installation


def writers(installation: Installation) -> list[int]:
    """The processes that write this installation's list."""
    found = []
    for pid in pids():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if {b"popauthd.store.host_list_writer", str(installation.run_dir / "relay-hosts").encode()} <= set(words):
                found.append(pid)
    return found


def test_it_is_whole_when_the_watcher_is_ready_and_follows_what_happens(many: Installation) -> None:
    assert len(many.host_list()) == MANY
    many.write(login_line(A))
    eventually(lambda: A in many.host_list(), "the new one is in it")
    assert len(many.host_list()) == MANY + 1
    assert len(writers(many)) == 1
    assert many.ctl("revoke", REVOKED).returncode == 0
    assert REVOKED not in many.host_list(), "at once"
    many.write(login_line(B))
    eventually(lambda: B in many.host_list(), "the next one")
    assert {A, B} <= many.host_list().keys()
    assert REVOKED not in many.host_list()


def test_where_the_process_is_killed_the_list_goes_on_and_status_tells(many: Installation) -> None:
    (writer,) = writers(many)
    os.kill(writer, signal.SIGKILL)
    many.write(login_line(A))
    eventually(lambda: A in many.host_list(), "the watcher writes it")
    said = many.ctl("status").stdout.decode()
    assert "the process that writes the host list was killed by signal 9" in said
    many.write(login_line(B))
    eventually(lambda: B in many.host_list(), "and again")


def test_it_ends_with_its_watcher_however_that_ends(many: Installation) -> None:
    (writer,) = writers(many)
    os.kill(writer, signal.SIGSTOP)
    many.write(login_line(A))
    many.processes[0].kill()
    many.processes[0].wait()
    os.kill(writer, signal.SIGCONT)
    eventually(lambda: writers(many) == [], "it has no watcher any more")
    assert A not in many.host_list()
    again = many.start("watch")
    eventually(lambda: A in many.host_list(), "the next watcher")
    assert many.ctl("revoke", A).returncode == 0
    again.send_signal(signal.SIGTERM)
    assert again.wait(20) == 0
    assert writers(many) == []
    assert A not in many.host_list()
