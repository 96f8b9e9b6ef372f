"""popauthd.watch.failed_logins: failed logins are remembered for a while, are bounded, and never grant."""

from __future__ import annotations

from popauthd.address import network
from popauthd.model import Failure
from popauthd.watch.failed_logins import AT_MOST, REMEMBERED_SECONDS, FailedLogins

NOW = 1_795_467_600
A, B, SIX = "192.0.2.7", "192.0.2.8", "2001:db8::7"


def made(*failures: Failure, now: int = NOW) -> FailedLogins:
    known = FailedLogins()
    known.remember(failures, now)
    return known


def addresses(known: FailedLogins, *networks: str, users: tuple[str, ...] = (), now: int = NOW) -> list[str]:
    return [one.latest.address for one in known.of(tuple(map(network, networks)), users, now)]


def test_the_latest_failure_of_an_address_is_told_with_their_number() -> None:
    known = made(Failure(NOW - 20, A, "anna"), Failure(NOW - 10, A, "ann"), Failure(NOW - 5, B, "bob"))
    (found,) = known.of((network(A),), (), NOW)
    assert (found.latest, found.times) == (Failure(NOW - 10, A, "ann"), 2)


def test_failures_are_found_by_network_and_by_user_the_newest_first() -> None:
    known = made(Failure(NOW - 20, A, "Anna"), Failure(NOW - 10, SIX, "bob"), Failure(NOW - 5, B, "bob"))
    assert addresses(known, "192.0.2.0/24") == [B, A]
    assert addresses(known, "2001:db8::/64") == [SIX]
    assert addresses(known, users=("anna",)) == [A]
    assert addresses(known, A, users=("BOB",)) == [B, SIX, A]
    assert addresses(known) == []


def test_what_is_long_ago_is_forgotten_and_never_taken_in() -> None:
    known = made(Failure(NOW, A), Failure(NOW - REMEMBERED_SECONDS - 1, B), Failure(NOW + 2 * REMEMBERED_SECONDS, SIX))
    assert addresses(known, "0.0.0.0/0", "::/0") == [A]
    later = NOW + REMEMBERED_SECONDS
    assert addresses(known, "0.0.0.0/0", now=later) == []
    known.remember([Failure(later, A)], later)
    assert known.of((network(A),), (), later)[0].times == 1


def test_no_more_addresses_than_a_bound_are_remembered() -> None:
    known = FailedLogins()
    known.remember((Failure(NOW, f"2001:db8::{number:x}") for number in range(AT_MOST + 100)), NOW)
    assert len(known._known) == AT_MOST
    assert addresses(known, "2001:db8::/128") == []
    assert addresses(known, f"2001:db8::{AT_MOST + 99:x}") == [f"2001:db8::{AT_MOST + 99:x}"]
