"""The queues of the books: a later expiry leaves an entry where it is, and an entry that is too early ends nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.model import Grant
from popauthd.store.books import Books, Writing
from popauthd.store.books.published import SWEEP_AT_MOST
from tests.support.queues import assert_queued, queued

A, B = "192.0.2.10", "192.0.2.11"
KEY = A.encode() + b"\0alice"
NOW, LIFETIME, HISTORY = 1_795_467_600, 900, 3600


@pytest.fixture
def writing(tmp_path: Path) -> Iterator[Writing]:
    books = Books(str(tmp_path / "books.mdb"))
    with books.writing() as found:
        yield found
    assert_queued(books)
    books.close()


def login(writing: Writing, at: int, user: str = "alice", address: str = A) -> None:
    assert writing.logins.grant(Grant(address, user, at, at + LIFETIME, "dovecot"), at) == ""


def test_a_login_that_extends_another_leaves_the_queues_as_they_are(writing: Writing) -> None:
    login(writing, NOW)
    login(writing, NOW + 100)
    for queue, key in (("old", KEY), ("due", A.encode())):
        assert queued(writing.transaction, queue) == {key: [NOW + LIFETIME]}


def test_a_sweep_leaves_what_was_extended_and_looks_at_it_when_it_has_run_out(writing: Writing) -> None:
    login(writing, NOW)
    login(writing, NOW + 100)
    login(writing, NOW, "bob", B)
    assert writing.published.sweep(NOW + LIFETIME) == 2
    assert dict(writing.published.all()) == {A: NOW + 100 + LIFETIME}
    assert not writing.published.anything_due(NOW + LIFETIME), "it is not looked at again and again"
    assert not writing.published.anything_due(NOW + 99 + LIFETIME)
    assert writing.published.sweep(NOW + 100 + LIFETIME) == 1
    assert dict(writing.published.all()) == {}
    assert queued(writing.transaction, "due") == {}


def test_an_entry_of_what_is_published_no_more_is_dropped(writing: Writing) -> None:
    login(writing, NOW)
    login(writing, NOW + 100)
    writing.revocations.revoke_address(A, NOW + 101)
    assert writing.published.sweep(NOW + LIFETIME) == 1
    assert queued(writing.transaction, "due") == {}
    assert writing.published.changes == {A: None}


def test_what_runs_out_earlier_than_it_did_is_looked_at_then(writing: Writing) -> None:
    login(writing, NOW)
    login(writing, NOW + 100)
    writing.logins.judge_again(lambda row, _held: (row[2] + 200, 200), NOW + 101)
    assert writing.published.sweep(NOW + 300) == 1
    assert dict(writing.published.all()) == {}
    assert writing.forget(NOW + 300 + HISTORY, HISTORY) == 1
    assert list(writing.rows.of()) == []


def test_a_login_that_was_extended_is_remembered_for_its_whole_history(writing: Writing) -> None:
    login(writing, NOW)
    login(writing, NOW + 100)
    assert writing.forget(NOW + LIFETIME + HISTORY, HISTORY) == 0
    assert [row.login_at for row in writing.rows.of()] == [NOW + 100]
    assert writing.forget(NOW + 100 + LIFETIME + HISTORY, HISTORY) == 1
    assert queued(writing.transaction, "old") == {}


def test_forgetting_goes_on_where_it_only_found_what_was_extended(writing: Writing) -> None:
    for number in range(3):
        login(writing, NOW + number, f"u{number}")
        login(writing, NOW + 100 + number, f"u{number}")
    login(writing, NOW + 3, "bob")
    then, forgotten = NOW + 3 + LIFETIME + HISTORY, []
    while True:
        forgotten.append(writing.forget(then, HISTORY, at_most=1))
        if not writing.more_to_forget:
            break
    assert forgotten == [0, 0, 0, 1, 0]


def test_a_clock_that_is_set_back_time_and_again_fills_no_queue(writing: Writing) -> None:
    login(writing, NOW)
    for number in range(1, 6):
        login(writing, NOW + number)
        writing.clock_was_set_back(30, NOW + number)
    assert [len(queued(writing.transaction, queue)) for queue in ("old", "due")] == [1, 1]
    assert [sum(map(len, queued(writing.transaction, queue).values())) for queue in ("old", "due")] == [1, 1]


def test_more_than_one_sweep_takes_out_what_is_more_than_one_takes(writing: Writing) -> None:
    for number in range(SWEEP_AT_MOST + 1):
        address = f"10.0.{number >> 8}.{number & 255}"
        login(writing, NOW, "alice", address)
        login(writing, NOW + 1, "alice", address)
    assert [writing.published.sweep(NOW + LIFETIME) for _ in range(3)] == [SWEEP_AT_MOST, 1, 0]
    assert writing.published.count() == SWEEP_AT_MOST + 1
    assert [writing.published.sweep(NOW + 1 + LIFETIME) for _ in range(3)] == [SWEEP_AT_MOST, 1, 0]
    assert writing.published.count() == 0
