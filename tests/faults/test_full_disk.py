"""A store that cannot grow (a full disk, here a limit on file sizes): answers go on, nothing is lost or invented."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import LIFETIME, Installation, login_line
from tests.support.helpers import eventually

UNLIMITED = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    made.close()


def addresses(number: int) -> list[str]:
    return [f"10.0.{index >> 8}.{index & 255}" for index in range(number)]


def test_a_full_disk_is_told_and_what_was_missed_is_caught_up_when_it_ends(installation: Installation) -> None:
    installation.start("respond")
    watcher = installation.start("watch")
    installation.ready()
    at = int(time.time())
    installation.write(login_line("192.0.2.10", at=at))
    eventually(lambda: installation.ask("192.0.2.10") == "yes", "granted")
    grown = (installation.directory / "state" / "books.mdb").stat().st_size
    resource.prlimit(watcher.pid, resource.RLIMIT_FSIZE, (grown, resource.RLIM_INFINITY))
    many = addresses(3000)
    installation.write(*[login_line(address, at=at, user=address * 5) for address in many])
    eventually(lambda: installation.status()["degraded"] != "", "status says degraded")
    assert installation.ctl("status").returncode == 2
    assert "cannot be written" in installation.status()["degraded"]
    assert installation.ask("192.0.2.10") == "yes", "answers go on"
    assert installation.ctl("revoke", "192.0.2.10").returncode in (0, 74), "done, or said not to be"
    resource.prlimit(watcher.pid, resource.RLIMIT_FSIZE, UNLIMITED)
    eventually(lambda: installation.ask(many[-1]) == "yes", "caught up")
    eventually(lambda: installation.status()["degraded"] == "", "well again")
    held = installation.listed()
    held.pop("192.0.2.10", None)
    assert held == dict.fromkeys(many, at + LIFETIME)
    assert watcher.poll() is None, "the watcher never ended"


def test_a_host_list_that_cannot_be_written_does_not_keep_the_map_from_being(installation: Installation) -> None:
    installation.start("respond")
    installation.start("watch")
    installation.ready()
    (installation.run_dir / "relay-hosts.new").mkdir()
    installation.write(login_line("192.0.2.10"))
    eventually(lambda: installation.ask("192.0.2.10") == "yes", "granted")
    eventually(lambda: "host list" in installation.status()["degraded"], "status says so")
    (installation.run_dir / "relay-hosts.new").rmdir()
    eventually(lambda: installation.status()["degraded"] == "", "well again")
    assert b"192.0.2.10" in (installation.run_dir / "relay-hosts").read_bytes()
