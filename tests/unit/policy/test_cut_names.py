"""popauthd.policy.cut_names: a user name that Dovecot may have cut, and only that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd.policy.cut_names import may_be_cut

# What Dovecot 2.3.19 made of long names, byte for byte.
SEEN = [
    ("77 bytes, whole", "a" * 77, False),
    ("80 bytes, whole", "a" * 80, False),
    ("81 bytes", "a" * 77 + "...", True),
    ("its own three dots, whole", "a" * 76 + "...", True),
    ("two bytes a character, 80 bytes, whole", "ü" * 40, False),
    ("two bytes a character, cut", "a" + "ü" * 38 + "...", True),
    ("three bytes a character, cut at 78", "€" * 25 + "...", True),
    ("four bytes a character, cut at 77", "aa" + "\U0001f600" * 18 + "...", True),
    ("a control character, cut", "a?" + "b" * 75 + "...", True),
    ("the domain cut", "x" * 60 + "@example.org.exam...", True),
    ("no UTF-8, cut", "?" * 77 + "...", True),
    ("half a character of 1.x, as our text shows it", "a" * 76 + "\\xc3...", True),
    ("short, with three dots", "joe...", False),
    ("one byte too short to be cut", "a" * 73 + "...", False),
    ("dots in the middle", "a" * 40 + "..." + "b" * 40, False),
    ("two dots", "a" * 78 + "..", False),
    ("nothing", "", False),
]


@pytest.mark.parametrize(("user", "cut"), [row[1:] for row in SEEN], ids=[row[0] for row in SEEN])
def test_a_name_may_be_cut_only_if_it_looks_as_dovecot_cuts(user: str, cut: bool) -> None:
    assert may_be_cut(user) is cut


def as_dovecot_cuts(name: str, at_most: int = 80) -> str:
    """str_sanitize of Dovecot 2.3 for text that is UTF-8 without control characters."""
    if len(name.encode()) <= at_most:
        return name
    kept = name
    while len(kept.encode()) > at_most - 3:
        kept = kept[:-1]
    return kept + "..."


@given(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=120))
def test_every_name_that_dovecot_cuts_is_noticed(name: str) -> None:
    logged = as_dovecot_cuts(name)
    assert may_be_cut(logged) or logged == name


@given(st.text(max_size=100))
def test_any_text_has_an_answer(name: str) -> None:
    assert may_be_cut(name) in (True, False)
