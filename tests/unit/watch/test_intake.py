"""popauthd.watch.intake: every event passes the same judge, batch and door, whoever brings it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.address import network
from popauthd.formats.columns import Block
from popauthd.model import Failure, Login, Revocation
from popauthd.store.books import Books, Rules
from popauthd.store.books.counters import day_of
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from popauthd.watch.intake import Intake
from tests.support.blocks import block_of
from tests.support.helpers import published_expiry
from tests.support.policy import default_limits
from tests.support.watching import housekeeping_of

NOW = 1_795_467_600
A, B = "192.0.2.7", "192.0.2.8"
SIX, SITE = "2001:db8:0:7::7", "2001:db8:0:7::/64"


class World:
    """An intake on real books and a real map, with the clock in the test's hand."""

    def __init__(self, directory: Path) -> None:
        self.now = NOW
        self._directory = directory
        self.open()

    def open(self) -> None:
        directory = self._directory
        self.map = MapWriter(str(directory / "relay.mdb"))
        self.books = Books(str(directory / "books.mdb"), Rules())
        self.ledger, housekeeping = housekeeping_of(
            self.books, Publisher(self.map), default_limits(), lambda: NOW - 1000
        )
        with self.ledger.beginning() as writing:
            housekeeping.start(writing, self.now)
        self.intake = Intake(self.ledger, housekeeping, many_ways=True)

    def close(self) -> None:
        self.ledger.close()

    def login(self, address: str = A, user: str = "anna", at: int = NOW) -> bool:
        return not self.intake.take([Login(at, address, user, "imap", "PLAIN", True)], "push", self.now).refused

    def revoke(self, at: int, **whom: str) -> int:
        revocation = Revocation(at, whom.get("address", ""), whom.get("user", ""))
        return self.intake.take([revocation], "elsewhere", self.now).closed

    def revoke_here(self, address: str) -> int:
        return self.intake.take([Revocation(self.now, address, made_here=True)], "control", self.now).closed

    def may_relay(self, address: str = A) -> bool:
        expires_at = published_expiry(self.map, address)
        return expires_at is not None and expires_at > self.now

    def known(self) -> list[tuple[bytes, int]]:
        with self.ledger.reading() as reading:
            return [(found.key, found.at) for found in reading.revocations.all()]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


WHOM = {
    "an address": {"address": A},
    "a user": {"user": "anna"},
    "everybody": {},
}
by_whom = pytest.mark.parametrize("whom", WHOM.values(), ids=WHOM)


@by_whom
def test_a_revocation_that_comes_late_ends_what_was_before_its_time_and_nothing_later(
    world: World, whom: dict[str, str]
) -> None:
    assert world.login(A, at=NOW - 100)
    assert world.login(B, "bob", at=NOW - 10)
    assert world.revoke(NOW - 50, **whom) == 1
    assert not world.may_relay(A)
    assert world.may_relay(B)
    assert not world.login(A, at=NOW - 100), "the same line read again"
    assert world.login(A, at=NOW - 20), "a login after it"
    assert world.may_relay(A)


@by_whom
def test_a_revocation_that_is_older_than_the_login_changes_nothing(world: World, whom: dict[str, str]) -> None:
    assert world.login(A, at=NOW - 10)
    assert world.revoke(NOW - 50, **whom) == 0
    assert world.may_relay(A)


@by_whom
def test_a_revocation_wins_a_tie(world: World, whom: dict[str, str]) -> None:
    assert world.login(A, at=NOW - 50)
    assert world.revoke(NOW - 50, **whom) == 1
    assert not world.may_relay(A)


@by_whom
def test_the_same_revocation_twice_and_an_older_one_after_it_change_nothing(world: World, whom: dict[str, str]) -> None:
    assert world.login(A, at=NOW - 100)
    world.revoke(NOW - 50, **whom)
    known = world.known()
    assert world.login(A, at=NOW - 20)
    assert world.revoke(NOW - 50, **whom) == 0
    assert world.revoke(NOW - 70, **whom) == 0
    assert world.known() == known
    assert world.may_relay(A)


def test_a_revocation_of_a_network_ends_the_addresses_in_it_and_those_that_are_read_later(world: World) -> None:
    assert world.login(SIX, at=NOW - 100)
    assert world.login(A, at=NOW - 100)
    assert world.revoke(NOW - 50, address=SITE) == 1
    assert not world.may_relay(SIX)
    assert world.may_relay(A)
    assert not world.login(SIX[:-1] + "9", "bob", at=NOW - 60)


def test_a_revocation_that_comes_before_its_login_is_read_ends_it(world: World) -> None:
    assert world.revoke(NOW - 50, user="anna") == 0
    assert not world.login(A, at=NOW - 60)
    assert world.login(A, at=NOW - 40)


def test_a_revocation_of_the_far_future_is_refused_as_nobody_could_log_in_again(world: World) -> None:
    assert world.login(A)
    assert world.revoke(NOW + 3600) == 0
    assert world.may_relay(A)
    with world.ledger.reading() as reading:
        assert reading.counters.of()["refused.future"] == 1
    assert world.login(B, "bob")


def test_a_revocation_that_is_made_here_ends_what_is_stamped_ahead_of_the_clock(world: World) -> None:
    assert world.login(A, at=NOW + 60)
    assert world.revoke_here(A) == 1
    assert not world.may_relay(A)


def test_a_revocation_from_elsewhere_outlives_the_books(world: World, tmp_path: Path) -> None:
    world.login(A, at=NOW - 100)
    world.revoke(NOW - 50, user="anna")
    world.close()
    (tmp_path / "books.mdb").unlink()
    world.open()
    assert not world.login(A, at=NOW - 100)


def test_counters_that_wait_go_in_with_the_next_block(world: World) -> None:

    world.intake._notes.count({"push.bad": 2})
    world.intake.take_block("log", Block(0), b"place", NOW)
    with world.ledger.reading() as reading:
        assert reading.counters.of()["push.bad"] == 2
        assert reading.places.of("log") == b"place"


def test_a_failed_login_is_counted_and_remembered_and_grants_nothing(world: World) -> None:
    failures = block_of([Failure(NOW, A, "anna"), Failure(NOW, A, "anna")])
    world.intake.take_block("mail.log", failures, b"place", NOW)
    assert not world.may_relay()
    with world.ledger.reading() as reading:
        assert reading.counters.of(day_of(NOW)) == {"lines": 2, "login.failed": 2}
        assert list(reading.logins.of()) == []
        assert reading.refusals.of(A) is None
    assert world.intake.failed.of((network(A),), (), NOW)[0].times == 2
