"""A revocation ends whatever stands, is on the disk before it is answered, and outlives the books."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from popauthd.model import Grant
from popauthd.store.books import DATABASES, SCHEMA, Books, Rules
from popauthd.store.books.revocation_file import RevocationFile, RevocationRecord, later
from popauthd.store.books.rows import login_key
from popauthd.store.books.transaction import Transaction
from popauthd.store.quarantine import heal
from tests.books import unpack

A, B = "192.0.2.10", "2001:db8::7"
NOW = 1_795_467_600
LIFETIME = 900
CUT, WHOLE = "y" * 77 + "...", "y" * 90 + "@example.org"


def login(at: int = NOW, user: str = "anna", address: str = A, now: int = NOW) -> Grant:
    """A login stamped `at`, read at `now`."""
    began = min(at, now)
    return Grant(address, user, began, began + LIFETIME, "dovecot", at - began, "imap")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "books.mdb"


@pytest.fixture
def books(path: Path) -> Iterator[Books]:
    opened = Books(str(path), Rules(hold_seconds=43200))
    yield opened
    opened.close()


def published(books: Books) -> dict[str, int]:
    with books.reading() as reading:
        return dict(reading.published.all())


REVOKE: list[tuple[str, Callable[..., object]]] = [
    ("an address", lambda writing, now: writing.revocations.revoke_address(A, now)),
    ("a user", lambda writing, now: writing.revocations.revoke_user("anna", now)),
    ("everybody", lambda writing, now: writing.revocations.revoke_all(now)),
]
each_way = pytest.mark.parametrize("revoke", [row[1] for row in REVOKE], ids=[row[0] for row in REVOKE])


@each_way
@pytest.mark.parametrize("ahead", [0, 1, 119, 120])
def test_it_ends_a_login_that_is_stamped_ahead_of_the_clock(
    books: Books, revoke: Callable[..., object], ahead: int
) -> None:
    line = login(NOW + ahead)
    with books.writing() as writing:
        assert writing.logins.grant(line, NOW) == ""
        writing.sessions.open("s", line, NOW)
        assert writing.published.expiry(A) == NOW + LIFETIME, "it counts from when it was first seen"
        revoke(writing, NOW)
    assert published(books) == {}
    for later_on in (0, 1, ahead - 1, ahead, ahead + 1, 500):
        now = NOW + max(0, later_on)
        with books.writing() as writing:
            assert writing.logins.grant(login(NOW + ahead, now=now), now) == "revoked", "the same line, read again"
            writing.sessions.renew(now)
            assert list(writing.published.all()) == []
    with books.writing() as writing:
        assert writing.logins.grant(login(NOW + ahead + 1, now=NOW + 1), NOW + 1) == "", "a login made after it"


@pytest.mark.parametrize("revoke", [REVOKE[0][1], REVOKE[2][1]], ids=[REVOKE[0][0], REVOKE[2][0]])
def test_a_grant_by_hand_of_the_same_second_is_ended_again_and_again(
    books: Books, revoke: Callable[..., object]
) -> None:
    for _ in range(20):
        with books.writing() as writing:
            writing.logins.grant_by_hand(A, NOW, NOW + 7 * 86400)
            assert writing.published.expiry(A) == NOW + 7 * 86400
        with books.writing() as writing:
            revoke(writing, NOW)
        assert published(books) == {}


def test_a_login_read_again_stays_where_it_was_first_seen(books: Books) -> None:
    with books.writing() as writing:
        writing.logins.grant(login(NOW + 100), NOW)
    for now in (NOW + 50, NOW + 100, NOW + 400):
        with books.writing() as writing:
            writing.logins.grant(login(NOW + 100, now=now), now)
        assert published(books) == {A: NOW + LIFETIME}


def test_revoking_everybody_is_quick_however_many_there_are_and_leaves_nobody(books: Books) -> None:
    with books.writing() as writing:
        for number in range(300):
            writing.logins.grant(login(user=f"u{number}", address=f"192.0.2.{number % 250}"), NOW)
    with books.writing() as writing:
        assert writing.revocations.revoke_all(NOW) == 250
        assert (writing.published.cleared, writing.published.changes) == (True, {})
        assert writing.logins.grant(login(NOW + 1, now=NOW + 1), NOW + 1) == ""
        assert writing.published.changes == {A: NOW + 1 + LIFETIME}
    assert published(books) == {A: NOW + 1 + LIFETIME}


USERS = [
    ("a cut name, by the whole one", CUT, WHOLE, True),
    ("a cut name, by itself", CUT, CUT, True),
    ("a whole name, by the cut one", WHOLE, CUT, True),
    ("a whole name, by itself", WHOLE, WHOLE, True),
    ("another long name", "y" * 91 + "@example.org", WHOLE, False),
    ("another cut name", "z" * 77 + "...", WHOLE, False),
    ("a short name like its beginning", "y" * 20, WHOLE, False),
    ("a name that the short one begins", "anna.b", "anna", False),
    ("a name in capitals", "Anna@Example.ORG", "anna@example.org", True),
    ("by a name in capitals", "anna@example.org", "ANNA@example.org", True),
    ("a cut name in capitals, by the whole one", CUT.upper(), WHOLE, True),
    ("a whole name, by a cut one in capitals", WHOLE, CUT.upper(), True),
    ("a name too long for the books, in capitals", "Y" * 300, "y" * 300, True),
    ("other letters are not the same in capitals", "\N{LATIN SMALL LETTER A WITH DIAERESIS}nne",
     "\N{LATIN CAPITAL LETTER A WITH DIAERESIS}nne", False),
]  # fmt: skip


@pytest.mark.parametrize(("user", "revoked", "ends"), [row[1:] for row in USERS], ids=[row[0] for row in USERS])
def test_a_name_that_was_cut_is_every_user_that_it_may_be(books: Books, user: str, revoked: str, ends: bool) -> None:
    with books.writing() as writing:
        writing.logins.grant(login(user=user), NOW)
        assert writing.revocations.revoke_user(revoked, NOW + 1) == int(ends)
    assert published(books) == ({} if ends else {A: NOW + LIFETIME})
    with books.writing() as writing:
        assert (writing.logins.grant(login(NOW + 1, user=user, now=NOW + 1), NOW + 1) == "revoked") is ends


def test_a_revoked_64_outlives_the_books_with_every_address_in_it(path: Path) -> None:
    books = Books(str(path))
    with books.writing() as writing:
        writing.revocations.revoke_address("2001:db8:1:2::/64", NOW + 5, inside=True)
    books.close()
    path.unlink()
    again = Books(str(path))
    with again.writing() as writing:
        for address, reason in (
            ("2001:db8:1:2::7", "revoked"),
            ("2001:db8:1:2::/64", "revoked"),
            ("2001:db8:1:3::7", ""),
        ):
            grant = Grant(address, "anna", NOW + 4, NOW + 4 + LIFETIME, "dovecot")
            assert writing.logins.grant(grant, NOW + 9) == reason
    again.close()


def older(path: Path) -> None:
    """Books of the schema before: they know of other revocations, and not of this one."""
    path.unlink()
    unpack(2, path)


HARM: list[tuple[str, Callable[[Path], object]]] = [
    ("missing", lambda path: path.unlink()),
    ("empty", lambda path: path.write_bytes(b"")),
    ("zeroed", lambda path: path.write_bytes(bytes(path.stat().st_size))),
    ("truncated", lambda path: os.truncate(path, path.stat().st_size // 2)),
    ("random", lambda path: path.write_bytes(random.Random(7).randbytes(path.stat().st_size))),
    ("random within", lambda path: path.write_bytes(path.read_bytes()[:8192] + random.Random(7).randbytes(90_000))),
    ("of an older version", older),
]


@pytest.mark.parametrize("harm", [row[1] for row in HARM], ids=[row[0] for row in HARM])
@each_way
def test_it_outlives_books_that_come_to_harm(
    path: Path, revoke: Callable[..., object], harm: Callable[[Path], object]
) -> None:
    books = Books(str(path))
    with books.writing() as writing:
        writing.logins.grant(login(), NOW)
        revoke(writing, NOW + 5)
    books.close()
    harm(path)
    path.with_name("books.mdb-lock").unlink(missing_ok=True)
    heal(str(path), DATABASES, SCHEMA.decode())
    again = Books(str(path))
    with again.writing() as writing:
        assert writing.logins.grant(login(NOW + 4, now=NOW + 9), NOW + 9) == "revoked"
        assert writing.logins.grant(login(NOW + 6, now=NOW + 9), NOW + 9) == ""
    again.close()


@pytest.mark.parametrize("harm", [row[1] for row in HARM], ids=[row[0] for row in HARM])
def test_a_user_in_capitals_stays_revoked_too(path: Path, harm: Callable[[Path], object]) -> None:
    books = Books(str(path))
    with books.writing() as writing:
        writing.revocations.revoke_user("Anna", NOW + 5)
    books.close()
    harm(path)
    path.with_name("books.mdb-lock").unlink(missing_ok=True)
    heal(str(path), DATABASES, SCHEMA.decode())
    again = Books(str(path))
    with again.writing() as writing:
        for user in ("anna", "ANNA"):
            assert writing.logins.grant(login(NOW + 4, user=user, now=NOW + 9), NOW + 9) == "revoked"
    again.close()


@each_way
@pytest.mark.parametrize("ahead", [0, 100])
def test_it_outlives_an_older_copy_of_the_books_that_is_put_back(
    path: Path, revoke: Callable[..., object], ahead: int
) -> None:
    books = Books(str(path))
    with books.writing() as writing:
        writing.logins.grant(login(NOW), NOW)
        writing.logins.grant(login(NOW, user="bob", address=B), NOW)
    books.close()
    copy = path.read_bytes()
    books = Books(str(path))
    with books.writing() as writing:
        writing.logins.grant(login(NOW + 2 + ahead, now=NOW + 2), NOW + 2)
        revoke(writing, NOW + 5)
        closed = {A, B} - {address for address, _expiry in writing.published.all()}
    books.close()
    path.write_bytes(copy)
    again = Books(str(path))
    assert closed == {A, B} - published(again).keys(), "what it ended is published no more"
    with again.writing() as writing:
        now = NOW + 6 + ahead
        assert writing.logins.grant(login(NOW + 2 + ahead, now=now), now) == "revoked"
        assert writing.logins.grant(login(now, now=now), now) == ""
    again.close()


def test_a_grant_by_hand_in_an_older_copy_of_the_books_stays_revoked(path: Path) -> None:
    books = Books(str(path))
    with books.writing() as writing:
        writing.logins.grant_by_hand(A, NOW, NOW + 7 * 86400)
        writing.logins.grant_by_hand(B, NOW, NOW + 7 * 86400)
    books.close()
    copy = path.read_bytes()
    books = Books(str(path))
    with books.writing() as writing:
        writing.revocations.revoke_address(A, NOW)
    books.close()
    path.write_bytes(copy)
    again = Books(str(path))
    assert published(again).keys() == {B}
    again.close()


@pytest.mark.parametrize("hold", [0, 43200])
@pytest.mark.parametrize("crowd", [0, 300])
def test_a_line_stamped_ahead_does_not_open_once_its_login_could_be_forgotten(
    path: Path, hold: int, crowd: int
) -> None:
    books, line = Books(str(path), Rules(hold_seconds=hold, shared_users=1000)), login(NOW + 100)
    with books.writing() as writing:
        writing.logins.grant(line, NOW)
        for number in range(crowd):
            writing.logins.grant(login(NOW + 4, user=f"u{number}", now=NOW + 4), NOW + 4)
        writing.revocations.revoke_all(NOW + 5)
    for now in range(NOW + LIFETIME, NOW + LIFETIME + 200, 20):
        with books.writing() as writing:
            writing.logins.grant(login(now, user="carl", now=now), now)  # so that the users are counted
            writing.forget(now, 0)
            again = login(NOW + 100, now=now)
            if again.expires_at > now:
                assert writing.logins.grant(again, now) == "revoked"
            elif hold:
                assert writing.logins.hold(again, now) == "revoked", "its session might be open"
    with books.writing() as writing:
        writing.forget(NOW + 100 + LIFETIME + hold, 0)
        assert writing.rows.get(login_key(A, "anna")) is None, "nothing can open it any more"
    books.close()


WRITTEN = [
    ("an address", b'"address": "2001:DB8:0::0007"', login(address=B)),
    ("an address within IPv6", b'"address": "::ffff:192.0.2.10"', login()),
    ("a network", b'"network": "2001:0DB8::/64"', login(address=B)),
    ("a user", b'"user": "Anna"', login()),
    ("a long user", b'"user": "' + b"Y" * 300 + b'"', login(user="y" * 300)),
]


@pytest.mark.parametrize(("whom", "ends"), [row[1:] for row in WRITTEN], ids=[row[0] for row in WRITTEN])
def test_a_line_that_an_administrator_added_counts_however_it_is_written(path: Path, whom: bytes, ends: Grant) -> None:
    path.with_name("revocations.jsonl").write_bytes(b'{"revoked_at": %d, %s}\n' % (NOW + 5, whom))
    books = Books(str(path))
    with books.writing() as writing:
        assert writing.logins.grant(ends, NOW + 6) == "revoked"
        assert writing.logins.grant(login(user="bob", address="192.0.2.99"), NOW + 6) == ""
    books.close()


@each_way
def test_it_ends_logins_stamped_ahead_in_new_books_too(path: Path, revoke: Callable[..., object]) -> None:
    books = Books(str(path))
    with books.writing() as writing:
        writing.logins.grant(login(NOW + 60), NOW)
        revoke(writing, NOW + 5)
    books.close()
    path.unlink()
    again = Books(str(path))
    assert again.notes == [f"revocations that outlived the books: 1, from {path.with_name('revocations.jsonl')}"]
    with again.writing() as writing:
        writing.times.settle(NOW + 30)
    with again.writing() as writing:
        for at in (NOW, NOW + 5, NOW + 30, NOW + 60):
            for now in (NOW + 30, NOW + 50, NOW + 60, NOW + 61):
                reason = writing.logins.grant(login(at, now=now), now)
                assert reason == "revoked", (at, now)
        assert writing.logins.grant(login(NOW + 62, now=NOW + 62), NOW + 62) == ""
    again.close()


def test_it_is_on_the_disk_before_it_is_committed_and_private(books: Books, path: Path) -> None:
    file = path.with_name("revocations.jsonl")
    with books.writing() as writing:
        writing.revocations.revoke_user("Zoë\u2028\ud800", NOW)
        writing.revocations.revoke_address(B, NOW)
        writing.revocations.revoke_user(WHOLE, NOW)
        writing.revocations.revoke_user("l" * 500, NOW)
    assert file.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]
    assert {"revoked_at": NOW, "address": B} in lines
    known, bad = RevocationFile(str(file)).load()
    with books.reading() as reading:
        assert (sorted(known.values()), bad) == (sorted(reading.revocations.all()), 0)


def test_a_transaction_that_fails_after_it_was_written_down_still_counts_at_the_next_start(path: Path) -> None:
    books = Books(str(path))
    with books.writing() as writing:
        writing.logins.grant(login(), NOW)
    RevocationFile(str(path.with_name("revocations.jsonl"))).append([RevocationRecord(b"*", NOW + 1)])
    books.close()
    again = Books(str(path))
    with again.reading() as reading:
        assert reading.revocations.latest_at(A, "anna") == NOW + 1
    again.close()


BAD = [
    ("torn", b'{"revoked_at": 17954', 1),
    ("no JSON", b"\xff\xfe\n", 1),
    ("no object", b"[1]\n42\nnull\n", 3),
    ("no time", b'{"user": "bob"}\n', 1),
    ("a time that is none", b'{"revoked_at": "1", "user": "bob"}\n{"revoked_at": 1.5, "user": "bob"}\n', 2),
    ("true is no time", b'{"revoked_at": true, "user": "bob"}\n', 1),
    ("nobody", b'{"revoked_at": 5, "somebody": "bob"}\n', 1),
    ("a user who is a number", b'{"revoked_at": 5, "user": 7}\n', 1),
    ("an address that is none", b'{"revoked_at": 5, "address": "192.0.2.300"}\n', 1),
    ("too deep", b"[" * 2000 + b"\n", 1),
    ("too long", b'{"revoked_at": 5, "user": "' + b"u" * 5000 + b'"}\n', 1),
]


@pytest.mark.parametrize(("rest", "bad"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_line_that_cannot_be_read_costs_only_itself(path: Path, rest: bytes, bad: int) -> None:
    file = path.with_name("revocations.jsonl")
    file.write_bytes(b'{"revoked_at": 1795467600, "user": "anna"}\n' + rest)
    books = Books(str(path))
    assert any(f"{bad} line(s) could not be read" in note for note in books.notes)
    with books.writing() as writing:
        writing.revocations.revoke_address(A, NOW + 1)
    books.close()
    known, left = RevocationFile(str(file)).load()
    assert (sorted(known), left) == ([b"a\0" + A.encode(), b"u\0anna"], 0), "and what comes after it is read"


def test_where_it_cannot_be_written_it_counts_and_is_told_until_it_is_written(books: Books, path: Path) -> None:
    file = path.with_name("revocations.jsonl")
    file.mkdir()
    with books.writing() as writing:
        writing.logins.grant(login(), NOW)
        writing.revocations.revoke_address(A, NOW)
    assert published(books) == {}
    assert "cannot be written" in books.revocations.trouble
    books.tend_revocations()
    assert "cannot be written" in books.revocations.trouble
    file.rmdir()
    books.tend_revocations()
    assert (books.revocations.trouble, file.read_bytes().count(b"\n")) == ("", 1)


def test_a_pipe_in_its_place_keeps_nobody_waiting(books: Books, path: Path) -> None:
    file = path.with_name("revocations.jsonl")
    os.mkfifo(file)
    with books.writing() as writing:
        writing.revocations.revoke_address(A, NOW)
    assert "cannot be written" in books.revocations.trouble
    books.tend_revocations()
    assert (books.revocations.trouble, file.read_bytes().count(b"\n")) == ("", 1)


def test_a_link_in_its_place_is_not_followed(path: Path) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.write_bytes(b"mine\n")
    path.with_name("revocations.jsonl").symlink_to(elsewhere)
    with pytest.raises(Exception, match=r"revocations .*cannot be read"):
        Books(str(path))
    assert elsewhere.read_bytes() == b"mine\n"


def test_the_file_becomes_shorter_when_much_of_it_is_over(path: Path) -> None:
    file = path.with_name("revocations.jsonl")
    line = b'{"revoked_at": %d, "user": "anna"}\n'
    file.write_bytes(b"".join(line % (NOW + number) for number in range(200)))
    Books(str(path)).close()
    assert file.read_bytes() == line % (NOW + 199)
    assert not Path(f"{file}.new").exists()


def test_many_revocations_are_not_written_anew_all_the_time(books: Books, path: Path) -> None:
    with books.writing() as writing:
        for number in range(10_010):
            writing.revocations.revoke_user(f"u{number}", NOW)
    file = path.with_name("revocations.jsonl")
    books.tend_revocations()
    before = file.stat().st_ino
    books.tend_revocations()
    assert file.stat().st_ino == before
    with books.writing() as writing:
        for number in range(10_010):
            writing.revocations.revoke_user(f"u{number}", NOW + 1)
    books.tend_revocations()
    assert file.stat().st_ino == before, "half of it is over: it would not become much shorter"
    with books.writing() as writing:
        for number in range(10_010):
            writing.revocations.revoke_user(f"u{number}", NOW + 2)
    books.tend_revocations()
    assert len(file.read_bytes().splitlines()) == 10_010


def test_revocations_are_forgotten_when_nothing_older_can_grant_any_more(books: Books, path: Path) -> None:
    with books.writing() as writing:
        writing.revocations.revoke_user("anna", NOW)
        writing.forget(NOW + 9 * 86400, 3600)
        assert writing.times.latest_at(A, "anna") == NOW
        writing.forget(NOW + 9 * 86400 + 1, 3600)
        assert writing.times.latest_at(A, "anna") == 0


def test_two_of_the_same_come_to_the_later_one_in_any_order() -> None:
    first, second = RevocationRecord(b"*", 100, 50), RevocationRecord(b"*", 120, 10)
    assert later(first, second) == later(second, first) == RevocationRecord(b"*", 120, 30)
    assert later(None, first) == first


def test_the_same_one_may_come_twice_and_late(books: Books) -> None:
    with books.writing() as writing:
        writing.revocations.merge(RevocationRecord(b"u\0anna", NOW))
        writing.revocations.merge(RevocationRecord(b"u\0anna", NOW - 50))
        writing.revocations.merge(RevocationRecord(b"u\0anna", NOW))
        assert list(writing.revocations.all()) == [RevocationRecord(b"u\0anna", NOW)]


@each_way
@pytest.mark.parametrize("back", [60, 600, 30 * 86400])
def test_what_is_revoked_while_the_clock_is_behind_stays_so_when_it_is_right_and_the_books_are_lost(
    path: Path, revoke: Callable[..., object], back: int
) -> None:
    books = Books(str(path))
    with books.writing() as writing:
        writing.logins.grant(login(), NOW)
        writing.clock_was_set_back(back, NOW + 1 - back)
        revoke(writing, NOW + 2 - back)
        assert writing.logins.grant(login(NOW + 3 - back, now=NOW + 3 - back), NOW + 3 - back) == "", (
            "a later login counts"
        )
    books.close()
    path.unlink()
    again = Books(str(path))
    with again.writing() as writing:
        writing.times.settle(NOW + 4)
        assert writing.logins.grant(login(now=NOW + 4), NOW + 4) == "revoked"
        assert writing.logins.grant(login(NOW + 5, now=NOW + 5), NOW + 5) == ""
    again.close()


@each_way
def test_new_books_take_logins_although_the_clock_is_a_day_behind_the_revocation(
    path: Path, revoke: Callable[..., object]
) -> None:
    books = Books(str(path))
    with books.writing() as writing:
        writing.logins.grant(login(), NOW)
        revoke(writing, NOW + 1)
    books.close()
    path.unlink()
    again, behind = Books(str(path)), NOW - 86400
    with again.writing() as writing:
        writing.times.settle(behind)
        assert writing.logins.grant(login(behind, now=behind), behind) == "revoked"
        assert writing.logins.grant(login(behind + 100, now=behind + 3), behind + 3) == "revoked", (
            "it may be one of old"
        )
        assert writing.logins.grant(login(behind + 181, now=behind + 181), behind + 181) == ""
        writing.times.settle(NOW + 2)
        assert writing.logins.grant(login(now=NOW + 2), NOW + 2) == "revoked"
    again.close()


def test_what_new_books_do_not_know_moves_with_a_clock_that_is_set_back(path: Path) -> None:
    books = Books(str(path))
    with books.writing() as writing:
        writing.logins.grant(login(NOW + 100), NOW)
        writing.revocations.revoke_address(A, NOW)
    books.close()
    path.unlink()
    again = Books(str(path))
    with again.writing() as writing:
        writing.times.settle(NOW + 1)
        writing.clock_was_set_back(50, NOW - 49)
        assert writing.logins.grant(login(NOW + 49, now=NOW + 49), NOW + 49) == "revoked"
        assert writing.logins.grant(login(NOW + 101, now=NOW + 101), NOW + 101) == ""
    again.close()


NAMES = ["anna", "ANNA", "bob", CUT, WHOLE, "y" * 64, "z" * 250, "\udcff"]
ADDRESSES = ["192.0.2.10", "192.0.2.1", "2001:db8::7", "2001:db8::8", "2001:db8::/64", "2001:db8:0:1::7"]


def line_for(dice: random.Random, at: int) -> bytes:
    """A line that an administrator might add."""
    user = dice.choice([name for name in NAMES if name.isascii()])
    whom: dict[str, object] = dice.choice(
        [
            {"address": dice.choice(ADDRESSES)},
            {"network": dice.choice(["2001:db8::/64", "2001:db8:0:1::/64"])},
            {"user": user},
            {"user_cut": user[:64].lower()},
            {"user_whole": user[:64].lower()},
            {"everybody": True},
        ]
    )
    return json.dumps({"revoked_at": at, **whom}).encode() + b"\n"


@pytest.mark.parametrize("seed", range(40))
def test_what_is_added_to_the_file_closes_all_that_it_ends_and_nothing_else(path: Path, seed: int) -> None:
    dice = random.Random(seed)
    books = Books(str(path))
    for _step in range(6):
        with books.writing() as writing:
            for _ in range(12):
                at = NOW + dice.randrange(60)
                writing.logins.grant(login(at, dice.choice(NAMES), dice.choice(ADDRESSES), at), at)
            before = dict(writing.published.all())
        with Path(books.revocations.path).open("ab") as file:
            file.write(line_for(dice, NOW + dice.randrange(80)))
        with books.writing() as writing:
            books.take_in_revocations(writing)
            found = dict(writing.published.all())
            writing.published.recompute_all(before, writing.meta.latest_at)
            assert found == dict(writing.published.all())
            assert found.items() <= {**before, **found}.items()
    books.close()


def test_a_line_about_one_user_does_not_read_all_logins(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    books = Books(str(path))
    with books.writing() as writing:
        for number in range(500):
            writing.logins.grant(login(NOW, f"user{number}", f"10.0.{number >> 8}.{number & 255}"), NOW)
    scan, read = Transaction.scan, list[bytes]()

    def noted(transaction: Transaction, database: str, prefix: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        for row in scan(transaction, database, prefix):
            read.append(row[0])
            yield row

    for line, closed in (({"user": "USER7"}, 1), ({"address": "10.0.0.9"}, 1), ({"everybody": True}, 498)):
        monkeypatch.setattr(Transaction, "scan", noted)
        before = len(published(books))
        with Path(books.revocations.path).open("ab") as file:
            file.write(json.dumps({"revoked_at": NOW + 5, **line}).encode() + b"\n")
        read.clear()
        with books.writing() as writing:
            books.take_in_revocations(writing)
            assert len(read) < 20
        monkeypatch.setattr(Transaction, "scan", scan)
        assert before - len(published(books)) == closed
    books.close()
