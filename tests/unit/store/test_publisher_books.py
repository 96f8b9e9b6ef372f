"""The publisher: what the books say stands in map and host list, and in a dry run nothing does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.model import Grant
from popauthd.store.books import Books
from popauthd.store.host_list import HostList
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from tests.support.helpers import eventually, published_expiry

A, B = "192.0.2.10", "2001:db8::7"
NOW = 1_795_467_600


class World:
    """Books, and a publisher of them."""

    def __init__(self, directory: Path, *, listing: bool = True, dry_run: bool = False) -> None:
        self._map, self._list = directory / "relay.mdb", directory / "relay-hosts"
        self.books = Books(str(directory / "books.mdb"))
        self.list = HostList(str(self._list)) if listing else None
        self.map = MapWriter(str(self._map))
        self.publisher = Publisher(self.map, self.list, dry_run=dry_run)

    def login(self, address: str = A) -> None:
        with self.books.writing() as writing:
            writing.logins.grant(Grant(address, "anna", NOW, NOW + 900))
            self.publisher.apply(writing)

    def published(self, address: str) -> int | None:
        return published_expiry(self.map, address)

    def tended(self) -> str:
        """The host list as soon as it has been written."""
        assert self.list is not None
        eventually(self.list.due, "the list may be written")
        self.publisher.tend(self.books)
        return self._list.read_text()

    def close(self) -> None:
        self.publisher.close()
        self.books.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def test_a_grant_stands_in_the_map_at_once_and_in_the_list_when_it_may(world: World) -> None:
    world.publisher.tend(world.books)
    world.login()
    assert world.published(A) == NOW + 900
    assert world.tended() == f"{A}: {NOW + 900}\n"


def test_what_changes_nothing_asks_for_no_new_list(world: World) -> None:
    world.login()
    world.tended()
    world.login()
    assert world.list is not None
    assert not world.list.stale


def test_revoking_everybody_empties_both(world: World) -> None:
    world.login()
    world.login(B)
    world.tended()
    with world.books.writing() as writing:
        writing.revocations.revoke_all(NOW)
        world.publisher.apply(writing)
    assert (world.published(A), world.published(B)) == (None, None)
    assert world.tended() == ""


def test_at_a_start_the_map_is_made_anew(world: World, tmp_path: Path) -> None:
    world.publisher.close()
    stale = MapWriter(str(tmp_path / "relay.mdb"))
    stale.apply({"192.0.2.66": NOW + 900})
    stale.close()
    world.map = MapWriter(str(tmp_path / "relay.mdb"))
    world.publisher = Publisher(world.map)
    with world.books.writing() as writing:
        writing.logins.grant(Grant(A, "anna", NOW, NOW + 900))
        world.publisher.replace(writing.published)
    assert (world.published(A), world.published("192.0.2.66")) == (NOW + 900, None)


def test_a_dry_run_publishes_nothing_and_takes_away_what_was_there(world: World, tmp_path: Path) -> None:
    world.login()
    assert world.tended() != ""
    world.close()
    dry = World(tmp_path, dry_run=True)
    with dry.books.reading() as reading:
        dry.publisher.replace(reading.published)
    assert (dry.published(A), dry.tended()) == (None, "")
    dry.login(B)
    assert dry.published(B) is None
    assert dry.list is not None
    assert not dry.list.stale
    dry.close()


def test_without_a_host_list_none_is_written(tmp_path: Path) -> None:
    world = World(tmp_path, listing=False)
    world.login()
    world.publisher.tend(world.books)
    assert world.published(A) == NOW + 900
    assert not (tmp_path / "relay-hosts").exists()
    world.close()


def test_the_place_of_a_reader_that_died_is_freed(world: World, tmp_path: Path) -> None:
    code = (
        "import lmdb, os, signal, sys; txn = lmdb.open(sys.argv[1], subdir=False, readonly=True).begin();"
        "txn.get(b'x'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "relay.mdb")], check=False)
    world.publisher.check_readers()
    assert world.map.check_readers() == 0, "nothing is left to free"
