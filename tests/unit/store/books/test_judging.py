"""Judging many stored logins at once comes to the same as one by one."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from popauthd.model import Grant
from popauthd.store.books import DATABASES, SCHEMA, Books, Rules, Writing
from popauthd.store.books.judging import Judging
from popauthd.store.books.rows import LightRow
from tests.support.queues import QUEUES, assert_queued

NOW, DAY, SEEDS = 1_795_467_600, 86400, 60
ADDRESSES = ("192.0.2.10", "192.0.2.11", "192.0.2.12", "2001:db8::1", "2001:db8:0:1::/64")
USERS = ("alice", "Bob", "zo\N{LATIN SMALL LETTER E WITH DIAERESIS}", "x" * 77 + "...", "y" * 300, "carol", "dan")


def fill(writing: Writing, dice: random.Random) -> None:
    """Logins that stand, that have run out, that are held, revoked, by hand, stamped ahead; shared addresses."""
    for _ in range(dice.randrange(1, 40)):
        at, address, user = NOW - dice.choice((0, 10, 500, 900, 5000)), dice.choice(ADDRESSES), dice.choice(USERS)
        grant = Grant(address, user, at, at + dice.choice((300, 900, DAY)), "dovecot", dice.choice((0, 0, 0, 60)))
        dart = dice.random()
        if dart < 0.1:
            writing.logins.grant_by_hand(address, NOW, NOW + dice.choice((60, DAY)))
        elif dart < 0.15:
            writing.revocations.revoke_user(user, NOW)
        elif dart < 0.2:
            writing.revocations.revoke_address(address, NOW - 600)
        elif writing.logins.grant(grant, NOW) != "revoked" and dice.random() < 0.2:
            writing.sessions.open(f"s{dice.random()}", grant, NOW)


class Verdicts:
    """A judge who decides by the login alone, whenever he is asked."""

    def __init__(self, seed: int, kinds: tuple[str, ...]) -> None:
        self._seed, self._kinds = seed, kinds

    def judge(self, row: LightRow, _held: bool) -> tuple[int, int]:
        _address, _user, login_at, until, lifetime, *_rest = row
        kind = random.Random(f"{self._seed} {row[:2]}").choice(self._kinds)
        return {
            "none": (0, 0),
            "shorter": (login_at + 200, 200),
            "over": (NOW - 5, 100),
            "as it is": (until, lifetime),
            "longer": (until + 100, lifetime + 100),
            "later shorter": (until, lifetime - 50),
        }[kind]


def all_of(_self: Judging, clients: Iterable[object]) -> set[bytes]:
    return {one.address for one in clients}  # type: ignore[attr-defined]


@pytest.mark.parametrize("at_once", [1, 5, 0])
def test_many_at_once_come_to_the_same_as_one_by_one(
    tmp_path: Path, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    books, changed = {}, 0
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
        books[name] = Books(str(tmp_path / name / "books.mdb"))
    for seed in range(SEEDS):
        dice = random.Random(seed)
        rules = Rules(dice.choice((0, 2, 25)), hold_seconds=43200)
        kinds = dice.choice((("shorter",), ("none", "as it is", "shorter", "over", "longer", "later shorter")))
        found = []
        for name, each in books.items():
            each.rules = rules
            with each.writing() as writing:
                writing.transaction.empty(*DATABASES)
                writing.transaction.put("meta", b"schema", SCHEMA)
                fill(writing, random.Random(seed))
            ended, told, after, more = 0, dict[str, int | None](), b"", True
            with monkeypatch.context() as patched:
                if name == "one":
                    patched.setattr(Judging, "_revoked", all_of)
                while more:
                    with each.writing() as writing:
                        some, after = writing.logins.judge_again(Verdicts(seed, kinds).judge, NOW, after, at_once)
                        told.update(writing.published.changes)
                    ended, more = ended + some, bool(after)
            assert_queued(each)
            with each.reading() as reading:
                kept = {name: list(reading.transaction.scan(name)) for name in DATABASES if name not in QUEUES}
            found.append((ended, told, kept))
        assert found[0] == found[1], seed
        changed += len(found[0][1])
    assert changed > SEEDS
    for each in books.values():
        each.close()
