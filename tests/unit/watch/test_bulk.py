"""Many entries at once come to the same as one by one: the same books, the same map, and the same is told."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from popauthd.cluster.keys import make_key, parse_keys
from popauthd.cluster.pseudonym import Pseudonyms
from popauthd.formats.servers import dovecot
from popauthd.model import Failure, Grant, Login, Matter, Refusal, Revocation, SessionEnd, SharedAddress
from popauthd.policy.limits import Limits
from popauthd.policy.plain import PlainJudge
from popauthd.store.books import DATABASES, SCHEMA, Books, Rules, Writing, bulk, sessions
from popauthd.store.books.bulk_play import Plain
from popauthd.store.books.rows import applying, applying_to, login_key
from popauthd.store.books.sessions import OPEN_AT_MOST
from popauthd.watch import batch
from popauthd.watch.batch import MANY, Batch, Entered, Terms, kind_of_dovecots
from popauthd.watch.grant_log import LINES_A_SECOND
from tests.support.blocks import block_of
from tests.support.policy import default_limits, nets
from tests.support.queues import QUEUES, assert_queued

NOW = 1_795_467_600
SEEDS = 80  # of each test
A, B, SIX = "192.0.2.10", "192.0.2.11", "2001:db8::1"
ADDRESSES = (
    A,
    A,
    B,
    "192.0.2.12",
    SIX,
    "2001:db8::2",
    "2001:db8:0:1::1",
    "2001:DB8::1",
    "203.0.113.9",
    "::ffff:192.0.2.10",
)
USERS = ("alice", "alice", "bob", "Bob", "zoë", "x" * 77 + "...", "y" * 90, "z" * 300, "")
SESSIONS = ("", "s1", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "a b")
AGOS = (-150, -60, 0, 0, 1, 5, 60, 100, 800, 899, 900, 1000, 5000, 6500)  # seconds; all but the first two are past
PLAIN = Login(NOW, A, "alice", "imap", "PLAIN", True, "s1", "198.51.100.5", dovecot.NAME)
NAMES = Pseudonyms(parse_keys(make_key()))
ALICE = NAMES.of("alice")[0]
Told = tuple[list[Grant], list[Refusal], list[SharedAddress], int]


@dataclass
class Side:
    """Books, and what became of all that was entered. at_once: many entries at a time, as a log's are."""

    books: Books
    at_once: bool
    published: dict[str, int | None] = field(default_factory=dict)
    told: Told = field(default_factory=lambda: ([], [], [], 0))

    def begin(self, rules: Rules) -> None:
        self.books.rules = rules
        with self.books.writing() as writing:
            writing.transaction.empty(*DATABASES)
            writing.transaction.put("meta", b"schema", SCHEMA)
        self.published, self.told = {}, ([], [], [], 0)

    def enter(
        self, blocks: Sequence[tuple[Sequence[Matter], bool]], limits: Limits, now: int, *, remember: bool, killed: bool
    ) -> None:
        """Enter a batch of blocks, each with whether it has columns. killed: at first it comes to nothing."""
        learnt = Batch("log", b"place")
        terms = Terms(limits, now, holding=self.books.rules.hold_seconds > 0, twice=None, booted_at=NOW - 6000)
        judge = PlainJudge(limits, kind_of_dovecots)
        for events, common in blocks:
            if self.at_once:
                learnt.learn_block(block_of(events, common=common), judge, terms)
            else:
                learnt.learn(events, terms)
        if killed:
            with pytest.raises(RuntimeError), self.books.writing() as writing:
                learnt.enter(writing, now, remember=remember)
                raise RuntimeError("killed")
        with self.books.writing() as writing:
            self._tell(learnt.enter(writing, now, remember=remember))
            self._publish(writing)

    def _tell(self, entered: Entered) -> None:
        opened, refused, shared, closed = self.told
        self.told = [*opened, *entered.opened], [*refused, *entered.refused], [*shared, *entered.shared], closed

    def _publish(self, writing: Writing) -> None:
        if writing.published.cleared:
            self.published.clear()
        self.published.update(writing.published.changes)
        kept = {address: at for address, at in self.published.items() if at is not None}
        assert kept == dict(writing.published.all())

    def between(self, what: str, revocation: Revocation, now: int) -> None:
        """What the watcher does between two batches."""
        with self.books.writing() as writing:
            if what == "renew":
                writing.sessions.renew(now)
            elif what == "sweep":
                writing.published.sweep(now)
                writing.recount(now)
            elif what == "forget":
                writing.forget(now, 600)
            elif what == "revoke":
                writing.revocations.enter(revocation, now)
            elif what == "lose":  # as it never happens
                for row in list(writing.rows.of(A))[:1]:
                    writing.rows.remove(row)
            elif what == "set back":
                writing.clock_was_set_back(30, now)
            self._publish(writing)

    def dump(self) -> dict[str, list[tuple[bytes, bytes]]]:
        """All that the books hold, but the queues whose entries may be too early: it does not matter how early."""
        assert_queued(self.books)
        with self.books.reading() as reading:
            return {name: list(reading.transaction.scan(name)) for name in DATABASES if name not in QUEUES}


@pytest.fixture
def sides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Side, Side]]:
    monkeypatch.setattr(batch, "MANY", 1)
    made = []
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
        made.append(Side(Books(str(tmp_path / name / "books.mdb")), at_once=name == "many"))
    yield made[0], made[1]
    for side in made:
        side.books.close()


def events(dice: random.Random, now: int, calm: bool) -> list[Matter]:
    """What a piece of a log may say: few clients and sessions, times back and forth. calm: nearly all is plain."""
    users, agos = (USERS[:5], AGOS[2:]) if calm else (USERS, AGOS)
    found: list[Matter] = []
    for _ in range(dice.randrange(1, 40)):
        at = now - dice.choice(agos)
        dart, session = dice.random(), dice.choice(SESSIONS)
        if dart < 0.6:
            found.append(
                replace(
                    PLAIN,
                    at=at,
                    address=dice.choice(ADDRESSES),
                    user=dice.choice(users),
                    protocol=dice.choice(("imap", "imap", "pop3")),
                    tls=dice.random() < 0.8,
                    session=session if session != "a b" else "",
                    format=dovecot.NAME if dice.random() < 0.8 else "cyrus",
                )
            )
        elif dart < 0.9:
            found.append(SessionEnd(at, session, "alice", "imap", dovecot.NAME if session != "a b" else "cyrus"))
        elif dart < 0.95:
            found.append(Refusal("torn", at, dice.choice(("", A, B))))
        else:
            found.append(dice.choice([*found, Failure(at, A, "alice")]))
    return found


def limits(dice: random.Random) -> Limits:
    return default_limits(
        ipv6_prefix=dice.choice((64, 128)),
        require_tls=dice.random() < 0.2,
        never=nets("203.0.113.0/24"),
        lifetime_by_network=((*nets("192.0.2.11"), 60),) if dice.random() < 0.3 else (),
    )


@pytest.mark.parametrize("open_at_most", [4, OPEN_AT_MOST])
@pytest.mark.parametrize("first", [0, 10_000])
def test_many_at_once_come_to_the_same_as_one_by_one(
    sides: tuple[Side, Side], first: int, open_at_most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (bulk, sessions):
        monkeypatch.setattr(module, "OPEN_AT_MOST", open_at_most)
    for seed in range(first, first + SEEDS):
        dice = random.Random(seed)
        calm = dice.random() < 0.8
        rules = Rules(0 if calm else dice.choice((0, 1, 2)), hold_seconds=dice.choice((0, 1200, 43200)))
        if seed % 2:
            rules = replace(rules, pseudonyms=NAMES.of, replicate=True)
        allowed, remember, revoking = limits(dice), dice.random() < 0.3, dice.random() < 0.4
        now = NOW
        for side in sides:
            side.begin(rules)
        for _ in range(dice.randrange(1, 5)):
            blocks = [(events(dice, now, calm), dice.random() < 0.8) for _ in range(dice.randrange(1, 4))]
            killed, what = (
                dice.random() < 0.1,
                dice.choice(("", "renew", "sweep", "forget", "revoke", "set back", "lose")),
            )
            whom = dice.choice(
                (
                    {"address": A},
                    {"user": "bob"},
                    {"user": "z" * 300},
                    {"address": "2001:db8::/64"},
                    {},
                    {"user": ALICE},
                )
            )
            revocation = Revocation(now - dice.choice((0, 0, 50)), made_here=dice.random() < 0.5, **whom)
            for side in sides:
                side.enter(blocks, allowed, now, remember=remember, killed=killed)
                if what != "revoke" or revoking:
                    side.between(what, revocation, now)
            one, many = sides
            assert many.dump() == one.dump(), seed
            assert many.told == one.told, seed
            assert many.published == one.published, seed
            now += dice.choice((0, 1, 60, 500, 1000))


@pytest.mark.parametrize("user", ["alice", "Bob", "zoë", "Éva" + "É" * 30, "x" * 64, "X" * 76])
@pytest.mark.parametrize("address", [A, SIX, "2001:db8::/64"])
def test_the_revocations_that_apply_are_the_same_by_the_key_of_a_login(address: str, user: str) -> None:
    assert applying_to(login_key(address, user)) == applying(address, user)


LEFT = [  # what is entered one by one, of a plain login and an end at `B` and what stands here
    ("nothing", [], Rules(25, hold_seconds=43200), 0),
    ("a cut name", [replace(PLAIN, address=B, user="x" * 77 + "...", session="")], Rules(25, hold_seconds=43200), 2),
    ("a stamp ahead of the clock", [replace(PLAIN, at=NOW + 9, address=B, session="")], Rules(25, hold_seconds=9), 2),
    ("another address", [replace(PLAIN, at=NOW + 9, session="")], Rules(25, hold_seconds=43200), 0),
    ("another address with the same session", [replace(PLAIN, at=NOW + 9)], Rules(25, hold_seconds=43200), 2),
    ("too many users", [replace(PLAIN, address=B, session="", user=name) for name in "abc"], Rules(2), 4),
    ("few users", [replace(PLAIN, address=B, session="", user=name) for name in "abc"], Rules(4), 0),
]


@pytest.mark.parametrize(("more", "rules", "left"), [row[1:] for row in LEFT], ids=[row[0] for row in LEFT])
def test_what_is_plain_is_entered_at_once_and_nothing_that_it_has_to_do_with(
    sides: tuple[Side, Side], more: list[Matter], rules: Rules, left: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []
    enter = bulk.Bulk.enter

    def watched(self: bulk.Bulk, *arguments: Any, **named: Any) -> Any:
        opened, again = enter(self, *arguments, **named)
        found.append(len(again))
        return opened, again

    monkeypatch.setattr(bulk.Bulk, "enter", watched)
    session = "s1" if rules.hold_seconds else ""
    told: list[Matter] = [replace(PLAIN, address=B, user="bob", session=session), *more, SessionEnd(NOW, "s1", "", "")]
    for side in sides:
        side.begin(rules)
        side.enter([(told, True)], default_limits(), NOW, remember=False, killed=False)
    assert found == [left]
    assert sides[0].dump() == sides[1].dump()


def test_a_user_whose_key_is_a_digest_stays_revoked_when_his_session_ends(sides: tuple[Side, Side]) -> None:
    user, limits = "z" * 300, default_limits()
    for side in sides:
        side.begin(Rules(hold_seconds=43200))
        side.enter([([replace(PLAIN, user=user)], False)], limits, NOW, remember=False, killed=False)
        side.between("revoke", Revocation(NOW, user=user, made_here=True), NOW)
        side.enter([([SessionEnd(NOW + 60, "s1", "", "")], True)], limits, NOW + 60, remember=False, killed=False)
        assert side.published == {A: None}
    assert sides[0].dump() == sides[1].dump()


def test_of_many_grants_the_first_are_named_and_the_others_counted(sides: tuple[Side, Side]) -> None:
    logins: list[Matter] = [replace(PLAIN, address=f"10.0.{one >> 8}.{one & 255}", session="") for one in range(250)]
    learnt, many = Batch("log", b"place"), sides[1]
    many.begin(Rules(hold_seconds=43200))
    terms = Terms(default_limits(), NOW, holding=True, twice=None)
    learnt.learn_block(block_of(logins, common=True), PlainJudge(terms.limits, kind_of_dovecots), terms)
    with many.books.writing() as writing:
        entered = learnt.enter(writing, NOW, remember=False)
    addresses = [login.address for login in logins if isinstance(login, Login)]
    assert [grant.address for grant in entered.opened] == addresses[:LINES_A_SECOND]
    assert entered.opened_more == len(addresses) - LINES_A_SECOND


@pytest.mark.parametrize("entries", [MANY - 1, MANY])
def test_few_are_entered_one_by_one(sides: tuple[Side, Side], entries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MANY", MANY)
    found: list[int] = []

    def none(
        _self: bulk.Bulk, entries: list[Plain], *_more: object, **_named: object
    ) -> tuple[list[Plain], list[Plain]]:
        found.append(len(entries))
        return [], entries

    monkeypatch.setattr(bulk.Bulk, "enter", none)
    many = sides[1]
    many.begin(Rules(hold_seconds=43200))
    logins: list[Matter] = [replace(PLAIN, user=f"u{number}", session="") for number in range(entries)]
    many.enter([(logins, True)], default_limits(), NOW, remember=False, killed=False)
    assert found == [MANY] * (entries == MANY)
    assert len(many.dump()["logins"]) == entries
