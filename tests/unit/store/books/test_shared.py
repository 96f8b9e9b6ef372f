"""Shared addresses: too many different users on one address, and nobody on it is granted by it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popauthd.model import Grant
from popauthd.store.books import Books, Rules
from popauthd.store.books.published import EXPIRED_AT_MOST

A, SPARED = "192.0.2.10", "192.0.2.99"
NOW = 1_795_467_600
LIFETIME = 900
LIMIT = 3
RULES = Rules(shared_users=LIMIT, spared=lambda address: address == SPARED)


def login(user: str, at: int = NOW, address: str = A) -> Grant:
    return Grant(address, user, at, at + LIFETIME, "dovecot")


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    opened = Books(str(tmp_path / "books.mdb"), RULES)
    yield opened
    opened.close()


def enter(books: Books, *grants: Grant) -> tuple[list[str], list[str]]:
    """The reasons given, and the addresses newly found to be shared."""
    with books.writing() as writing:
        reasons = [writing.logins.grant(grant) for grant in grants]
        return reasons, [found.address for found in writing.shared.newly]


def expiry(books: Books, now: int, address: str = A) -> int | None:
    with books.writing() as writing:
        writing.published.sweep(now)
        writing.recount(now)
        return writing.published.expiry(address)


def test_one_user_too_many_closes_the_address_and_is_told_once(books: Books) -> None:
    assert enter(books, *(login(f"u{n}") for n in range(LIMIT))) == (["", "", ""], [])
    assert expiry(books, NOW) == NOW + LIFETIME
    assert enter(books, login("one more")) == (["shared-address"], [A])
    assert expiry(books, NOW) is None
    assert enter(books, login("u0", NOW + 5), login("yet another", NOW + 6)) == (["shared-address"] * 2, [])
    assert expiry(books, NOW + 10) is None


def test_many_logins_of_few_users_share_nothing(books: Books) -> None:
    reasons, shared = enter(books, *(login(f"u{n % LIMIT}", NOW + n) for n in range(50)))
    assert (set(reasons), shared) == ({""}, [])


def test_it_opens_again_when_few_enough_users_are_left(books: Books) -> None:
    enter(books, *(login(f"u{n}", NOW + 100 * n) for n in range(LIMIT + 1)))
    assert expiry(books, NOW + LIFETIME - 1) is None
    assert expiry(books, NOW + LIFETIME) == NOW + 100 * LIMIT + LIFETIME, "the first user's login has run out"
    assert enter(books, login("again", NOW + LIFETIME)) == (["shared-address"], []), "told once, not each time"
    assert expiry(books, NOW + 3 * LIFETIME) is None
    with books.writing() as writing:
        writing.forget(NOW + 3 * 86400, 86400)
    assert enter(books, *(login(f"u{n}", NOW + 3 * 86400) for n in range(LIMIT + 1)))[1] == [A], "a new day, told anew"


def test_a_clock_that_is_set_back_does_not_keep_a_shared_address_closed(books: Books) -> None:
    enter(books, *(login(f"u{n}", NOW + n) for n in range(LIMIT + 1)))
    with books.writing() as writing:
        writing.clock_was_set_back(86400, NOW - 86400 + 10)
    assert expiry(books, NOW - 86400 + LIFETIME - 1) is None
    assert expiry(books, NOW - 86400 + LIFETIME) == NOW - 86400 + LIFETIME + LIMIT


def test_a_spared_address_and_other_addresses_are_left_alone(books: Books) -> None:
    assert set(enter(books, *(login(f"u{n}", address=SPARED) for n in range(50)))[0]) == {""}
    enter(books, *(login(f"u{n}") for n in range(50)))
    assert enter(books, login("u1", address="192.0.2.11")) == ([""], [])


def test_an_administrator_s_own_grant_stays_on_a_shared_address(books: Books) -> None:
    enter(books, *(login(f"u{n}") for n in range(10)))
    with books.writing() as writing:
        writing.logins.grant_by_hand(A, NOW, NOW + 60)
    assert expiry(books, NOW) == NOW + 60
    assert enter(books, login("u11", NOW + 1)) == (["shared-address"], [])
    assert expiry(books, NOW + 2) == NOW + 60


def test_revoked_users_are_not_counted(books: Books) -> None:
    enter(books, *(login(f"u{n}") for n in range(LIMIT)))
    with books.writing() as writing:
        writing.revocations.revoke_user("u0", NOW)
    assert enter(books, login("new", NOW + 1)) == ([""], [])
    assert expiry(books, NOW + 1) == NOW + 1 + LIFETIME


def test_revoking_users_opens_a_shared_address_to_the_others(books: Books) -> None:
    enter(books, *(login(f"u{n}", NOW) for n in range(LIMIT + 1)))
    with books.writing() as writing:
        writing.revocations.revoke_user("u0", NOW)
    assert expiry(books, NOW + 1) == NOW + LIFETIME


def test_a_session_does_not_reopen_a_shared_address(tmp_path: Path) -> None:
    books = Books(str(tmp_path / "held.mdb"), Rules(shared_users=LIMIT, hold_seconds=7200))
    with books.writing() as writing:
        for number in range(LIMIT + 1):
            grant = login(f"u{number}", NOW + number)
            writing.logins.grant(grant)
            writing.sessions.open(f"s{number}", grant, NOW + number)
        elsewhere = login("x", NOW, "192.0.2.250")  # shows that ends are logged
        writing.logins.grant(elsewhere)
        writing.sessions.open("first", elsewhere, NOW)
        writing.sessions.end("first", NOW, NOW)
    for at in range(NOW, NOW + 7000, 100):
        with books.writing() as writing:
            writing.sessions.renew(at)
        assert expiry(books, at) is None
    books.close()


def test_the_history_of_a_crowded_address_is_bounded(books: Books) -> None:
    enter(books, *(login(f"u{n}", NOW) for n in range(5 * EXPIRED_AT_MOST)))
    later = NOW + 2 * LIFETIME
    assert expiry(books, later) is None
    enter(books, login("x", later), login("y", later), login("z", later))
    with books.reading() as reading:
        assert len(list(reading.logins.of(A))) <= EXPIRED_AT_MOST + 3
    assert expiry(books, later) == later + LIFETIME


def test_of_a_crowd_the_latest_are_remembered(books: Books) -> None:
    enter(books, *(login(f"u{n:03}", NOW + 1000 - n) for n in range(EXPIRED_AT_MOST + 50)))
    with books.writing() as writing:
        writing.published.recompute(A, NOW + 3 * LIFETIME)
        assert {row.user for row in writing.rows.of(A)} == {f"u{n:03}" for n in range(EXPIRED_AT_MOST)}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 700)), max_size=40))
def test_any_history_gives_what_counting_gives(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]]
) -> None:
    books = Books(str(tmp_path_factory.mktemp("m") / "books.mdb"), RULES)
    now, newest = NOW, {}
    for user, wait in steps:
        now += wait
        expiry(books, now)
        enter(books, login(f"u{user}", now))
        newest[user] = now + LIFETIME
        standing = [until for until in newest.values() if until > now]
        assert expiry(books, now) == (max(standing) if len(standing) <= LIMIT else None)
    books.close()
