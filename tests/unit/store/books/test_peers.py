"""What other nodes tell merges by maximum: in any order, doubled and late it comes to the same books' answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import IPv6Network, ip_address
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from popauthd import address as addresses
from popauthd.cluster.events import PeerEvent, PeerGrant, PeerLogin, PeerRevocation
from popauthd.cluster.keys import make_key, parse_keys
from popauthd.cluster.pseudonym import Pseudonyms
from popauthd.model import PEER_FORMAT, Grant, Revocation
from popauthd.store.books import Books, Rules, Writing
from popauthd.store.books.revocation_file import RevocationRecord
from popauthd.store.books.rows import user_revocation

NOW = 1_795_467_600
LIFETIME = 100
A, SIX, SITE = "192.0.2.10", "2001:db8::1", "2001:db8::/64"
NAMES = Pseudonyms(parse_keys(make_key()))
ANNA, BOB = NAMES.of("anna@example.org")[0], NAMES.of("bob")[0]
RULES = Rules(hold_seconds=43200, pseudonyms=NAMES.of, replicate=True)


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Books]:
    opened = Books(str(tmp_path / "books.mdb"), RULES)
    yield opened
    opened.close()


def tell(books: Books, *events: PeerEvent, now: int = NOW) -> None:
    with books.writing() as writing:
        for event in events:
            enter(writing, event, now)


def enter(writing: Writing, event: PeerEvent, now: int) -> None:
    if isinstance(event, PeerLogin):
        at = min(event.at, now)
        until = max(at, min(event.open_at, now)) + LIFETIME
        made = Grant(event.address, event.user, at, until, PEER_FORMAT, event.at - at)
        writing.peers.login(made, LIFETIME, now)
    elif isinstance(event, PeerGrant):
        writing.peers.grant(Grant(event.address, "", event.at, event.expires_at, PEER_FORMAT), now)
    elif isinstance(event, PeerRevocation):
        writing.revocations.enter_from_peer(event, now)


def published(books: Books) -> dict[str, int]:
    with books.reading() as reading:
        return dict(reading.published.all())


def waiting(books: Books) -> list[PeerEvent]:
    with books.writing() as writing:
        return [event for _entry, event in writing.outbox.waiting(1000)]


def login(address: str = A, user: str = ANNA, at: int = NOW, open_at: int = 0) -> PeerLogin:
    return PeerLogin(address, user, at, max(at, open_at), "imap", "PLAIN", True)


TIMES = st.integers(NOW - 150, NOW)
LOGINS = st.builds(login, st.sampled_from([A, SIX, SITE]), st.sampled_from([ANNA, BOB]), TIMES, TIMES)
GRANTS = st.builds(
    lambda address, at, more: PeerGrant(address, at, at + more), st.sampled_from([A, SIX]), TIMES, st.integers(1, 300)
)
REVOCATIONS = st.builds(
    lambda at, whom: PeerRevocation(at, *whom),
    TIMES,
    st.sampled_from([("", ""), (A, ""), (SIX, ""), (SITE, ""), ("", ANNA), ("", BOB)]),
)
EVENTS = st.lists(st.one_of(LOGINS, LOGINS, GRANTS, REVOCATIONS), max_size=12)


def applies(revocation: PeerRevocation, address: str, user: str) -> bool:
    """As the manual says it: an address ends its /64 too, and a /64 all that is in it."""
    if revocation.user or not revocation.address:
        return revocation.user in ("", user)
    if address in addresses.keys(revocation.address.removesuffix("/64")) and not revocation.address.endswith("/64"):
        return True
    inside = revocation.address.endswith("/64") and ":" in address
    return inside and ip_address(address.removesuffix("/64")) in IPv6Network(revocation.address)


def oracle(events: Sequence[PeerEvent]) -> dict[str, int]:
    """What may relay after all of these events, and until when: maxima, and nothing of their order."""
    ends = [event for event in events if isinstance(event, PeerRevocation)]
    found: dict[str, int] = {}

    def stands(address: str, user: str, at: int, until: int) -> None:
        if until > NOW and all(at > end.at for end in ends if applies(end, address, user)):
            found[address] = max(found.get(address, 0), until)

    logins = [event for event in events if isinstance(event, PeerLogin)]
    for address, user in {(one.address, one.user) for one in logins}:
        mine = [one for one in logins if (one.address, one.user) == (address, user)]
        at, open_at = max(one.at for one in mine), max(one.open_at for one in mine)
        stands(address, user, at, max(at, open_at) + LIFETIME)
    grants = [event for event in events if isinstance(event, PeerGrant)]
    for address in {one.address for one in grants}:
        last = max((one for one in grants if one.address == address), key=lambda one: (one.at, one.expires_at))
        stands(address, "", last.at, last.expires_at)
    return found


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, data=st.data())
def test_events_in_any_order_doubled_and_in_any_pieces_give_what_their_maxima_say(
    tmp_path: Path, events: list[PeerEvent], data: st.DataObject
) -> None:
    path = tmp_path / "books.mdb"
    for old in tmp_path.iterdir():
        old.unlink()
    books = Books(str(path), RULES)
    try:
        for event in data.draw(st.permutations(events + events[: len(events) // 2])):
            tell(books, event)
        assert published(books) == oracle(events)
        tell(books, *events)
        assert published(books) == oracle(events)
        told = [event for event in waiting(books) if not isinstance(event, PeerRevocation)]
        assert told == []  # what peers told is theirs to tell
    finally:
        books.close()


def test_a_login_that_nobody_saw_is_never_made_up(books: Books) -> None:
    tell(books, PeerRevocation(NOW - 5), login(at=NOW - 9, open_at=NOW))
    assert published(books) == {}


def test_a_held_session_of_a_peer_lifts_its_login_and_a_revocation_ends_it_whatever_its_session(books: Books) -> None:
    tell(books, login(at=NOW - 5000, open_at=NOW - 50))
    assert published(books) == {A: NOW + 50}
    tell(books, login(at=NOW - 5000, open_at=NOW))
    assert published(books) == {A: NOW + LIFETIME}
    tell(books, PeerRevocation(NOW - 4000, user=ANNA))
    tell(books, login(at=NOW - 5000, open_at=NOW + 1), now=NOW + 1)
    assert published(books) == {}


def test_a_peers_future_time_stands_no_longer_than_a_lifetime_from_now(books: Books) -> None:
    tell(books, login(at=NOW + 300, open_at=NOW + 300))
    assert published(books) == {A: NOW + LIFETIME}
    tell(books, login(at=NOW + 300, open_at=NOW + 300), now=NOW + 20)
    assert published(books) == {A: NOW + 20 + LIFETIME}, "a session that is open still"
    tell(books, PeerRevocation(NOW + 30, user=ANNA), now=NOW + 30)
    assert published(books) == {}


def test_a_revocation_a_little_ahead_of_our_clock_ends_what_is_stamped_before_it_and_locks_out_nobody(
    books: Books,
) -> None:
    tell(books, login(), PeerRevocation(NOW + 3, user=ANNA))
    tell(books, login(at=NOW + 2))
    assert published(books) == {}
    tell(books, login(at=NOW + 4), now=NOW + 4)
    assert published(books) == {A: NOW + 4 + LIFETIME}
    tell(books, PeerRevocation(NOW + 9000, user=BOB), now=NOW + 5)
    tell(books, login(SIX, BOB, NOW + 11), now=NOW + 11)
    assert published(books)[SIX] == NOW + 11 + LIFETIME


def test_a_login_that_is_revoked_by_its_stamp_alone_is_not_found_again_when_its_address_is_looked_at(
    books: Books,
) -> None:
    tell(books, PeerRevocation(NOW + 3, user=ANNA))
    tell(books, login(at=NOW + 2), now=NOW + 2)
    tell(books, PeerGrant(A, NOW + 3, NOW + 4), now=NOW + 3)
    assert published(books) == {A: NOW + 4}


def here(user: str = "anna@example.org", at: int = NOW, address: str = A, form: str = "dovecot") -> Grant:
    return Grant(address, user, at, at + LIFETIME, form, 0, "imap", "PLAIN", True)


def test_a_login_here_is_told_by_the_users_pseudonym_with_its_latest_time(books: Books) -> None:
    for at in (NOW - 5, NOW):
        with books.writing() as writing:
            writing.logins.grant(here(at=at), NOW)
    assert waiting(books) == [login()]


def test_what_was_told_is_removed_unless_it_has_changed_meanwhile(books: Books) -> None:
    with books.writing() as writing:
        writing.logins.grant(here(at=NOW - 5), NOW)
        writing.logins.grant(here(address=SIX), NOW)
    with books.writing() as writing:
        taken = [entry for entry, _event in writing.outbox.waiting(10)]
        writing.logins.grant(here(), NOW)
    with books.writing() as writing:
        writing.outbox.sent(taken)
        assert writing.outbox.count() == 1
    assert waiting(books) == [login()]


NOT_TOLD = [
    ("a revoked login", here(at=NOW - 50)),
    ("a login that has run out", here(at=NOW - LIFETIME)),
    ("a peer's login", here(BOB, form=PEER_FORMAT)),
    ("a name that was cut", here("x" * 77 + "...")),
]


@pytest.mark.parametrize("made", [row[1] for row in NOT_TOLD], ids=[row[0] for row in NOT_TOLD])
def test_no_other_node_is_told_of(books: Books, made: Grant) -> None:
    with books.writing() as writing:
        writing.times.enter(RevocationRecord(user_revocation("anna@example.org"), NOW - 50), NOW - 50, strict=False)
        writing.logins.grant(made, NOW)
    assert waiting(books) == []


def test_nothing_waits_where_there_is_no_cluster(books: Books) -> None:
    books.rules = Rules(hold_seconds=43200)
    with books.writing() as writing:
        writing.logins.grant(here(), NOW)
        writing.revocations.enter(Revocation(NOW, made_here=True), NOW)
    assert waiting(books) == []


def test_a_session_that_goes_on_and_its_end_are_told_by_when_it_was_last_open(books: Books) -> None:
    with books.writing() as writing:
        writing.sessions.note_end(NOW - 60)
        writing.logins.grant(here(at=NOW - 60), NOW - 60)
        writing.sessions.open("s1", here(at=NOW - 60), NOW - 60)
        writing.sessions.renew(NOW)
    assert waiting(books) == [login(at=NOW - 60, open_at=NOW)]
    with books.writing() as writing:
        writing.sessions.end("s1", NOW + 20, NOW + 20)
    assert waiting(books) == [login(at=NOW - 60, open_at=NOW + 20)]


REVOKED = [  # what an administrator revokes, and what others are told
    (Revocation(NOW, made_here=True), [PeerRevocation(NOW)]),
    (Revocation(NOW, address=A, made_here=True), [PeerRevocation(NOW, A)]),
    (Revocation(NOW, address=SIX, made_here=True), [PeerRevocation(NOW, SIX)]),
    (Revocation(NOW, address=SITE, made_here=True), [PeerRevocation(NOW, SITE), PeerRevocation(NOW, SIX)]),
    (Revocation(NOW, user="Anna@example.org", made_here=True), [PeerRevocation(NOW, user=ANNA)]),
    (Revocation(NOW, user=ANNA, made_here=True), [PeerRevocation(NOW, user=ANNA)]),
]


@pytest.mark.parametrize(("made", "told"), REVOKED, ids=[f"{row[0].address}{row[0].user}" for row in REVOKED])
def test_a_revocation_here_is_told_and_ends_the_same_elsewhere(
    books: Books, made: Revocation, told: list[PeerEvent], tmp_path: Path
) -> None:
    tell(books, *(login(address, user) for address in (A, SIX, SITE) for user in (ANNA, BOB)))
    with books.writing() as writing:
        writing.revocations.enter(made, NOW)
    assert waiting(books) == told
    (tmp_path / "other").mkdir()
    other = Books(str(tmp_path / "other" / "books.mdb"), RULES)
    tell(other, *(login(address, user) for address in (A, SIX, SITE) for user in (ANNA, BOB)), *told)
    with books.reading() as one, other.reading() as two:
        for row in one.logins.of():
            ends = one.revocations.end(row), two.revocations.end(row)
            assert ends[0] is ends[1], row
    other.close()


def test_a_users_logins_here_end_by_a_revocation_under_his_pseudonym_and_a_new_login_counts(books: Books) -> None:
    with books.writing() as writing:
        writing.logins.grant(here(at=NOW - 5), NOW)
        writing.logins.grant(here("bob", NOW - 5, SIX), NOW)
    tell(books, PeerRevocation(NOW - 1, user=ANNA))
    assert list(published(books)) == [SIX]
    with books.writing() as writing:
        assert writing.logins.grant(here(at=NOW - 2), NOW) == "revoked"
        assert writing.logins.grant(here(at=NOW), NOW) == ""
    assert set(published(books)) == {A, SIX}


def test_a_held_session_here_ends_by_a_revocation_under_the_pseudonym(books: Books) -> None:
    with books.writing() as writing:
        writing.sessions.note_end(NOW - 60)
        writing.logins.grant(here(at=NOW - 60), NOW - 60)
        writing.sessions.open("s1", here(at=NOW - 60), NOW - 60)
    tell(books, PeerRevocation(NOW - 30, user=ANNA))
    with books.writing() as writing:
        writing.sessions.renew(NOW)
        assert writing.sessions.held_count() == 0
    assert published(books) == {}


def test_a_revocation_from_before_the_cluster_counts_for_the_names_of_peers_too(books: Books) -> None:
    books.rules = Rules(hold_seconds=43200)
    with books.writing() as writing:
        writing.revocations.enter(Revocation(NOW, user="anna@example.org", made_here=True), NOW)
    books.rules = RULES
    tell(books, login(at=NOW - 5))
    assert published(books) == {A: NOW - 5 + LIFETIME}
    with books.writing() as writing:
        writing.revocations.name_peers(NOW)
    assert published(books) == {}
    assert waiting(books) == [PeerRevocation(NOW, user=ANNA)]


def test_one_user_here_and_elsewhere_counts_once_on_an_address(books: Books) -> None:
    books.rules = Rules(shared_users=1, pseudonyms=NAMES.of, replicate=True)
    with books.writing() as writing:
        writing.logins.grant(here(), NOW)
    tell(books, login(at=NOW - 1))
    assert published(books) == {A: NOW + LIFETIME}
    tell(books, login(user=BOB))
    assert published(books) == {}


def test_the_later_of_two_grants_by_hand_counts_though_they_are_of_one_second(books: Books) -> None:
    for seconds in (500, 50):
        with books.writing() as writing:
            writing.logins.grant_by_hand(A, NOW, NOW + seconds)
    assert published(books) == {A: NOW + 50}
    assert waiting(books) == [PeerGrant(A, NOW + 1, NOW + 50)]
