"""However a log is cut into chunks, the books are the same in the end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from popauthd.address import network
from popauthd.model import Event, Login, Refusal, SessionEnd
from popauthd.policy.cut_names import may_be_cut
from popauthd.store.books import DATABASES, Books, Rules
from popauthd.watch.batch import Batch, Terms
from tests.support.policy import default_limits

NOW = 1_795_467_600
A, B, NEVER = "192.0.2.10", "192.0.2.11", "203.0.113.9"
LONG = "x" * 77 + "..."
LIMITS = default_limits(never=(network(NEVER),))
RULES = Rules(shared_users=2, hold_seconds=43200)
Dump = dict[str, list[tuple[bytes, bytes]]]


def login(ago: int, session: str, address: str = A, user: str = "alice") -> Login:
    return Login(NOW - ago, address, user, "imap", "PLAIN", True, session, "198.51.100.5", "dovecot")


def end(ago: int, session: str) -> SessionEnd:
    return SessionEnd(NOW - ago, session, "alice", "imap", "dovecot")


def entered(directory: Path, chunks: Sequence[Sequence[Event]], *, remember: bool) -> Dump:
    """Everything that the books hold when these chunks have been entered one after the other."""
    path = directory / "books.mdb"
    for name in (path, directory / "revocations.jsonl"):
        name.unlink(missing_ok=True)
    books = Books(str(path), RULES)
    with books.writing() as writing:
        writing.revocations.revoke_user("mallory", NOW - 300)
    for chunk in chunks:
        batch = Batch("log")
        batch.learn(chunk, Terms(LIMITS, NOW, holding=True, twice=None))
        with books.writing() as writing:
            batch.enter(writing, NOW, remember=remember)
    with books.reading() as reading:
        dump = {name: list(reading.transaction.scan(name)) for name in DATABASES}
    books.close()
    return dump


def cuts(events: Sequence[Event]) -> list[list[Sequence[Event]]]:
    """The sequence in one chunk, cut once at every place, and an event a chunk."""
    once = [[events[:place], events[place:]] for place in range(1, len(events))]
    return [[events], *once, [[event] for event in events]]


SEQUENCES: list[tuple[str, list[Event]]] = [
    ("a session begins and ends", [login(60, "s"), end(50, "s")]),
    ("it ends before it begins", [end(50, "s"), login(60, "s")]),
    ("another login with the same session", [login(60, "s"), login(50, "s", B, "bob"), end(40, "s")]),
    ("another login with it, after its end", [login(60, "s"), end(50, "s"), login(40, "s", B, "bob")]),
    ("a refused login with the session of another", [login(60, "s"), login(50, "s", NEVER), end(40, "s")]),
    ("a refused login with it first", [login(60, "s", NEVER), login(50, "s"), end(40, "s")]),
    ("the end of a refused login", [login(60, "s", NEVER), end(50, "s")]),
    ("a revoked login with it", [login(400, "s", A, "mallory"), end(50, "s"), login(40, "s")]),
    ("read late, and still open", [login(5000, "s")]),
    ("read late, and ended lately", [login(5000, "s"), end(100, "s")]),
    ("read late, and ended long ago", [login(9000, "s"), end(8000, "s")]),
    ("read late, the same session twice", [login(9000, "s"), login(8000, "s", B), end(100, "s"), login(50, "s")]),
    ("ended twice", [login(60, "s"), end(50, "s"), end(30, "s")]),
    ("a newer login keeps what a session added", [login(5000, "s"), end(10, "s"), login(9, "t")]),
    ("too many users", [login(60 - n, f"s{n}", A, f"u{n}") for n in range(5)]),
    ("too many users, read late", [e for n in range(5) for e in (login(5000, f"s{n}", A, f"u{n}"), end(60, f"s{n}"))]),
    ("too many of a name that was cut", [login(60 - n, "", A, LONG) for n in range(5)]),
    ("refusals", [Refusal("torn", NOW, A), login(5, ""), Refusal("bad-stamp", NOW, B), Refusal("torn", NOW, A)]),
    ("stamps ahead of the clock", [login(-50, "s"), login(-60, "t"), login(-40, "s", B), end(-45, "s")]),
]


@pytest.mark.parametrize("remember", [False, True], ids=["one source", "several sources"])
@pytest.mark.parametrize("events", [row[1] for row in SEQUENCES], ids=[row[0] for row in SEQUENCES])
def test_a_sequence_that_is_cut_anywhere_gives_the_same_books(
    tmp_path: Path, events: list[Event], remember: bool
) -> None:
    whole, *others = (entered(tmp_path, chunks, remember=remember) for chunks in cuts(events))
    for other in others:
        assert other == whole


@st.composite
def event(draw: st.DrawFn) -> Event:
    ago, session = draw(st.sampled_from([-60, 5, 100, 800, 899, 900, 1000, 5000])), draw(st.sampled_from("rst"))
    if draw(st.booleans()):
        return end(ago, session)
    user = draw(st.sampled_from(["alice", "bob", "carl", "dora", "mallory", LONG]))
    return login(ago, draw(st.sampled_from([session, ""])), draw(st.sampled_from([A, A, B, NEVER])), user)


@settings(max_examples=40, deadline=None)
@given(st.lists(event(), min_size=2, max_size=9), st.booleans(), st.data())
def test_any_sequence_that_is_cut_anywhere_gives_the_same_books(
    tmp_path_factory: pytest.TempPathFactory, events: list[Event], remember: bool, data: st.DataObject
) -> None:
    directory = tmp_path_factory.mktemp("chunks")
    place = data.draw(st.integers(1, len(events) - 1))
    chunkings = ([events], [events[:place], events[place:]], [[event] for event in events])
    whole, *others = (entered(directory, chunks, remember=remember) for chunks in chunkings)
    assert all(other == whole for other in others)
    assert may_be_cut(LONG)


def test_the_first_login_keeps_a_session_and_a_stranger_does_not_close_it(tmp_path: Path) -> None:
    dump = entered(tmp_path, [[login(60, "s"), login(50, "s", B, "bob"), login(45, "s", NEVER)]], remember=False)
    assert dump["sessions"] == [(b"s", f"{A}\0alice".encode())]
    assert [key for key, _value in dump["held"]] == [f"{A}\0alice".encode()]


def test_the_end_counts_though_a_refused_login_bears_the_same_session(tmp_path: Path) -> None:
    dump = entered(tmp_path, [[login(60, "s"), login(50, "s", NEVER), end(40, "s")]], remember=False)
    assert (dump["held"], dump["sessions"], dump["renew"]) == ([], [], [])
    assert dict(dump["published"]) == {A.encode(): b"%d" % (NOW - 40 + 900)}
