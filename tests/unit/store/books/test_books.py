"""popauthd.store.books: what is learnt stays learnt, what is revoked stays revoked, nothing outlives its time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from popauthd.errors import StoreBrokenError, StoreError
from popauthd.model import Grant, Refusal
from popauthd.store.books import Books, Writing
from tests.support.helpers import no_address_space_left

A, B = "192.0.2.10", "2001:db8::7"
NOW = 1_795_467_600


def login(address: str = A, user: str = "alice", at: int = NOW, lifetime: int = 900) -> Grant:
    return Grant(address, user, at, at + lifetime, "dovecot")


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    opened = Books(str(tmp_path / "books.mdb"))
    yield opened
    opened.close()


def enter(books: Books, *grants: Grant) -> dict[str, int | None]:
    with books.writing() as writing:
        for grant in grants:
            writing.logins.grant(grant)
        return writing.published.changes


def published(books: Books) -> dict[str, int]:
    with books.reading() as reading:
        return dict(reading.published.all())


def test_a_grant_is_published_with_its_expiry(books: Books) -> None:
    assert enter(books, login(), login(B, at=NOW + 5)) == {A: NOW + 900, B: NOW + 905}
    assert published(books) == {A: NOW + 900, B: NOW + 905}


def test_books_that_the_system_gives_no_more_room_are_broken_as_lmdb_has_let_go_of_them(tmp_path: Path) -> None:
    books = Books(str(tmp_path / "books.mdb"), size_bytes=1 << 20)
    with no_address_space_left():
        books._env.set_mapsize(32 << 20)
        with pytest.raises(StoreBrokenError, match=r"cannot be given 64 MiB.*Cannot allocate memory"):
            books.grow()
    books.close()


def test_readers_that_cannot_be_looked_at_are_trouble_and_no_end(tmp_path: Path) -> None:
    books = Books(str(tmp_path / "books.mdb"))
    books.close()
    with pytest.raises(StoreError, match="readers"):
        books.check_readers()


def test_a_replayed_line_does_not_extend_the_grant(books: Books) -> None:
    enter(books, login(at=NOW + 5))
    assert enter(books, login(at=NOW), login(at=NOW + 5)) == {}
    assert published(books) == {A: NOW + 905}


def test_sweeping_takes_out_what_has_run_out_and_nothing_else(books: Books) -> None:
    enter(books, login(), login(B, at=NOW + 5))
    with books.writing() as writing:
        assert writing.published.sweep(NOW + 899) == 0
        assert writing.published.sweep(NOW + 900) == 1
        assert writing.published.changes == {A: None}
    assert published(books) == {B: NOW + 905}


def test_a_revoked_address_stays_revoked_when_an_old_line_is_read_again(books: Books) -> None:
    enter(books, login())
    with books.writing() as writing:
        assert writing.revocations.revoke_address(A, NOW + 10)
        assert writing.published.changes == {A: None}
    with books.writing() as writing:
        assert writing.logins.grant(login()) == "revoked"
        assert writing.logins.grant(login(at=NOW + 10)) == "revoked"
        assert writing.logins.grant(login(at=NOW + 11)) == ""
    assert published(books) == {A: NOW + 911}


def test_revoking_one_of_two_users_behind_an_address_keeps_the_other(books: Books) -> None:
    enter(books, login(user="a@x"), login(user="b@x", at=NOW - 100))
    with books.writing() as writing:
        assert writing.revocations.revoke_user("a@x", NOW + 1) == 1
    assert published(books) == {A: NOW + 800}


def test_revoking_everybody_leaves_nothing(books: Books) -> None:
    enter(books, login(), login(B))
    with books.writing() as writing:
        assert writing.revocations.revoke_all(NOW + 1) == 2
    assert published(books) == {}


def test_a_grant_by_hand_stands_above_a_revocation_of_the_same_second(books: Books) -> None:
    with books.writing() as writing:
        writing.revocations.revoke_address(A, NOW)
        writing.logins.grant_by_hand(A, NOW, NOW + 60)
    assert published(books) == {A: NOW + 60}
    with books.writing() as writing:
        writing.logins.grant_by_hand(A, NOW + 5, NOW + 30)
    assert published(books) == {A: NOW + 30}, "a second grant by hand replaces the first"


def test_a_long_or_strange_user_name_is_one_user(books: Books) -> None:
    long, other = "x" * 3000, "x" * 2999 + "y"
    enter(books, login(user=long), login(user=other), login(user="a\0b\udcff\u202e"))
    with books.reading() as reading:
        assert {row.user for row in reading.logins.of(A)} == {long, other, "a\0b\\udcff\u202e"}
    with books.writing() as writing:
        assert writing.revocations.revoke_user(long, NOW + 1) == 1
    assert published(books) == {A: NOW + 900}


def test_an_expired_login_is_remembered_for_its_time_and_then_forgotten(books: Books) -> None:
    enter(books, login())
    with books.writing() as writing:
        writing.refusals.remember(Refusal("never", NOW, A, "alice"))
        writing.revocations.revoke_user("bob", NOW)
        writing.counters.add({"lines": 2}, NOW)
        assert writing.forget(NOW + 900 + 3599, 3600) == 0
    with books.reading() as reading:
        assert [row.user for row in reading.logins.of(A)] == ["alice"]
        assert reading.revocations.latest_at(B, "bob") == NOW
    with books.writing() as writing:
        assert writing.forget(NOW + 40 * 86400, 3600) == 1
    with books.reading() as reading:
        assert list(reading.logins.of()) == []
        assert reading.refusals.of(A) is None
        assert reading.revocations.latest_at(B, "bob") == 0
        assert reading.counters.of() == {}


def test_learnt_and_place_are_committed_together_or_not_at_all(books: Books) -> None:
    def fail() -> None:
        with books.writing() as writing:
            writing.logins.grant(login())
            writing.places.set("log", b"1")
            raise RuntimeError("crash in between")

    with pytest.raises(RuntimeError):
        fail()
    with books.reading() as reading:
        assert (reading.places.of("log"), list(reading.published.all())) == (None, [])


def test_counters_add_up_by_day(books: Books) -> None:
    for at in (NOW, NOW + 1, NOW + 86400):
        with books.writing() as writing:
            writing.counters.add({"login": 2}, at)
    with books.reading() as reading:
        assert reading.counters.of("2026-11-23") == {"login": 4}
        assert reading.counters.of() == {"login": 6}


KNOWING: list[tuple[str, Callable[[Writing], object]]] = [
    ("a login", lambda writing: writing.logins.grant(login())),
    ("counters", lambda writing: writing.counters.add({"lines": 1}, NOW)),
    ("sweeping", lambda writing: writing.published.sweep(NOW)),
    ("renewing", lambda writing: writing.sessions.renew(NOW)),
]


@pytest.mark.parametrize("change", [row[1] for row in KNOWING], ids=[row[0] for row in KNOWING])
def test_books_know_how_late_it_was_for_a_boot_whose_clock_is_behind(
    books: Books, change: Callable[[Writing], object]
) -> None:
    with books.writing() as writing:
        change(writing)
    with books.writing() as writing:
        writing.published.sweep(NOW - 500)
    with books.reading() as reading:
        assert reading.meta.latest_at == NOW


def test_the_longest_silence_of_each_source_is_kept(books: Books) -> None:
    with books.writing() as writing:
        writing.meta.set_longest_silence("a", 77)
    with books.reading() as reading:
        assert (reading.meta.longest_silence("a"), reading.meta.longest_silence("b")) == (77, 0)


def test_a_clock_set_back_lengthens_no_grant_and_brings_none_back(books: Books) -> None:
    enter(books, login(), login(B, at=NOW - 500))
    with books.writing() as writing:  # the clock jumps two hours ahead: everything has run out
        writing.published.sweep(NOW + 7200)
    with books.writing() as writing:  # and back again
        writing.clock_was_set_back(7200, NOW + 1)
    assert published(books) == {}
    with books.writing() as writing:
        assert writing.logins.grant(login(at=NOW + 2)) == ""
    assert published(books) == {A: NOW + 902}


def test_a_clock_set_back_moves_standing_grants_and_revocations(books: Books) -> None:
    enter(books, login())
    with books.writing() as writing:
        writing.revocations.revoke_address(B, NOW)
        writing.clock_was_set_back(300, NOW - 290)
    assert published(books) == {A: NOW + 600}
    with books.writing() as writing:
        assert writing.logins.grant(login(B, at=NOW - 200)) == "", (
            "a login after the step is newer than the revocation before it"
        )


def test_books_of_another_version_are_refused_with_words(tmp_path: Path) -> None:
    path = str(tmp_path / "books.mdb")
    books = Books(path)
    with books.writing() as writing:
        writing.transaction.put("meta", b"schema", b"99")
    books.close()
    with pytest.raises(StoreError, match="schema b'99'"):
        Books(path)


def test_books_that_are_garbage_or_unreachable_are_an_error_with_words(tmp_path: Path) -> None:
    garbage = tmp_path / "garbage.mdb"
    garbage.write_bytes(b"x" * 100_000)
    for path in (garbage, tmp_path / "missing" / "books.mdb"):
        with pytest.raises(StoreError, match="cannot be opened"):
            Books(str(path))


def test_full_books_are_an_error_and_keep_what_they_held(tmp_path: Path) -> None:
    books = Books(str(tmp_path / "books.mdb"))
    enter(books, login())
    books._env.set_mapsize(books._env.info()["map_size"] >> 14)
    with pytest.raises(StoreError, match="cannot be written"), books.writing() as writing:
        for number in range(100_000):
            writing.logins.grant(login(user=f"user{number}" * 20))
    assert published(books) == {A: NOW + 900}
    books.close()


def test_the_file_is_private(tmp_path: Path) -> None:
    Books(str(tmp_path / "books.mdb")).close()
    assert (tmp_path / "books.mdb").stat().st_mode & 0o777 == 0o600
    assert isinstance(lmdb.version(), tuple)


def test_a_refusal_is_kept_to_be_explained(books: Books) -> None:
    refusal = Refusal("never", NOW, A, "alice")
    with books.writing() as writing:
        writing.refusals.remember(refusal)
        writing.refusals.remember(Refusal("torn", None, B))
    with books.reading() as reading:
        assert (reading.refusals.of(A), reading.refusals.of(B)) == (refusal, None)


def test_a_login_is_forgotten_by_the_time_of_the_latest(books: Books) -> None:
    enter(books, login(at=NOW), login(at=NOW + 500))
    with books.writing() as writing:
        assert writing.forget(NOW + 900 + 3600, 3600) == 0
        assert writing.forget(NOW + 1400 + 3600, 3600) == 1
        assert list(writing.rows.of()) == []


def test_a_grant_by_hand_begins_just_after_the_revocation(books: Books) -> None:
    with books.writing() as writing:
        writing.revocations.revoke_address(A, NOW)
        assert writing.logins.grant_by_hand(A, NOW, NOW + 60).login_at == NOW + 1
