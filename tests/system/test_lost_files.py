"""What is published is removed, replaced or cut short while the real processes run: it is made again, and told."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemons import Installation, login_line
from tests.support.helpers import eventually

A, B = "192.0.2.10", "192.0.2.11"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Installation]:
    """Running, with an older copy of the map in old.mdb: before A was revoked, and B granted."""
    installation = Installation(tmp_path)
    installation.start("run")
    installation.ready()
    installation.write(login_line(A))
    eventually(lambda: installation.ask(A) == "yes", "granted")
    shutil.copy(installation.run_dir / "relay.mdb", tmp_path / "old.mdb")
    assert installation.ctl("revoke", A).returncode == 0
    installation.write(login_line(B))
    eventually(lambda: published(installation), "the other one is in map and list")
    yield installation
    installation.close()


def published(installation: Installation) -> bool:
    """Whether map and list say what they should."""
    hosts = installation.run_dir / "relay-hosts"
    listed = hosts.read_text().partition(":")[0] if hosts.is_file() else ""
    return listed == B and (installation.ask(A), installation.ask(B)) == ("no", "yes")


def replace(path: Path, content: bytes) -> None:
    path.with_name("fresh").write_bytes(content)
    path.with_name("fresh").rename(path)


STRANGE_LIST = f"{A}: 9999999999\n".encode()
LOSSES: dict[str, tuple[str, Callable[[Path], object]]] = {
    "the map is removed": ("map", lambda run: (run / "relay.mdb").unlink()),
    "the map is cut short": ("map", lambda run: os.truncate(run / "relay.mdb", 4096)),
    "garbage is in the map's place": ("map", lambda run: replace(run / "relay.mdb", b"garbage" * 9000)),
    "an older map is in its place": ("map", lambda run: shutil.move(run.parent / "old.mdb", run / "relay.mdb")),
    "an older map is written over it": ("map", lambda run: shutil.copyfile(run.parent / "old.mdb", run / "relay.mdb")),
    "its lock file is cut short": ("map", lambda run: os.truncate(run / "relay.mdb-lock", 0)),
    "the host list is removed": ("hostlist", lambda run: (run / "relay-hosts").unlink()),
    "the host list is emptied": ("hostlist", lambda run: os.truncate(run / "relay-hosts", 0)),
    "another host list is in its place": ("hostlist", lambda run: replace(run / "relay-hosts", STRANGE_LIST)),
}  # fmt: skip


@pytest.mark.parametrize(("which", "lose"), LOSSES.values(), ids=LOSSES)
def test_what_was_lost_is_made_again_counted_and_told(
    running: Installation, which: str, lose: Callable[[Path], object]
) -> None:
    lose(running.run_dir)
    eventually(lambda: bool(remade(running)), "it is made again")
    eventually(lambda: published(running), "it says again what it should")
    eventually(lambda: running.status()["today"].get(f"{which}.remade") == 1, "it is counted")
    status = running.status()
    assert status["degraded"] == ""
    assert [note for note in status["notes"] if "made again" in note] == remade(running)
    assert f"{running.run_dir}/" in remade(running)[0]
    running.write(login_line("192.0.2.12"))
    eventually(lambda: running.ask("192.0.2.12") == "yes", "what comes later is published")


def remade(running: Installation) -> list[str]:
    return [note for note in running.status()["notes"] if "made again" in note]


def test_status_is_not_well_while_it_cannot_be_made_again(running: Installation) -> None:
    path = running.run_dir / "relay.mdb"
    path.rename(running.directory / "away")
    path.mkdir()
    eventually(lambda: "is in the way" in running.status()["degraded"], "status says so")
    assert running.ctl("status").returncode == 2
    running.write(login_line("192.0.2.12"))
    path.rmdir()
    eventually(lambda: running.status()["degraded"] == "", "well again")
    eventually(lambda: (running.ask(B), running.ask("192.0.2.12")) == ("yes", "yes"), "nothing was lost by it")


def test_a_watcher_whose_map_is_lost_while_it_is_down_makes_it_anew(tmp_path: Path) -> None:
    installation = Installation(tmp_path)
    try:
        installation.start("respond")
        watcher = installation.start("watch")
        installation.ready()
        installation.write(login_line(B))
        eventually(lambda: installation.ask(B) == "yes", "granted")
        watcher.send_signal(signal.SIGBUS)  # what a map that is cut short under a write does to it
        watcher.wait()
        os.truncate(installation.run_dir / "relay.mdb", 4096)
        assert installation.ask(B) == "no"
        installation.start("watch")
        eventually(lambda: installation.ask(B) == "yes", "made anew")
    finally:
        installation.close()


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def connect(installation: Installation) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(str(installation.run_dir / "lookup.sock"))
    return client


def test_a_responder_without_a_descriptor_left_idles_and_answers_whoever_comes(tmp_path: Path) -> None:
    installation = Installation(tmp_path, 'hold_no = "0ms"')
    clients: list[socket.socket] = []
    try:
        responder, _watcher = installation.start("respond"), installation.start("watch")
        installation.ready()
        installation.write(login_line(A))
        eventually(lambda: installation.ask(A) == "yes", "granted")
        used = len(list(Path(f"/proc/{responder.pid}/fd").iterdir()))
        resource.prlimit(responder.pid, resource.RLIMIT_NOFILE, (used + 2, used + 2))
        began, before = time.monotonic(), processor_seconds(responder.pid)
        clients = [connect(installation) for _ in range(6)]
        eventually(lambda: "no descriptor is left; dropping the oldest" in installation.errors("respond"), "it is said")
        assert installation.ask(A) == "yes", "beside the silent ones"
        assert [client.recv(100) for client in clients] == [b"no"] * 6
        busy = processor_seconds(responder.pid) - before
        assert busy < (time.monotonic() - began) / 2, "a loop that spins takes all of a processor"
        assert installation.ask(A) == "yes"
        assert installation.errors("respond").count("no descriptor is left") == 1
    finally:
        for client in clients:
            client.close()
        installation.close()
