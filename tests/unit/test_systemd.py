"""popauthd.systemd: what systemd hears, and the socket it hands over, on real sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from popauthd import systemd
from popauthd.systemd import Supervisor
from tests.support.helpers import ROOT


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    """systemd's end of the notification socket."""
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(str(tmp_path / "notify"))
    receiver.setblocking(False)
    return receiver


def heard(manager: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(manager.recv(4096).decode())
        except BlockingIOError:
            return messages


def test_readiness_and_the_end_are_told(manager: socket.socket) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": manager.getsockname()})
    supervisor.ready("watching the log")
    supervisor.stopping()
    assert heard(manager) == ["READY=1\nSTATUS=watching the log", "STOPPING=1\nSTATUS=stopping"]
    manager.close()


def test_the_status_is_told_when_it_changes(manager: socket.socket) -> None:
    supervisor = Supervisor({"NOTIFY_SOCKET": manager.getsockname()})
    supervisor.ready("watching the log")
    for text in ("watching the log", "degraded: log-missing", "degraded: log-missing", "watching the log"):
        supervisor.say(text)
    assert heard(manager)[1:] == ["STATUS=degraded: log-missing", "STATUS=watching the log"]
    manager.close()


def test_the_watchdog_is_fed_in_time_and_no_oftener() -> None:
    receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    receiver.bind(f"\0popauthd-test-{os.getpid()}")  # an abstract name, as systemd uses in containers
    receiver.setblocking(False)
    name = f"@popauthd-test-{os.getpid()}"
    for microseconds, expected in (("60000000", 1), ("1", 3)):
        supervisor = Supervisor(
            {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": microseconds, "WATCHDOG_PID": str(os.getpid())}
        )
        for _ in range(3):
            supervisor.alive()
        assert heard(receiver) == ["WATCHDOG=1"] * expected
    receiver.close()


@pytest.mark.parametrize(
    "environment",
    [{"WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}, {}],
    ids=["another process's watchdog", "garbage", "no watchdog"],
)
def test_a_watchdog_that_is_not_ours_is_not_fed(manager: socket.socket, environment: dict[str, str]) -> None:
    Supervisor({"NOTIFY_SOCKET": manager.getsockname(), **environment}).alive()
    assert heard(manager) == []
    manager.close()


def test_children_inherit_nothing_of_it(manager: socket.socket) -> None:
    environment = {
        "NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1",
        "LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "lookup", "PATH": "/bin",
    }  # fmt: skip
    Supervisor(environment)
    assert systemd.handed_over(environment) is None  # for process 1, not for us
    assert environment == {"PATH": "/bin"}
    manager.close()


def test_nobody_to_tell_is_no_trouble(tmp_path: Path) -> None:
    Supervisor({}).ready("well")
    later = Supervisor({"NOTIFY_SOCKET": str(tmp_path / "later")})
    later.ready("well")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.bind(str(tmp_path / "later"))
        receiver.setblocking(False)
        later.stopping()
        assert heard(receiver) == ["STOPPING=1\nSTATUS=stopping"]


CHILD = """
import os, sys
from popauthd import errors
from popauthd import systemd
try:
    handed = systemd.handed_over()
    print(handed and handed.getsockname())
except errors.ConfigError as error:
    print("wrong:", error)
"""


def handed_to_a_child(given: socket.socket | int, count: str) -> str:
    """What a process says that starts with `given` as its descriptor 3, as systemd does it."""
    script = 'exec 3<&"$0"; LISTEN_PID=$$ LISTEN_FDS=$1 exec "$2" -c "$3"'
    number = given if isinstance(given, int) else given.fileno()
    done = subprocess.run(
        ["bash", "-c", script, str(number), count, sys.executable, CHILD],
        pass_fds=[number], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    return done.stdout.strip()


def test_the_socket_that_is_handed_over_is_taken(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "lookup.sock"))
        listener.listen()
        assert handed_to_a_child(listener, "1") == str(tmp_path / "lookup.sock")
        assert handed_to_a_child(listener, "0") == "None"
        assert handed_to_a_child(listener, "2").startswith("wrong: 2 sockets")


def test_anything_but_a_listening_unix_socket_is_refused(tmp_path: Path) -> None:
    with (
        socket.socket(socket.AF_UNIX) as idle,
        socket.socket(socket.AF_INET) as tcp,
        (tmp_path / "f").open("w") as file,
    ):
        tcp.bind(("127.0.0.1", 0))
        tcp.listen()
        for given in (idle, tcp, file.fileno()):
            assert handed_to_a_child(given, "1").startswith("wrong: the socket that was handed over is n")
