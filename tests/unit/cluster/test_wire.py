"""Signed entries: what travels between nodes arrives as it was sent, and all else counts for nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd.cluster import wire
from popauthd.cluster.events import Hello, PeerEvent, PeerGrant, PeerLogin, PeerRevocation
from popauthd.cluster.keys import Key, Keys
from popauthd.cluster.pseudonym import pseudonym
from popauthd.cluster.wire import KINDS, LATEST, REPLAY_MS, Received, Rejected, decode, encode, fits

OLD, NEW = Key("old", b"o" * 32), Key("new", b"n" * 32)
ONE = Keys((OLD,))
STREAM = "popauthd:{grants}"
AT = 1_795_469_400
SENT = AT * 1000 + 250
ANNA = pseudonym(OLD.secret, "anna@example.org")
LOGIN = PeerLogin("192.0.2.7", ANNA, AT, AT + 60, "pop3", "PLAIN", True)
EVENTS: list[tuple[str, PeerEvent]] = [
    ("a login", LOGIN),
    ("a login of a /64, of which nobody knows more", PeerLogin("2001:db8::/64", ANNA, AT, AT)),
    ("a login by a user without a domain", replace(LOGIN, user=pseudonym(OLD.secret, "anna"))),
    ("a method in another language", replace(LOGIN, method="Schlüssel")),
    ("a grant by hand", PeerGrant("2001:db8::7", AT, AT + 7 * 86400)),
    ("a revocation of a user", PeerRevocation(AT, user=ANNA)),
    ("a revocation of an address", PeerRevocation(AT, "192.0.2.7")),
    ("a revocation of everybody", PeerRevocation(AT)),
    ("a hello", Hello(version="0.2.0~rc1+deb12u1")),
    ("a hello of a node that missed something", Hello(wants_all=True)),
]
UNFIT: list[tuple[str, PeerEvent]] = [
    ("a user in clear", replace(LOGIN, user="anna@example.org")),
    ("a pseudonym in capitals", replace(LOGIN, user=ANNA.upper())),
    ("no user", replace(LOGIN, user="")),
    ("no address", replace(LOGIN, address="")),
    ("an address that is written in another way", replace(LOGIN, address="2001:DB8::7")),
    ("an IPv4 address within IPv6", replace(LOGIN, address="::ffff:192.0.2.7")),
    ("another network than a /64", replace(LOGIN, address="2001:db8::/48")),
    ("open before it began", replace(LOGIN, open_at=AT - 1)),
    ("a time before 1970", replace(LOGIN, at=-1)),
    ("a time after the year 9999", PeerRevocation(LATEST + 1)),
    ("a method with a line feed", replace(LOGIN, method="PLAIN\n")),
    ("a method that is too long", replace(LOGIN, method="x" * 65)),
    ("a method that is no text", replace(LOGIN, method="\udc80")),
    ("a protocol that is none", replace(LOGIN, protocol="pop 3")),
    ("a grant that ends before it begins", PeerGrant("192.0.2.7", AT, AT - 1)),
    ("a revocation of a user at an address", PeerRevocation(AT, "192.0.2.7", ANNA)),
    ("a version with a blank", Hello(version="0.2 beta")),
]


def sent(event: PeerEvent, keys: Keys = ONE, stream: str = STREAM) -> dict[bytes, bytes]:
    return encode(
        event, node="mx1.example.org", run="0123456789abcdef", number=7, sent_ms=SENT, stream=stream, keys=keys
    )


def read(fields: dict[bytes, bytes], keys: Keys = ONE, id_ms: int = SENT) -> Received | Rejected:
    return decode(fields, stream=STREAM, keys=keys, id_ms=id_ms)


def signed(fields: dict[bytes, bytes]) -> dict[bytes, bytes]:
    """Fields that a node of another version, or a broken one, has signed."""
    rest = {name: value for name, value in fields.items() if name != b"mac"}
    return {**rest, b"mac": wire._mac(OLD.secret, STREAM, rest)}


@pytest.mark.parametrize(("label", "event"), EVENTS, ids=[label for label, _event in EVENTS])
def test_an_event_arrives_as_it_was_sent(label: str, event: PeerEvent) -> None:
    assert fits(event)
    assert read(sent(event)) == Received(event, "mx1.example.org", "0123456789abcdef", 7, SENT), label


def test_every_kind_is_among_the_events_that_are_tried() -> None:
    assert {row.record for row in KINDS.values()} == {type(event) for _label, event in EVENTS}


@pytest.mark.parametrize(("label", "event"), UNFIT, ids=[label for label, _event in UNFIT])
def test_an_event_out_of_its_bounds_is_neither_sent_nor_taken(label: str, event: PeerEvent) -> None:
    assert not fits(event), label
    with pytest.raises(ValueError):
        sent(event)


@pytest.mark.parametrize("name", sorted(sent(LOGIN)))
def test_a_login_with_any_field_changed_or_gone_is_forged(name: bytes) -> None:
    good = sent(LOGIN)
    gone = {one: value for one, value in good.items() if one != name}
    found = [read({**good, name: good[name] + b"0"}), read(gone)]
    assert found == [Rejected("forged")] * 2


FORGED = [
    ("for another stream", sent(LOGIN, stream="other")),
    ("with another key", sent(LOGIN, Keys((NEW,)))),
    ("with another key under our key's name", sent(LOGIN, Keys((Key("old", NEW.secret),)))),
    ("with a field more", {**sent(LOGIN), b"x": b""}),
    ("with two fields that change places", {**sent(LOGIN), b"g": sent(LOGIN)[b"h"], b"h": sent(LOGIN)[b"g"]}),
    ("with nothing", {}),
    ("with a name of a key that is no text", {**sent(LOGIN), b"kid": b"\xff"}),
]


@pytest.mark.parametrize(("label", "fields"), FORGED, ids=[label for label, _fields in FORGED])
def test_an_entry_that_is_signed_otherwise_is_forged(label: str, fields: dict[bytes, bytes]) -> None:
    assert read(fields) == Rejected("forged"), label


OF_OTHERS = [
    ("a field that only a newer version knows", {b"zone": b"eu"}, None),
    ("a kind that only a newer version knows", {b"k": b"quota"}, "unknown-kind"),
    ("a newer wire", {b"v": b"2"}, "unknown-kind"),
    ("a user in clear", {b"u": b"anna@example.org"}, "malformed"),
    ("an address with leading zeros", {b"a": b"192.0.002.7"}, "malformed"),
    ("bytes that are no text", {b"a": b"\xff"}, "malformed"),
    ("a number with a sign", {b"g": b"+1"}, "malformed"),
    ("a number of other digits", {b"g": "١".encode()}, "malformed"),
    ("a number with a line feed", {b"g": b"1\n"}, "malformed"),
    ("a flag that is neither", {b"s": b"yes"}, "malformed"),
    ("a run that is none", {b"r": b"1"}, "malformed"),
    ("a node without a name", {b"n": b""}, "malformed"),
    ("a node with a line feed in its name", {b"n": b"mx1\n"}, "malformed"),
]


@pytest.mark.parametrize(("label", "change", "reason"), OF_OTHERS, ids=[label for label, _change, _reason in OF_OTHERS])
def test_what_another_version_signs_is_taken_skipped_or_refused(
    label: str, change: dict[bytes, bytes], reason: str | None
) -> None:
    found = read(signed({**sent(LOGIN), **change}))
    assert (found.reason if isinstance(found, Rejected) else None) == reason, label


def test_a_signed_entry_that_lacks_a_field_is_malformed_and_names_its_sender() -> None:
    for name in sent(LOGIN).keys() - {b"mac", b"kid", b"n", b"k", b"v"}:
        fields = sent(LOGIN)
        del fields[name]
        assert read(signed(fields)) == Rejected("malformed", "mx1.example.org")


@pytest.mark.parametrize(
    "fields",
    [
        {b"%d" % number: b"" for number in range(65)},
        {b"x": b"y" * 513},
        {b"x" * 33: b""},
    ],
    ids=["too many fields", "a value that is too long", "a name that is too long"],
)
def test_a_huge_entry_is_not_looked_at(fields: dict[bytes, bytes]) -> None:
    assert read(signed({**sent(LOGIN), **fields})) == Rejected("malformed")


def test_an_entry_that_is_sent_again_later_is_replayed() -> None:
    apart = [-REPLAY_MS - 1, -REPLAY_MS, REPLAY_MS, REPLAY_MS + 1]
    found = [isinstance(read(sent(LOGIN), id_ms=SENT + ms), Received) for ms in apart]
    assert found == [False, True, True, False]
    assert read(sent(LOGIN), id_ms=SENT + apart[3]) == Rejected("replayed", "mx1.example.org")


def test_while_a_key_is_replaced_both_are_taken_and_the_first_signs() -> None:
    both = Keys((NEW, OLD))
    assert isinstance(read(sent(LOGIN), both), Received)
    assert isinstance(read(sent(LOGIN, both), both), Received)
    assert sent(LOGIN, both)[b"kid"] == b"new"
    assert read(sent(LOGIN, both)) == Rejected("forged")


@given(st.dictionaries(st.binary(max_size=40), st.binary(max_size=600), max_size=70), st.booleans(), st.integers())
def test_whatever_stands_in_the_stream_is_judged_and_raises_nothing(
    fields: dict[bytes, bytes], good: bool, id_ms: int
) -> None:
    found = read(signed({**sent(LOGIN), **fields}) if good else fields, id_ms=id_ms)
    assert good or isinstance(found, Rejected)


TEXTS = st.text(max_size=80)


@given(TEXTS, TEXTS, st.integers(), st.integers(), TEXTS, TEXTS, st.booleans())
def test_what_fits_arrives_and_what_does_not_is_not_sent(
    address: str, user: str, at: int, open_at: int, protocol: str, method: str, tls: bool
) -> None:
    for event in (
        PeerLogin(address, user, at, open_at, protocol, method, tls),
        PeerLogin("192.0.2.7", ANNA, abs(at), abs(at) + abs(open_at), "imap", method, tls),
        PeerRevocation(at, address, user),
        Hello(tls, method),
    ):
        if fits(event):
            found = read(sent(event))
            assert isinstance(found, Received)
            assert found.event == event
        else:
            with pytest.raises(ValueError):
                sent(event)


def test_an_entry_is_small() -> None:
    assert sum(len(name) + len(value) for name, value in sent(LOGIN).items()) < 300
