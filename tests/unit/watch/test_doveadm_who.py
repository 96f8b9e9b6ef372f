"""Asking Dovecot who is connected: answers of every kind, and none; sessions end only where nobody is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from popauthd.errors import SourceError
from popauthd.model import Grant
from popauthd.store.books import Books, Rules
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from popauthd.watch.doveadm_who import Who, addresses
from popauthd.watch.ledger import Ledger
from popauthd.watch.lost_sessions import LostSessions
from tests.support.helpers import eventually

NOW = 1_795_467_600
ANSWER = (
    b'[{"username":"joe","service":"imap","pid":"10911","ip":"2001:DB8::7"},'
    b'{"username":"joe","service":"pop3","pid":"10913","ip":"::ffff:192.0.2.7"}]'
)
STRANGE = [b"", b"{}x", b"[1]", b'[{"ip": 5}]', b'[{"pid": "1"}]', b"\xff", b"[" * 100_000, b"null"]


def said(text: str, status: int = 0, complaint: str = "") -> Who:
    return Who(("sh", "-c", f"printf '%s' '{text}'; printf '%s' '{complaint}' >&2; exit {status}"))


def wait_for_answer(who: Who) -> set[str]:
    found: list[set[str]] = []

    def look() -> bool:
        answer = who.answer()
        if answer is not None:
            found.append(answer)
        return answer is not None

    eventually(look, "the answer")
    return found[0]


def test_the_addresses_are_canonical() -> None:
    assert addresses(ANSWER) == {"2001:db8::7", "192.0.2.7"}
    assert addresses(b"[]") == set()


@pytest.mark.parametrize("text", STRANGE, ids=lambda text: repr(text[:12]))
def test_a_strange_answer_is_an_error(text: bytes) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        addresses(text)


def test_the_answer_of_a_command_is_awaited_without_waiting() -> None:
    who = said(ANSWER.decode())
    assert who.answer() is None
    who.ask()
    assert wait_for_answer(who) == {"2001:db8::7", "192.0.2.7"}
    assert not who.asking


def test_what_doveadm_complains_of_beside_its_answer_does_not_spoil_it() -> None:
    who = said(ANSWER.decode(), complaint="Error: net_connect_unix(stats-writer) failed: Permission denied")
    who.ask()
    assert wait_for_answer(who) == {"2001:db8::7", "192.0.2.7"}


def test_a_command_that_fails_or_is_not_there_is_an_error() -> None:
    who = said("", 75, "Fatal: no anvil")
    who.ask()
    with pytest.raises(SourceError, match="no anvil"):
        wait_for_answer(who)
    with pytest.raises(SourceError, match="cannot be run"):
        Who(("/no/such/command",)).ask()


def ledger_of(books: Books, directory: Path) -> Ledger:
    return Ledger(books, Publisher(MapWriter(str(directory / "relay.mdb"))))


def tend_until(lost: LostSessions, ledger: Ledger, ended: int) -> None:
    total: list[int] = []

    def tended() -> bool:
        total.append(lost.tend(ledger, NOW + 5000))
        return sum(total) == ended and not lost._who.asking

    eventually(tended, "the answer to be used")


def test_a_session_ends_when_dovecot_knows_no_connection_from_its_address(tmp_path: Path) -> None:
    books = Books(str(tmp_path / "books.mdb"), Rules(hold_seconds=43200))
    with books.writing() as writing:
        for number, client in enumerate(("192.0.2.7", "192.0.2.8", "192.0.2.9")):
            at = NOW + (4999 if client.endswith("9") else 0)  # the last one has only just come
            grant = Grant(client, "joe", at, at + 900, "dovecot")
            writing.logins.grant(grant)
            writing.sessions.open(f"s{number}", grant, at)
        writing.sessions.renew(NOW + 4990)
    tend_until(LostSessions(said(ANSWER.decode())), ledger_of(books, tmp_path), 1)
    with books.reading() as reading:
        assert {address for address, _user, _at in reading.sessions.all()} == {"192.0.2.7", "192.0.2.9"}
        assert reading.published.expiry("192.0.2.8") == NOW + 5000 + 900
    books.close()


def test_when_dovecot_cannot_be_asked_nothing_ends(tmp_path: Path) -> None:
    books = Books(str(tmp_path / "books.mdb"), Rules(hold_seconds=43200))
    with books.writing() as writing:
        grant = Grant("192.0.2.8", "joe", NOW, NOW + 900, "dovecot")
        writing.logins.grant(grant)
        writing.sessions.open("s", grant, NOW)
    lost = LostSessions(said("", 75, "Fatal"))
    ledger = ledger_of(books, tmp_path)
    lost.tend(ledger, NOW + 5000)
    eventually(lambda: not (lost.tend(ledger, NOW + 5000) or lost._who.asking), "the failure")
    with books.reading() as reading:
        assert reading.sessions.held_count() == 1
    books.close()
