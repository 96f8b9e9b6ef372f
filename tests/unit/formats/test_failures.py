"""Failed logins: who failed from where, in the words of each server; never a grant, and never another's address."""

from __future__ import annotations

import json

import pytest

from popauthd.formats.failures import ROWS
from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Failure, Ignored
from popauthd.reasons import FAILED
from tests.support.corpus_samples import CORPUS

NOW = 1_795_467_610  # 2026-11-23T21:00:10Z
AT = NOW - 10
FILE = b"Nov 23 21:00:00 "
ELEMENTS = b"user=<anna>, method=PLAIN, rip=192.0.2.7, lip=198.51.100.5, TLS, session=<x>"
LINES = [json.loads(text) for text in (CORPUS / "failures.jsonl").read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize("row", LINES, ids=[f"{row['server']} {number}" for number, row in enumerate(LINES)])
def test_a_failed_login_is_known_by_its_line(row: dict[str, str]) -> None:
    options, line = Options(row["framing"], timezone="UTC", formats=(row["server"],)), row["line"].encode()
    event = Recogniser(options).line(line, NOW)
    assert isinstance(event, Ignored)
    assert event.failed == Failure(AT, row["address"], row["user"], row["why"])
    assert Recogniser(options).block(line + b"\n", NOW) == ([event.failed], 1)


def test_every_row_and_every_reason_has_a_line() -> None:
    assert {row.part_of for row in ROWS} == {failed["server"] for failed in LINES}
    assert {failed["why"] for failed in LINES} == FAILED.keys()


# Lines that tell of no failed login, or could name another's address.
OTHERS = [
    ("nobody tried", b"Disconnected (no auth attempts in 0 secs): user=<>, rip=192.0.2.7, lip=192.0.2.1, TLS"),
    ("too many", b"Maximum number of connections from user+IP exceeded (x=1): user=<a>, method=PLAIN, rip=192.0.2.7"),
    ("the words in the user", b"Disconnected (no auth attempts): user=<(auth failed, x)>, rip=192.0.2.7, lip=1.1.1.1"),
    ("two addresses", b"Disconnected (auth failed, 1): user=<x>, method=PLAIN, rip=6.6.6.6, lip=1>, rip=192.0.2.7"),
    ("an address in the user", b"Disconnected (auth failed, 1): user=<a>, rip=6.6.6.6, lip=<b>, rip=192.0.2.7, lip=1"),
    ("no address", b"Disconnected (auth failed, 1 attempts): user=<a>, method=PLAIN, rip=192.0.2.700, lip=192.0.2.1"),
    ("another service", b""),
]  # fmt: skip


@pytest.mark.parametrize(("label", "message"), OTHERS, ids=[row[0] for row in OTHERS])
def test_a_line_that_tells_of_none_or_is_doubtful_is_left_out(label: str, message: bytes) -> None:
    head = b"imap-login: Info: "
    if not message:
        head, message = b"managesieve-login: Info: ", b"Login aborted: x (auth failed, 1 attempts): " + ELEMENTS
    event = Recogniser(Options("dovecot-file", timezone="UTC")).line(FILE + head + message, NOW)
    assert getattr(event, "failed", None) is None, label


def test_a_journal_record_that_anybody_can_write_tells_of_no_failed_login() -> None:
    fields = {
        "MESSAGE": "imap-login: Disconnected (auth failed, 1 attempts): " + ELEMENTS.decode(),
        "SYSLOG_IDENTIFIER": "dovecot",
        "_SOURCE_REALTIME_TIMESTAMP": str(AT * 1_000_000),
        "__REALTIME_TIMESTAMP": str(AT * 1_000_000),
        "_UID": "1000",
    }
    reader = Recogniser(Options("journal"))
    assert reader.records([fields]) == ([], 1)
