"""Pseudonyms of users: short names that lists and revocations treat as they treat the users themselves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd.cluster.events import PeerLogin
from popauthd.cluster.keys import Key, Keys
from popauthd.cluster.pseudonym import Pseudonyms, pseudonym
from popauthd.cluster.wire import fits
from popauthd.policy.peer_names import is_peer_name
from popauthd.policy.user_list import UserList, lower, parse

OLD, NEW = Key("old", b"o" * 32), Key("new", b"n" * 32)
ONE = Keys((OLD,))
ANNA = pseudonym(OLD.secret, "anna@example.org")
USERS = [
    ("a plain name", "anna"),
    ("with a domain", "anna@example.org"),
    ("with two @", "a@b@example.org"),
    ("with an empty domain", "anna@"),
    ("the entry of a domain as a name", "@example.org"),
    ("in another language", "ännä@example.org"),
    ("bytes that are no text", "\udcff@example.org"),
    ("far too long", "x" * 5000 + "@example.org"),
]


@pytest.mark.parametrize(("label", "user"), USERS, ids=[row[0] for row in USERS])
def test_a_pseudonym_is_a_short_name_with_the_pseudonym_of_the_domain(label: str, user: str) -> None:
    found = pseudonym(OLD.secret, user)
    domain = user.rpartition("@")[2] if "@" in user else ""
    expected = Pseudonyms(ONE).of_entry(f"@{domain}")[0] if domain else ""
    assert is_peer_name(found), label
    assert found.endswith(expected)
    assert len(found) == (51 if domain else 25)
    assert fits(PeerLogin("192.0.2.7", found, 1, 1))


def test_a_pseudonym_depends_on_key_name_and_kind_and_never_on_capitals() -> None:
    names = ["anna", "anna@example.org", "anna@example.net", "@anna", "bob", "ANNA\u212a", "anna\u212a"]
    found = {pseudonym(key.secret, name) for key in (OLD, NEW) for name in names}
    assert len(found) == 2 * len(names) - 2  # of the last two only ASCII differs
    assert pseudonym(OLD.secret, "Anna@Example.ORG") == ANNA


def test_a_user_has_a_pseudonym_of_each_key_and_a_pseudonym_is_its_own() -> None:
    both = Pseudonyms(Keys((NEW, OLD)))
    assert both.of("Anna@example.org") == (pseudonym(NEW.secret, "anna@example.org"), ANNA)
    assert both.of(ANNA) == both.of(ANNA.upper()) == (ANNA,)
    assert both.of("") == ()


def test_names_that_only_resemble_a_pseudonym_are_users_like_others() -> None:
    near = [ANNA[1:], ANNA + "x", ANNA + "\n", ANNA.replace("@", "@@"), "~" + "1" * 24, "~" * 25, "~", ANNA[:25] + "@b"]
    near.append(ANNA.replace("s", "\u017f") if "s" in ANNA else "~" + "\u017f" * 24)  # a letter that lower() may change
    assert [name for name in near if is_peer_name(name)] == []
    assert all(pseudonym(OLD.secret, name) != name for name in near)


def hashed(users: UserList, names: Pseudonyms) -> UserList:
    """A list of users as it stands for those of peers."""
    return UserList([(name, inside) for entry, inside in users.entries() for name in names.of_entry(entry)])


LISTED = [
    "anna@example.org",
    "bob@example.org",
    "boss@legacy.example",
    "x@legacy.example",
    "scanner",
    "scanner@b",
    "a@",
]


@pytest.mark.parametrize(
    "text", ["anna@example.org\nscanner", "@legacy.example\n!boss@legacy.example", "*\n!scanner", ""]
)
def test_a_list_of_users_says_the_same_of_pseudonyms(text: str) -> None:
    users, names = parse(text), Pseudonyms(Keys((NEW, OLD)))
    for user in [*LISTED, *map(str.upper, LISTED)]:
        for name in names.of(user):
            assert hashed(users, names).holds(name) is users.holds(user), user


@given(st.text(min_size=1, max_size=40))
def test_every_name_has_one_pseudonym_however_it_is_written(user: str) -> None:
    if not is_peer_name(user):
        assert is_peer_name(pseudonym(OLD.secret, user))
        assert pseudonym(OLD.secret, lower(user)) == pseudonym(OLD.secret, user)
