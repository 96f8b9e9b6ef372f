"""popauthd.store.publisher: map and host list are what the books say, whatever somebody does to the files meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from popauthd.errors import StoreError
from popauthd.store import publisher as module
from popauthd.store import stopped_reader
from popauthd.store.books import Books
from popauthd.store.host_list import HostList
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from tests.support.helpers import ROOT, eventually

NOW = 1_795_467_600
A, B, C = "192.0.2.10", "192.0.2.11", "2001:db8::7"


class Site:
    """Books, and what is published of them."""

    def __init__(self, directory: Path, *, dry_run: bool = False) -> None:
        self.map = directory / "relay.mdb"
        self.lock = directory / "relay.mdb-lock"
        self.list = directory / "relay-hosts"
        self.old = directory / "old.mdb"
        self.books = Books(str(directory / "books.mdb"))
        self.publisher = Publisher(MapWriter(str(self.map)), HostList(str(self.list)), dry_run=dry_run)
        self.grant(A)
        shutil.copy(self.map, self.old)
        self.grant(B)
        self.publisher.tend(self.books)

    def grant(self, address: str) -> None:
        with self.books.writing() as writing:
            writing.logins.grant_by_hand(address, NOW, NOW + 900)
            self.publisher.apply(writing)

    def tend(self) -> list[tuple[str, str]]:
        """The next look, without waiting for it."""
        self.publisher._look_at = 0.0
        return self.publisher.tend(self.books)

    def read(self) -> set[str]:
        """The addresses in the map, as another process sees them."""
        code = (
            "import json, sys, lmdb; env = lmdb.open(sys.argv[1], subdir=False, readonly=True, lock=False)\n"
            "print(json.dumps([bytes(key).decode() for key, _value in env.begin().cursor()]))"
        )
        done = subprocess.run([sys.executable, "-c", code, str(self.map)], capture_output=True, check=True, cwd=ROOT)
        return set(json.loads(done.stdout))

    def listed(self) -> set[str]:
        return {line.rpartition(":")[0].strip('"') for line in self.list.read_text().splitlines()}

    def close(self) -> None:
        self.publisher.close()
        self.books.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path)
    yield made
    made.close()


def replace(path: Path, content: bytes) -> None:
    path.with_name("fresh").write_bytes(content)
    path.with_name("fresh").rename(path)


def same_time(path: Path, change: Callable[[], object]) -> None:
    """Change a file and set its time back."""
    before = path.stat()
    change()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


LOSSES: dict[str, tuple[Callable[[Site], object], str]] = {
    "removed": (lambda site: site.map.unlink(), "was removed"),
    "moved away": (lambda site: site.map.rename(site.map.with_name("away")), "was removed"),
    "replaced by garbage": (lambda site: replace(site.map, b"garbage" * 9000), "was replaced"),
    "replaced by nothing": (lambda site: replace(site.map, b""), "was replaced"),
    "replaced by an older copy": (lambda site: replace(site.map, site.old.read_bytes()), "was replaced"),
    "replaced by a link to an older copy": (lambda site: link(site), "was replaced"),
    "an older copy written over it": (lambda site: site.map.write_bytes(site.old.read_bytes()), ""),
    "cut to nothing": (lambda site: os.truncate(site.map, 0), "was cut short"),
    "cut to a page": (lambda site: os.truncate(site.map, 4096), "was cut short"),
    "cut by a byte": (lambda site: os.truncate(site.map, site.map.stat().st_size - 1), "was cut short"),
    "cut, its time set back": (lambda site: same_time(site.map, lambda: os.truncate(site.map, 0)), "was cut short"),
    "replaced by a pipe": (lambda site: pipe(site), "was replaced"),
    "its lock removed": (lambda site: site.lock.unlink(), "lost its lock file"),
    "its lock replaced": (lambda site: replace(site.lock, site.lock.read_bytes()), "lost its lock file"),
    "its lock cut to nothing": (lambda site: os.truncate(site.lock, 0), "lost its lock file"),
    "both removed": (lambda site: both(site), "was removed"),
}


def link(site: Site) -> None:
    site.map.unlink()
    site.map.symlink_to(site.old)


def pipe(site: Site) -> None:
    site.map.unlink()
    os.mkfifo(site.map)


def both(site: Site) -> None:
    site.map.unlink()
    site.lock.unlink()


@pytest.mark.parametrize("change_first", [False, True], ids=["seen by a look", "seen by a change"])
@pytest.mark.parametrize(("lose", "what"), LOSSES.values(), ids=LOSSES)
def test_a_map_that_is_lost_is_made_again_from_the_books(
    site: Site, lose: Callable[[Site], object], what: str, change_first: bool
) -> None:
    old = site.old.read_bytes()
    assert site.tend() == []
    lose(site)
    if change_first:
        site.grant(C)
        ((name, said),) = site.publisher.tend(site.books)  # at once
    else:
        ((name, said),) = site.tend()
    assert name == "map.remade"
    assert said.startswith(f"relay map {site.map} {what}")
    assert said.endswith(f"; made again ({2 + change_first} addresses)")
    assert site.read() == ({A, B, C} if change_first else {A, B})
    assert site.map.stat().st_mode & 0o777 == 0o640
    assert site.lock.stat().st_mode & 0o777 == 0o600
    assert site.old.read_bytes() == old, "what a link in its place named is not touched"
    assert site.tend() == []
    site.grant(C)
    assert site.read() == {A, B, C}, "the writer goes on with the new file"
    site.publisher.check_readers()


def test_a_map_that_cannot_be_made_again_is_trouble_until_it_can(site: Site) -> None:
    site.map.unlink()
    site.map.mkdir()
    for _ in range(2):
        with pytest.raises(StoreError, match="is in the way"):
            site.tend()
        with pytest.raises(StoreError, match="is in the way"):
            site.publisher.tend(site.books)  # not tried again yet, and not well either
    site.grant(C)

    def listed() -> bool:
        with pytest.raises(StoreError, match="is in the way"):
            site.tend()
        return site.listed() == {A, B, C}

    eventually(listed, "the host list does not wait for the map")
    site.publisher.check_readers()
    site.map.rmdir()
    ((name, said),) = site.tend()
    assert (name, site.read()) == ("map.remade", {A, B, C})
    assert "was replaced; made again (3 addresses)" in said


LIST_LOSSES: dict[str, tuple[Callable[[Path], object], str]] = {
    "removed": (lambda path: path.unlink(), "was removed"),
    "replaced": (lambda path: replace(path, path.read_bytes()), "was replaced"),
    "emptied": (lambda path: os.truncate(path, 0), "was cut short"),
    "a line added": (lambda path: path.write_text(path.read_text() + "0.0.0.0/0: 9999999999\n"), "was written"),
    "cut, its time set back": (lambda path: same_time(path, lambda: os.truncate(path, 5)), "was cut short"),
}


@pytest.mark.parametrize(("lose", "what"), LIST_LOSSES.values(), ids=LIST_LOSSES)
def test_a_host_list_that_is_lost_is_made_again(site: Site, lose: Callable[[Path], object], what: str) -> None:
    before = site.list.read_text()
    site.publisher._host_list._not_before = time.monotonic() + 3600  # type: ignore[union-attr]  # it was a long list
    lose(site.list)
    ((name, said),) = site.tend()
    assert name == "hostlist.remade"
    assert said.startswith(f"host list {site.list} {what}")
    assert site.list.read_text() == before
    assert site.list.stat().st_mode & 0o777 == 0o640
    assert site.tend() == []


def test_a_host_list_that_cannot_be_written_is_trouble_until_it_can(site: Site) -> None:
    site.list.unlink()
    site.list.mkdir()
    with pytest.raises(StoreError, match="host list"):
        site.tend()
    site.list.rmdir()
    assert [name for name, _said in site.tend()] == ["hostlist.remade"]
    assert site.listed() == {A, B}


def test_in_a_dry_run_what_is_made_again_is_empty(tmp_path: Path) -> None:
    site = Site(tmp_path, dry_run=True)
    site.map.unlink()
    site.list.unlink()
    assert {name for name, _said in site.tend()} == {"map.remade", "hostlist.remade"}
    assert (site.read(), site.listed()) == (set(), set())
    site.close()


def test_a_list_that_may_not_be_written_yet_is_not_left_to_the_next_event(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    site.grant(C)
    clock[0] += 5
    site.publisher.tend(site.books)
    assert site.publisher.wait(1000) == 1000
    site.publisher._host_list._not_before = clock[0] + 3  # type: ignore[union-attr] # as after a long list
    site.grant("192.0.2.12")
    site.publisher.tend(site.books)
    assert "192.0.2.12" not in site.listed()
    assert (site.publisher.wait(1000), site.publisher.wait(1)) == (3, 1)
    clock[0] += 4
    assert site.publisher.wait(1000) == 0
    site.publisher.tend(site.books)
    assert "192.0.2.12" in site.listed()


def test_a_list_that_cannot_be_written_is_not_tried_all_the_time(site: Site) -> None:
    site.list.with_name("relay-hosts.new").mkdir()
    site.list.unlink()
    with pytest.raises(StoreError):
        site.tend()
    assert site.publisher.wait(1000) == 1000


def test_the_files_are_looked_at_only_now_and_then(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_SECONDS", 3600.0)
    assert site.tend() == []
    site.map.unlink()
    assert site.publisher.tend(site.books) == [], "the next look is not due"
    assert [name for name, _said in site.tend()] == ["map.remade"]


def test_the_host_list_is_written_when_something_changed_and_not_before(site: Site) -> None:
    written = site.list.stat()
    assert site.tend() == []
    assert site.list.stat().st_ino == written.st_ino
    site.grant(C)
    site.publisher._host_list._not_before = 0.0  # type: ignore[union-attr]
    assert site.tend() == []
    assert site.listed() == {A, B, C}


READER = """
import os, signal, sys, lmdb
env = lmdb.open(sys.argv[1], subdir=False, readonly=True, max_readers=16)
with env.begin() as txn:
    txn.get(b"192.0.2.10")
    print("reading", flush=True)
    if sys.argv[2] == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    else:
        os.kill(os.getpid(), signal.SIGKILL)
print("done", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def reading(site: Site, then: str) -> Iterator[subprocess.Popen[bytes]]:
    """A reader that has begun to look, and then stops or is killed."""
    command = [sys.executable, "-c", READER, str(site.map), then]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"reading\n"
        if then == "stop":
            eventually(lambda: stopped_reader._state(process.pid) == "T", "it is stopped")
        try:
            yield process
        finally:
            process.kill()


def stand_still(site: Site) -> list[tuple[str, str]]:
    """What is told at the look after the time in which a reader may stand still."""
    assert site.tend() == []
    site.publisher._reader._since -= stopped_reader.STILL_SECONDS
    return site.tend()


def test_a_map_whose_pages_a_stopped_reader_holds_is_made_anew_and_told_until_it_goes_on(site: Site) -> None:
    with reading(site, "stop") as process:
        assert stand_still(site) == [], "it reads the newest commit"
        site.grant(C)
        news = [
            (
                "map.remade",
                f"relay map {site.map} could not free its pages, as process {process.pid} stands still while it reads; "
                "made again (3 addresses)",
            )
        ]
        assert stand_still(site) == news
        assert site.publisher.stopped_reader == f"process {process.pid} was stopped while it read the relay map"
        assert stand_still(site) == [], "the new file is not held"
        assert site.publisher.stopped_reader != ""
        process.send_signal(signal.SIGCONT)
        assert process.stdout is not None
        assert process.stdout.readline() == b"done\n"
        assert site.publisher.stopped_reader == ""
    assert site.read() == {A, B, C}


def test_a_reader_that_was_stopped_and_is_gone_is_told_no_more(site: Site) -> None:
    with reading(site, "stop"):
        site.grant(C)
        assert stand_still(site) != []
        assert site.publisher.stopped_reader != ""
    assert site.publisher.stopped_reader == ""


def test_a_reader_that_was_killed_while_it_read_is_none(site: Site) -> None:
    with reading(site, "kill") as process:
        process.wait()
        site.grant(C)
        assert stand_still(site) == []
        assert site.publisher.stopped_reader == ""


def test_a_reader_that_is_at_another_commit_at_each_look_does_not_stand_still(site: Site) -> None:
    with reading(site, "stop"):
        site.grant(C)
        assert site.tend() == []
        site.publisher._reader._seen = (site.publisher._reader._seen[0], 1)
        site.publisher._reader._since -= stopped_reader.STILL_SECONDS
        assert site.tend() == []
