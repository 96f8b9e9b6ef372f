"""A batch: what several events of one block come to, and that a login told twice counts once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from popauthd.model import Event, Login, Refusal, SessionEnd
from popauthd.store.books import Books, Rules
from popauthd.watch.batch import Batch, Entered, Step, Terms
from popauthd.watch.deduplication import PAIR_SECONDS, REMEMBERED, Twice
from tests.support.policy import default_limits

A = "192.0.2.10"
NOW = 1_795_467_600
LIMITS = default_limits()
LOGIN = Login(NOW, A, "alice", "imap", "PLAIN", True, "s1", "198.51.100.5", "dovecot")


def ended(session: str, at: int) -> SessionEnd:
    return SessionEnd(at, session, "alice", "imap", "dovecot")


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    opened = Books(str(tmp_path / "books.mdb"), Rules(hold_seconds=43200))
    yield opened
    opened.close()


def enter(
    books: Books, *events: Event, now: int = NOW, source: str = "log", twice: Twice | None = None
) -> tuple[Batch, Entered]:
    batch = Batch(source)
    batch.learn(events, Terms(LIMITS, now, holding=True, twice=twice))
    with books.writing() as writing:
        return batch, batch.enter(writing, now, remember=twice is not None)


def expiry_and_held(books: Books) -> tuple[int | None, int]:
    with books.reading() as reading:
        return reading.published.expiry(A), reading.sessions.held_count()


def test_a_session_within_one_block_is_never_open(books: Books) -> None:
    enter(books, LOGIN, ended("s1", NOW + 7), now=NOW + 7)
    assert expiry_and_held(books) == (NOW + 907, 0)


def test_a_session_over_two_blocks_is_open_in_between(books: Books) -> None:
    enter(books, LOGIN)
    assert expiry_and_held(books) == (NOW + 900, 1)
    enter(books, ended("s1", NOW + 7), now=NOW + 7)
    assert expiry_and_held(books) == (NOW + 907, 0)


def test_an_end_before_its_login_in_one_block_ends_it(books: Books) -> None:
    enter(books, ended("s1", NOW + 1), LOGIN, now=NOW + 1)
    assert expiry_and_held(books) == (NOW + 901, 0)


def test_every_session_of_a_user_is_followed_though_only_the_newest_login_is_kept(books: Books) -> None:
    enter(books, LOGIN, replace(LOGIN, at=NOW + 1, session="s2"), now=NOW + 1)
    enter(books, ended("s2", NOW + 5), now=NOW + 5)
    assert expiry_and_held(books) == (NOW + 905, 1)
    enter(books, ended("s1", NOW + 9), now=NOW + 9)
    assert expiry_and_held(books) == (NOW + 909, 0)


def test_the_session_of_a_refused_login_leaves_nothing_behind(books: Books) -> None:
    _, entered = enter(books, replace(LOGIN, address="127.0.0.1"), ended("s1", NOW + 1), now=NOW + 1)
    assert [refusal.reason for refusal in entered.refused] == ["loopback"]
    assert expiry_and_held(books) == (None, 0)


def test_a_login_read_late_is_held_by_its_session_once_everything_is_read(books: Books) -> None:
    """The watcher was away for two hours; the client has been connected all the time."""
    enter(books, replace(LOGIN, session="s0", user="bob"), ended("s0", NOW + 1), now=NOW + 1)
    _, entered = enter(books, LOGIN, now=NOW + 7200)
    assert [refusal.reason for refusal in entered.refused] == ["expired"]
    with books.writing() as writing:
        writing.published.sweep(NOW + 7200)
    assert expiry_and_held(books) == (None, 1)
    with books.writing() as writing:
        writing.sessions.renew(NOW + 7200)
    assert expiry_and_held(books) == (NOW + 7200 + 900, 1)


def test_a_login_read_late_whose_session_has_ended_grants_what_is_left(books: Books) -> None:
    enter(books, LOGIN, ended("s1", NOW + 7000), now=NOW + 7200)
    assert expiry_and_held(books) == (NOW + 7000 + 900, 0)
    enter(books, replace(LOGIN, session="s2"), now=NOW + 7200)
    enter(books, ended("s2", NOW + 7100), now=NOW + 7200)
    assert expiry_and_held(books) == (NOW + 7100 + 900, 0)


def test_a_login_read_again_is_not_told_as_a_grant_where_it_opens_nothing(tmp_path: Path) -> None:
    books = Books(str(tmp_path / "shared.mdb"), Rules(shared_users=1))
    enter(books, LOGIN, replace(LOGIN, user="bob"))
    _, entered = enter(books, LOGIN)
    assert entered.opened == []
    books.close()


def test_entering_a_batch_again_after_a_failure_gives_the_same(books: Books) -> None:
    batch = Batch("log", b"place")
    batch.learn([LOGIN, replace(LOGIN, address="::1")], Terms(LIMITS, NOW, holding=True, twice=None))
    with pytest.raises(RuntimeError), books.writing() as writing:
        batch.enter(writing, NOW, remember=False)
        raise RuntimeError("the disk is full")
    with books.writing() as writing:
        batch.enter(writing, NOW, remember=False)
        assert writing.counters.of() == {"login": 2, "refused.loopback": 1}
        assert writing.places.of("log") == b"place"


TOLD = [
    ("by the log, then by Dovecot", [("log", LOGIN), ("post-login", LOGIN)], 1),
    ("by Dovecot, then by the log", [("post-login", LOGIN), ("log", LOGIN)], 1),
    ("one without session", [("post-login", replace(LOGIN, session="")), ("log", replace(LOGIN, at=NOW + 2))], 1),
    ("sessions that differ", [("post-login", LOGIN), ("log", replace(LOGIN, session="s2"))], 2),
    (
        "far apart, without session",
        [("post-login", replace(LOGIN, session="")), ("log", replace(LOGIN, at=NOW + 9))],
        2,
    ),
    ("two logins by each", [("log", LOGIN), ("log", LOGIN), ("push", LOGIN), ("push", LOGIN)], 2),
    ("in three ways", [("log", LOGIN), ("post-login", LOGIN), ("auth-policy", LOGIN)], 1),
    ("two logins, each in three ways", [(way, LOGIN) for way in ("log", "a", "b", "b", "log", "a")], 2),
    ("twice in one log", [("log", LOGIN), ("log", replace(LOGIN, session="s2"))], 2),
    ("other users", [("log", LOGIN), ("push", replace(LOGIN, user="bob"))], 2),
    ("mapped address", [("log", LOGIN), ("push", replace(LOGIN, address=f"::ffff:{A}"))], 1),
]


@pytest.mark.parametrize(("told", "logins"), [row[1:] for row in TOLD], ids=[row[0] for row in TOLD])
def test_a_login_that_is_told_in_two_ways_counts_once(books: Books, told: list[tuple[str, Login]], logins: int) -> None:
    twice = Twice()
    for source, login in told:
        enter(books, login, source=source, twice=twice)
    with books.reading() as reading:
        counters = reading.counters.of()
    assert counters["login"] == logins
    assert counters.get("login.twice", 0) == len(told) - logins


def test_what_finds_no_partner_is_forgotten() -> None:
    twice = Twice()
    assert twice.first("log", LOGIN, A)
    assert twice.first("push", replace(LOGIN, at=NOW + PAIR_SECONDS + 1), A)
    for number in range(REMEMBERED + 5):
        twice.first("log", replace(LOGIN, user=f"u{number}"), A)
    assert len(twice._told) == REMEMBERED


def test_without_holding_sessions_are_not_looked_at(books: Books) -> None:
    batch = Batch("log")
    batch.learn([LOGIN, ended("s9", NOW), Refusal("torn", NOW)], Terms(LIMITS, NOW, holding=False, twice=None))
    assert [step.session for _place, step in batch.steps if isinstance(step, Step)] == [""]
    assert not any(isinstance(step, SessionEnd) for _place, step in batch.steps)


def test_a_login_read_late_publishes_nothing_by_itself(books: Books) -> None:
    batch = Batch("log")
    batch.learn([LOGIN], Terms(LIMITS, NOW + 7200, holding=True, twice=None))
    with books.writing() as writing:
        batch.enter(writing, NOW + 7200, remember=False)
        assert (writing.published.changes, writing.sessions.held_count()) == ({}, 1)
