"""popauthd.watch.ledger: the one door. Books, relay map and host list change together, or not at all."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.model import Grant
from popauthd.store.books import Books, Rules
from popauthd.store.host_list import HostList
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from popauthd.watch.ledger import Ledger
from tests.support.helpers import ROOT, published_expiry

NOW = 1_795_467_600
A, B = "192.0.2.7", "192.0.2.8"
DOORS = {"popauthd/watch/ledger.py", "popauthd/store/books/__init__.py"}


class World:
    def __init__(self, directory: Path) -> None:
        self.map = MapWriter(str(directory / "relay.mdb"))
        self.listed = directory / "relay-hosts"
        self.books = Books(str(directory / "books.mdb"), Rules())
        self.ledger = Ledger(self.books, Publisher(self.map, HostList(str(self.listed))))

    def grant(self, address: str) -> None:
        with self.ledger.change() as writing:
            writing.logins.grant(Grant(address, "anna", NOW, NOW + 900))

    def in_books(self) -> set[str]:
        with self.ledger.reading() as reading:
            return {address for address, _expiry in reading.published.all()}

    def in_map(self) -> set[str]:
        return {address for address in (A, B) if published_expiry(self.map, address)}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.ledger.close()


def test_a_change_is_in_books_and_map_when_it_returns_and_in_the_host_list_when_that_is_due(world: World) -> None:
    world.grant(A)
    assert world.in_books() == world.in_map() == {A}
    assert world.ledger.publish_now() == []
    assert f"{A}: " in world.listed.read_text()


def test_a_change_that_fails_leaves_books_and_map_as_they_were(world: World) -> None:
    world.grant(A)
    with pytest.raises(ZeroDivisionError), world.ledger.change() as writing:
        writing.logins.grant(Grant(B, "bob", NOW, NOW + 900))
        1 // 0  # noqa: B018
    assert world.in_books() == world.in_map() == {A}


def test_the_beginning_publishes_what_the_books_say_and_nothing_else(world: World) -> None:
    world.grant(A)
    world.map.apply({A: None, B: NOW + 900}, cleared=False)
    assert world.in_map() == {B}
    with world.ledger.beginning():
        pass
    assert world.in_map() == {A}


def calls_of(name: str, path: Path) -> bool:
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return any(isinstance(node, ast.Attribute) and node.attr == name for node in tree)


def test_nobody_else_opens_a_write_transaction_of_the_books() -> None:
    """`writing` of Books is the only one: its name stands nowhere else in the package."""
    found = {str(path.relative_to(ROOT)) for path in (ROOT / "popauthd").rglob("*.py") if calls_of("writing", path)}
    assert found == DOORS


def test_a_dry_run_that_begins_and_ends_changes_map_and_host_list_with_it(world: World) -> None:
    world.grant(A)
    for dry_run, published in ((True, set()), (True, set()), (False, {A}), (False, {A})):
        with world.ledger.going_by(Rules(shared_users=5), dry_run=dry_run):
            pass
        assert world.ledger.publish_now() == []
        assert world.in_map() == published
        assert (A in world.listed.read_text()) is not dry_run
        assert world.in_books() == {A}
    assert world.ledger.rules.shared_users == 5


@pytest.mark.parametrize("dry_run", [False, True])
def test_other_rules_that_cannot_be_entered_are_not_in_force(world: World, dry_run: bool) -> None:
    world.grant(A)
    with pytest.raises(ZeroDivisionError), world.ledger.going_by(Rules(shared_users=5), dry_run=dry_run) as writing:
        writing.logins.grant(Grant(B, "bob", NOW, NOW + 900))
        1 // 0  # noqa: B018
    assert (world.ledger.rules, world.ledger.dry_run) == (Rules(), False)
    world.ledger.take_back()
    assert world.in_books() == world.in_map() == {A}


def test_a_watcher_that_ends_leaves_a_list_that_is_right(world: World) -> None:
    world.grant(A)
    world.ledger.publish_due()
    world.grant(B)
    assert f"{B}: " not in world.listed.read_text(), "it was written just now"
    world.ledger.leave()
    assert f"{B}: " in world.listed.read_text()


def test_a_host_list_that_is_kept_no_longer_is_emptied(world: World) -> None:
    world.grant(A)
    assert world.ledger.publish_now() == []
    world.ledger.list_into("")
    assert world.listed.read_text() == ""
    assert world.ledger.publish_now() == []
    assert world.listed.read_text() == ""
    world.ledger.list_into(str(world.listed))
    assert world.ledger.publish_now() == []
    assert f"{A}: " in world.listed.read_text()
