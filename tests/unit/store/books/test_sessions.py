"""Held sessions: an address stays allowed while a session on it is open, and not a lifetime longer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popauthd.model import Grant
from popauthd.store.books import Books, Rules
from popauthd.store.books.sessions import ENDED_SECONDS, ENDS_SECONDS, OPEN_AT_MOST

A = "192.0.2.10"
NOW = 1_795_467_600
LIFETIME = 900
CAP = 12 * 3600


def login(at: int = NOW, user: str = "alice", address: str = A) -> Grant:
    return Grant(address, user, at, at + LIFETIME, "dovecot")


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    opened = Books(str(tmp_path / "books.mdb"), Rules(hold_seconds=CAP))
    prove(opened)
    yield opened
    opened.close()


def prove(books: Books) -> None:
    """Let the log show that it tells of ends."""
    begin(books, "first", login(NOW - 100_000, "somebody", "192.0.2.250"))
    end(books, "first", NOW - 99_000)


def begin(books: Books, session: str, grant: Grant) -> None:
    with books.writing() as writing:
        assert writing.logins.grant(grant) == ""
        writing.sessions.open(session, grant, grant.login_at)


def end(books: Books, session: str, at: int) -> None:
    with books.writing() as writing:
        writing.sessions.end(session, at, at)


def expiry(books: Books, at: int, *, renewing: bool = True) -> int | None:
    """The published expiry at a time, when the watcher has done what was due until then."""
    with books.writing() as writing:
        if renewing:
            writing.sessions.renew(at)
        writing.published.sweep(at)
        return writing.published.expiry(A)


def live(books: Books, begin_at: int, end_at: int, step: int = 60) -> None:
    """Let the watcher keep house from one time to another."""
    for at in range(begin_at, end_at, step):
        expiry(books, at)


def test_at_first_the_expiry_is_login_plus_lifetime(books: Books) -> None:
    begin(books, "s1", login())
    assert expiry(books, NOW + 10) == NOW + LIFETIME


def test_an_open_session_keeps_its_address_allowed_at_every_moment(books: Books) -> None:
    begin(books, "s1", login())
    for at in range(NOW, NOW + 3 * 3600, 30):
        found = expiry(books, at)
        assert found is not None
        assert at < found <= at + LIFETIME, "and a watcher that dies lets it run out within a lifetime"


def test_it_is_renewed_when_half_a_lifetime_is_over_and_not_before(books: Books) -> None:
    begin(books, "s1", login())
    renewed = [NOW + LIFETIME // 2, NOW + 2 * (LIFETIME // 2)]
    for at, until in ((renewed[0] - 1, NOW), (renewed[0], renewed[0]), (renewed[1] - 1, renewed[0]), (renewed[1],) * 2):
        assert expiry(books, at) == until + LIFETIME


def test_a_lifetime_of_a_second_is_renewed_every_second(books: Books) -> None:
    begin(books, "s1", Grant(A, "alice", NOW, NOW + 1, "dovecot"))
    for at in range(NOW + 1, NOW + 5):
        assert expiry(books, at) == at + 1


def test_a_newer_login_keeps_what_a_session_added(books: Books) -> None:
    """The address is recomputed from its logins when another user of it is revoked."""
    begin(books, "s1", login())
    begin(books, "other", login(NOW + 7000, "bob"))
    live(books, NOW, NOW + 7200)
    end(books, "s1", NOW + 7200)
    with books.writing() as writing:
        assert writing.logins.grant(login(NOW + 7100), NOW + 7210) == ""
        writing.revocations.revoke_user("bob", NOW + 7220)
    assert expiry(books, NOW + 7230) == NOW + 7200 + LIFETIME


def test_it_ends_a_lifetime_after_the_session(books: Books) -> None:
    begin(books, "s1", login())
    live(books, NOW, NOW + 7200)
    end(books, "s1", NOW + 7200)
    assert expiry(books, NOW + 7201) == NOW + 7200 + LIFETIME
    assert expiry(books, NOW + 7200 + LIFETIME) is None
    with books.reading() as reading:
        assert reading.sessions.held_count() == 0


def test_a_lost_closing_line_costs_at_most_the_cap(books: Books) -> None:
    begin(books, "s1", login())
    live(books, NOW, NOW + CAP)
    assert expiry(books, NOW + CAP - 1) == NOW + CAP
    assert expiry(books, NOW + CAP) is None
    live(books, NOW + CAP, NOW + CAP + 3600)
    assert expiry(books, NOW + CAP + 3600) is None
    with books.reading() as reading:
        assert reading.sessions.held_count() == 0


def test_a_session_shorter_than_the_lifetime_is_capped_as_well(tmp_path: Path) -> None:
    books = Books(str(tmp_path / "short.mdb"), Rules(hold_seconds=60))
    prove(books)
    begin(books, "s1", login())
    live(books, NOW, NOW + LIFETIME)
    assert expiry(books, NOW + LIFETIME - 1) == NOW + LIFETIME
    assert expiry(books, NOW + LIFETIME) is None
    books.close()


def test_two_sessions_hold_until_the_last_one_ends(books: Books) -> None:
    begin(books, "s1", login())
    begin(books, "s2", login(NOW + 100))
    live(books, NOW, NOW + 5000)
    end(books, "s2", NOW + 5000)
    live(books, NOW + 5000, NOW + 9000)
    assert expiry(books, NOW + 9000) is not None
    end(books, "s1", NOW + 9000)
    assert expiry(books, NOW + 9001) == NOW + 9000 + LIFETIME


def test_without_renewal_what_is_held_runs_out_and_comes_back_with_it(books: Books) -> None:
    begin(books, "s1", login())
    assert expiry(books, NOW + LIFETIME, renewing=False) is None
    assert expiry(books, NOW + 5000) == NOW + 5000 + LIFETIME, "the watcher was away; the session never ended"


def test_a_revoked_session_is_not_renewed_and_its_end_opens_nothing(books: Books) -> None:
    begin(books, "s1", login())
    live(books, NOW, NOW + 5000)
    with books.writing() as writing:
        writing.revocations.revoke_user("alice", NOW + 5000)
    assert expiry(books, NOW + 5001) is None
    live(books, NOW + 5001, NOW + 7000)
    assert expiry(books, NOW + 7000) is None
    end(books, "s1", NOW + 7000)
    assert expiry(books, NOW + 7001) is None


def test_a_new_login_after_a_revocation_does_not_bring_back_an_old_session(books: Books) -> None:
    begin(books, "s1", login())
    with books.writing() as writing:
        writing.revocations.revoke_address(A, NOW + 5)
    begin(books, "s2", login(NOW + 10))
    end(books, "s2", NOW + 20)
    live(books, NOW + 20, NOW + 20 + LIFETIME)
    assert expiry(books, NOW + 20 + LIFETIME) is None


def test_a_closing_line_read_before_its_opening_line_leaves_nothing_open(books: Books) -> None:
    end(books, "s1", NOW + 3)
    begin(books, "s1", login())
    assert expiry(books, NOW + 4) == NOW + 3 + LIFETIME
    assert expiry(books, NOW + 3 + LIFETIME) is None


def test_an_opening_line_read_again_from_a_second_log_opens_nothing(books: Books) -> None:
    begin(books, "s1", login())
    end(books, "s1", NOW + 3)
    begin(books, "s1", login())
    with books.reading() as reading:
        assert reading.sessions.held_count() == 0


def test_ended_sessions_are_forgotten(books: Books) -> None:
    end(books, "s1", NOW)
    with books.writing() as writing:
        assert writing.transaction.get("sessions", b"s1") == b"-%d" % NOW
        writing.forget(NOW + ENDED_SECONDS, 3600)
        assert writing.transaction.get("sessions", b"s1") is None


def test_the_end_of_a_stranger_s_session_changes_nothing(books: Books) -> None:
    begin(books, "s1", login())
    end(books, "s2", NOW + 50)
    assert expiry(books, NOW + 60) == NOW + LIFETIME


def test_sessions_without_end_take_bounded_room(books: Books) -> None:
    for number in range(OPEN_AT_MOST + 10):
        begin(books, f"s{number}", login(NOW + number))
    with books.reading() as reading:
        opened = [at for _address, _user, at in reading.sessions.all(A)]
    assert opened == list(range(NOW + 10, NOW + 10 + OPEN_AT_MOST)), "the oldest were given up"
    end(books, "s0", NOW + 5000)
    with books.reading() as reading:
        assert len(list(reading.sessions.all())) == OPEN_AT_MOST


def test_a_login_of_an_open_session_is_not_forgotten(books: Books) -> None:
    begin(books, "s1", login())
    with books.writing() as writing:
        writing.forget(NOW + 40 * 86400, 0)
        assert [row.user for row in writing.rows.of(A)] == ["alice"]


def test_a_clock_set_back_moves_sessions_with_it(books: Books) -> None:
    begin(books, "s1", login())
    live(books, NOW, NOW + 1800)
    with books.writing() as writing:
        writing.clock_was_set_back(1000, NOW + 800)
    live(books, NOW + 800, NOW + CAP - 1000)
    assert expiry(books, NOW + CAP - 1001) == NOW + CAP - 1000, "the cap is real time"
    assert expiry(books, NOW + CAP - 1000) is None


def test_after_a_restart_of_the_machine_no_session_is_open(books: Books) -> None:
    begin(books, "s1", login())
    with books.writing() as writing:
        writing.sessions.forget_all()
    assert expiry(books, NOW + 10) == NOW + LIFETIME
    live(books, NOW + 10, NOW + LIFETIME)
    assert expiry(books, NOW + LIFETIME) is None


def test_a_log_that_never_tells_of_an_end_holds_nothing(tmp_path: Path) -> None:
    books = Books(str(tmp_path / "old.mdb"), Rules(hold_seconds=CAP))
    begin(books, "s1", login())
    end(books, "another", NOW + 10)  # the end of nothing we know proves nothing
    live(books, NOW, NOW + LIFETIME)
    assert expiry(books, NOW + LIFETIME) is None
    begin(books, "s2", login(NOW + 5000, "bob", "192.0.2.11"))
    end(books, "s2", NOW + 5001)
    live(books, NOW + 5001, NOW + 6000)
    assert expiry(books, NOW + 6000) is not None, "now it is known that ends are told"
    books.close()


def test_a_log_that_tells_of_ends_no_more_is_believed_for_a_week(books: Books) -> None:
    with books.reading() as reading:
        proved = int(reading.transaction.get("meta", b"ends") or 0)
    with books.writing() as writing:
        assert writing.sessions.ends_are_logged(proved + ENDS_SECONDS - 1)
        assert not writing.sessions.ends_are_logged(proved + ENDS_SECONDS)


def test_an_end_that_the_log_did_not_tell_of_proves_nothing(tmp_path: Path) -> None:
    books = Books(str(tmp_path / "old.mdb"), Rules(hold_seconds=CAP))
    begin(books, "s1", login())
    begin(books, "s2", login(address="192.0.2.99"))
    with books.writing() as writing:
        assert writing.sessions.end_elsewhere({A}, NOW + 100, NOW + 100) == 1
    live(books, NOW + 100, NOW + LIFETIME)
    assert expiry(books, NOW + LIFETIME) is None, "Dovecot was asked; its log may never tell of an end"
    books.close()


def test_an_end_that_was_told_of_before_the_clock_was_set_back_is_not_believed_for_longer(books: Books) -> None:
    end_told, back = NOW - 99_000, 30 * 86400
    with books.writing() as writing:
        writing.clock_was_set_back(back, NOW - back)
        assert writing.sessions.ends_are_logged(end_told - back + ENDS_SECONDS - 1)
        assert not writing.sessions.ends_are_logged(end_told - back + ENDS_SECONDS)


def test_a_log_that_stays_unread_renews_nothing_and_what_is_over_is_given_up(books: Books) -> None:
    begin(books, "s1", login())
    for at in range(NOW, NOW + 2 * CAP + LIFETIME, LIFETIME):
        with books.writing() as writing:
            writing.sessions.renew(at, unread=True)
            writing.published.sweep(at)
            assert writing.published.expiry(A) == (NOW + LIFETIME if at == NOW else None)
    with books.reading() as reading:
        assert reading.sessions.held_count() == 0


def test_the_plain_rule_knows_no_sessions(tmp_path: Path) -> None:
    books = Books(str(tmp_path / "plain.mdb"))
    begin(books, "s1", login())
    end(books, "s1", NOW)
    end(books, "s2", NOW)
    with books.reading() as reading:
        assert [list(reading.transaction.scan(name)) for name in ("sessions", "gone", "held", "renew")] == [[]] * 4
    live(books, NOW, NOW + LIFETIME)
    assert expiry(books, NOW + LIFETIME) is None
    books.close()


@pytest.mark.parametrize("session", ["", "a b", "a\nb", "a\0b", "é", "x" * 256])
def test_a_strange_session_id_holds_nothing(books: Books, session: str) -> None:
    begin(books, session, login())
    with books.reading() as reading:
        assert reading.sessions.held_count() == 0


def test_a_session_id_may_be_long(books: Books) -> None:
    begin(books, "x" * 255, login())
    with books.reading() as reading:
        assert reading.sessions.held_count() == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["login", "end", "wait", "revoke", "step"]),
        st.integers(0, 3),
        st.integers(1, 2000),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_any_history_of_sessions_gives_what_a_small_model_gives(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]]
) -> None:
    books = Books(str(tmp_path_factory.mktemp("m") / "books.mdb"), Rules(hold_seconds=7200))
    prove(books)
    now, opened, ended, revoked_at, number = NOW, {}, [], 0, 0
    for what, which, seconds in steps:
        if what == "login":
            number += 1
            opened[f"s{number}"] = (now, which)
            begin(books, f"s{number}", login(now, f"user{which}"))
            ended.append((now, now + LIFETIME))
        elif what == "end" and opened:
            name = sorted(opened)[which % len(opened)]
            at, _user = opened.pop(name)
            ended.append((at, min(now + LIFETIME, at + 7200)))
            end(books, name, now)
        elif what == "revoke":
            with books.writing() as writing:
                writing.revocations.revoke_all(now)
            revoked_at, opened = now, {}
            now += 1
        else:
            now += seconds
        opened = {name: (at, user) for name, (at, user) in opened.items() if at + 7200 > now}
        found = expiry(books, now)
        open_now = [at for at, _user in opened.values() if at > revoked_at]
        past = max((until for at, until in ended if at > revoked_at and until > now), default=0)
        if open_now:
            assert found is not None
            assert found > now, "allowed while a session is open"
            assert found <= max(past, now + LIFETIME, *(at + 900 for at in open_now))
        elif found is not None:
            # What renewal lifted stands until it runs out; without renewals it is exactly what the model says.
            assert found >= past
            assert found <= max(past, now + LIFETIME)
        else:
            assert past == 0
    books.close()
