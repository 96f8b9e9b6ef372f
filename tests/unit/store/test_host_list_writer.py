"""The process that writes a long host list: the watcher goes on meanwhile, and the list is right whatever happens."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.errors import StoreError
from popauthd.store import host_list, host_list_writer, publisher
from popauthd.store.books import Books, transaction
from popauthd.store.host_list import HostList
from popauthd.store.host_list_writer import ALL_BYTES, CHANGED_AT_MOST, Pieces, Writer, WriterError
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from tests.support.helpers import ROOT, eventually

NOW = 1_795_467_600
NETS = ["2001:db8:1:2::/64", "10.0.0.1", "10.0.0.2", "10.9.9.9", "2001:db8:1:2::1", "2001:db8:1:2::2", "2001:db8::7",
        "203.0.113.1", "203.0.113.9", "9.9.9.9", "fe::1"]  # fmt: skip
A, B, C = "192.0.2.10", "192.0.2.11", "2001:db8::7"


class World:
    """Books whose host list counts as long."""

    def __init__(self, directory: Path) -> None:
        self.list = directory / "relay-hosts"
        self.books = Books(str(directory / "books.mdb"))
        self.publisher = Publisher(MapWriter(str(directory / "relay.mdb")), HostList(str(self.list)))
        self.grant(A)
        self.tend()

    def grant(self, address: str) -> None:
        with self.books.writing() as writing:
            writing.logins.grant_by_hand(address, NOW, NOW + 900)
            self.publisher.apply(writing)

    def revoke(self, address: str) -> None:
        with self.books.writing() as writing:
            writing.revocations.revoke_address(address, NOW)
            self.publisher.apply(writing)

    def tend(self) -> list[str]:
        """A turn in which the list may be written; the names of its news."""
        assert self.publisher._host_list is not None
        self.publisher._host_list._not_before = 0.0
        return [name for name, _text in self.publisher.tend(self.books)]

    @property
    def writer(self) -> Writer:
        assert self.publisher._writer is not None
        return self.publisher._writer

    @property
    def pid(self) -> int:
        return self.writer._process.pid

    def listed(self) -> list[str]:
        return [line.rpartition(":")[0].strip('"') for line in self.list.read_text().splitlines()]

    def close(self) -> None:
        self.publisher.close()
        self.books.close()


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(publisher, "LONG_BYTES", 0)
    made = World(tmp_path)
    yield made
    made.close()


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except FileNotFoundError:
        return True


def test_a_long_list_is_written_by_a_process_of_its_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_list, "write", lambda *_given: pytest.fail("the watcher wrote it"))
    pid = world.pid
    for number, address in enumerate((B, C), 2):
        world.grant(address)
        assert world.tend() == []
        assert world.writer.busy, "it is not waited for"
        eventually(lambda number=number: len(world.listed()) == number, "it is written")  # type: ignore[misc]
        eventually(lambda: world.tend() == [] and not world.writer.busy, "the answer is heard")
    assert world.listed() == [A, B, C]
    assert world.publisher.wait(1000) == 1000
    world.grant(B[:-1] + "2")
    assert world.tend() == []
    world.grant(B[:-1] + "3")
    assert world.publisher.wait(1000) < 1, "the answer is looked for, as a newer list is wanted"
    assert world.pid == pid
    assert world.publisher._lost_list() == "", "its own list is known"


@pytest.mark.parametrize("seed", range(30))
def test_a_list_in_pieces_is_always_the_list_of_the_books(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(transaction, "ROWS", 2)
    monkeypatch.setattr(host_list_writer, "ROWS", 1)
    dice, books, pieces = random.Random(seed), Books(str(tmp_path / "books.mdb")), Pieces()
    changed: list[bytes] = [ALL_BYTES]
    renewed = 0
    for step in range(60):
        with books.writing() as writing:
            for address in dice.sample(NETS, dice.choice([0, 1, 1, 2])):
                before = writing.published.expiry(address)
                after = dice.choice([None, NOW + step, NOW + 9999])
                writing.published.change(address, before, after)
            changed += [address.encode() for address in writing.published.changes]
        if dice.random() < 0.7:
            with books.reading() as reading:
                kept = len(pieces._begins)
                text = b"".join(pieces.with_changes(reading.published, changed))
                assert text == b"".join(map(host_list.lines, reading.published.host_list()))
                renewed += len(pieces._begins) != kept
            changed = []
    assert renewed < 30, "mostly only what has changed is read"
    books.close()


def test_many_changes_are_told_as_anything(world: World) -> None:
    eventually(lambda: world.tend() == [] and not world.writer.busy, "it runs")
    with world.books.writing() as writing:
        for number in range(CHANGED_AT_MOST + 1):
            writing.logins.grant_by_hand(f"10.0.0.{number}", NOW, NOW + 900)
        world.publisher.apply(writing)
    assert world.writer._changed is None
    eventually(lambda: world.tend() == [] and len(world.listed()) == CHANGED_AT_MOST + 2, "all of them")
    with world.books.writing() as writing:
        writing.revocations.revoke_all(NOW)
        world.publisher.apply(writing)
    eventually(lambda: world.tend() == [] and world.listed() == [], "none of them")


def test_a_list_that_is_too_long_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_list_writer, "KEPT_BYTES", 20)
    books, pieces = Books(str(tmp_path / "books.mdb")), Pieces()
    with books.writing() as writing:
        for address in (A, B):
            writing.published.change(address, None, NOW)
        for _ in range(2):
            assert b"".join(pieces.with_changes(writing.published, [])) == f"{A}: {NOW}\n{B}: {NOW}\n".encode()
            assert pieces._texts == []
    books.close()


def test_what_changes_while_it_writes_is_written_after_that(world: World) -> None:
    os.kill(world.pid, signal.SIGSTOP)
    world.grant(B)
    world.tend()
    world.grant(C)
    assert world.tend() == []
    os.kill(world.pid, signal.SIGCONT)
    eventually(lambda: world.tend() == [] and world.listed() == [A, B, C], "both")


@pytest.mark.parametrize("busy", [True, False])
def test_where_it_is_killed_the_watcher_writes_the_list_and_says_so(world: World, busy: bool) -> None:
    world.grant(B)
    if busy:
        os.kill(world.pid, signal.SIGSTOP)
        world.tend()
    os.kill(world.pid, signal.SIGKILL)
    eventually(lambda: gone(world.pid), "it is dead")
    assert world.tend() == ["hostlist.writer"]
    assert world.listed() == [A, B]
    assert world.publisher._writer is None
    world.grant(C)
    assert world.tend() == []
    assert world.listed() == [A, B, C]
    assert world.publisher._writer is None, "not at once again"
    world.publisher._writer_not_before = 0.0
    world.revoke(C)
    assert world.tend() == []
    assert world.writer.busy
    eventually(lambda: world.tend() == [] and world.listed() == [A, B], "the next one writes")


def test_a_process_that_hangs_is_killed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = world.pid
    os.kill(pid, signal.SIGSTOP)
    world.grant(B)
    world.tend()
    clock = time.monotonic
    monkeypatch.setattr("popauthd.store.host_list_writer.time.monotonic", lambda: clock() + 61)
    assert world.tend() == ["hostlist.writer"]
    assert world.listed() == [A, B]
    assert gone(pid)


def test_a_list_that_must_be_there_at_once_is_and_no_older_one_comes_after_it(world: World) -> None:
    world.grant(B)
    pid = world.pid
    os.kill(pid, signal.SIGSTOP)
    world.tend()
    world.revoke(A)
    world.publisher.write_host_list(world.books)
    assert world.listed() == [B]
    assert gone(pid), "the process that was about to write the older one"
    assert world.tend() == []
    assert world.listed() == [B]


def test_a_list_that_is_kept_no_longer_stays_empty(world: World) -> None:
    world.grant(B)
    pid = world.pid
    os.kill(pid, signal.SIGSTOP)
    world.tend()
    world.publisher.list_into("")
    assert world.listed() == []
    assert gone(pid)


def test_books_that_were_replaced_are_not_read(world: World) -> None:
    """The process opens them by their name, and the watcher knows its own."""
    path = Path(world.books.path)
    aside = path.rename(f"{path}.aside")
    Books(f"{path}.other").close()
    Path(f"{path}.other").rename(path)
    world.grant(B)
    world.tend()
    eventually(lambda: world.tend() == ["hostlist.writer"], "it says so")
    assert world.listed() == [A, B], "the watcher has them open"
    aside.rename(path)


def test_a_list_that_cannot_be_written_is_trouble_as_always(world: World) -> None:
    world.list.with_name("relay-hosts.new").mkdir()
    world.grant(B)
    world.tend()

    def told() -> bool:
        try:
            world.tend()
        except StoreError as error:
            return "Is a directory" in str(error)
        return False

    eventually(told, "it is trouble")
    world.list.with_name("relay-hosts.new").rmdir()
    assert world.tend() == ["hostlist.writer"]
    assert world.listed() == [A, B]


def test_without_a_python_to_start_the_watcher_writes_the_list(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.publisher._end_writer()
    monkeypatch.setattr(sys, "executable", "/nowhere")
    world.grant(B)
    assert world.tend() == ["hostlist.writer"]
    assert world.listed() == [A, B]


def test_a_short_list_needs_no_process(tmp_path: Path) -> None:
    short = World(tmp_path)
    short.grant(B)
    short.tend()
    assert (short.publisher._writer, short.listed()) == (None, [A, B])
    short.close()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_it_goes_on_when_all_processes_of_the_unit_are_told_to_end(world: World, number: signal.Signals) -> None:
    world.grant(B)
    world.tend()
    eventually(lambda: world.tend() == [] and world.listed() == [A, B], "it runs")
    os.kill(world.pid, number)
    pid = world.pid
    world.grant(C)
    eventually(lambda: world.tend() == [] and world.listed() == [A, B, C], "it is its watcher that ends it")
    assert world.pid == pid


def test_it_ends_with_its_watcher_and_then_writes_nothing(world: World) -> None:
    code = (
        "import os, signal, sys, time; from popauthd.store.host_list_writer import Writer\n"
        "writer = Writer(*sys.argv[1:3]); pid = writer._process.pid; print(pid, flush=True)\n"
        "os.kill(pid, signal.SIGSTOP); writer.ask((int(sys.argv[3]), int(sys.argv[4]))); os.kill(os.getpid(), 9)"
    )
    arguments = [world.books.path, str(world.list), *map(str, world.books.identity)]
    before = world.list.stat().st_ino
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, stdout=subprocess.PIPE, check=False)
    pid = int(done.stdout)
    os.kill(pid, signal.SIGCONT)
    eventually(lambda: gone(pid), "it ends")
    assert world.list.stat().st_ino == before


def test_one_that_has_ended_says_how(tmp_path: Path) -> None:
    writer = Writer(str(tmp_path / "books.mdb"), str(tmp_path / "relay-hosts"))
    writer._process.kill()
    writer._process.wait()
    with pytest.raises(WriterError, match="was killed by signal 9"):
        writer.answer()
    writer.end()
