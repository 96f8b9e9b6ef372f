"""What /proc shows of processes, ports and sockets."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd import processes
from popauthd.processes import Port


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A program of our own that runs, and its process."""
    program = Path(shutil.copy("/bin/sleep", tmp_path / "sleeper"))
    with subprocess.Popen([program, "60"]) as process:
        yield program, process.pid
        process.kill()


def test_a_program_that_is_replaced_while_it_runs_is_gone(sleeper: tuple[Path, int]) -> None:
    path, pid = sleeper
    assert processes.program(pid) == (path, False)
    path.unlink()
    shutil.copy("/bin/sleep", path)
    assert processes.program(pid) == (path, True)
    assert processes.words(pid) == [str(path), "60"]
    assert pid in set(processes.pids())


def test_a_start_is_told_in_epoch_seconds(sleeper: tuple[Path, int]) -> None:
    _path, pid = sleeper
    assert -2 < time.time() - processes.started_at(pid) < 60
    assert processes.started_at(1) <= processes.started_at(pid) + 0.1


def test_what_has_ended_is_as_what_was_never_there() -> None:
    with subprocess.Popen(["/bin/true"]) as process:
        process.wait()
    assert processes.program(process.pid) is None
    assert processes.words(process.pid) == []
    assert processes.sockets(process.pid) == set()


@pytest.mark.parametrize(
    ("family", "address"), [(socket.AF_INET, "127.0.0.3"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"]
)
def test_who_takes_connections_is_found_by_the_port(family: socket.AddressFamily, address: str) -> None:
    with socket.socket(family) as listener:
        listener.bind((address, 0))
        port = listener.getsockname()[1]
        assert port not in {found.port for found in processes.ports().values()}
        listener.listen()
        inode = os.fstat(listener.fileno()).st_ino
        assert processes.ports()[inode] == Port(port, address)
        assert inode in processes.sockets(os.getpid())


def test_who_listens_on_a_path_is_found_by_it(tmp_path: Path) -> None:
    path = str(tmp_path / "a socket")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as client:
        listener.bind(path)
        assert processes.listeners(path) == set()
        listener.listen()
        client.connect(path)
        assert processes.listeners(path) == {os.fstat(listener.fileno()).st_ino}


@pytest.mark.parametrize(
    ("address", "loopback", "shown"),
    [
        ("127.0.0.1", True, "127.0.0.1:25"),
        ("127.9.9.9", True, "127.9.9.9:25"),
        ("::1", True, "[::1]:25"),
        ("::ffff:127.0.0.1", True, "[::ffff:127.0.0.1]:25"),
        ("0.0.0.0", False, "0.0.0.0:25"),
        ("::", False, "[::]:25"),
        ("192.0.2.1", False, "192.0.2.1:25"),
        ("::ffff:192.0.2.1", False, "[::ffff:192.0.2.1]:25"),
    ],
)
def test_an_address_that_only_this_machine_reaches(address: str, loopback: bool, shown: str) -> None:
    assert Port(25, address).loopback is loopback
    assert str(Port(25, address)) == shown
