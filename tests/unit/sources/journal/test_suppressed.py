"""journald's notices of the messages that it dropped: whose they are, and how many."""

from __future__ import annotations

from typing import Any

import pytest

from popauthd.sources.journal.gaps import Gaps
from popauthd.sources.journal.suppressed import DROPPED, Suppressed, is_notice

AT = 1795467600_000_000
NOTICE: dict[str, Any] = {
    "MESSAGE_ID": DROPPED.encode(),
    "_TRANSPORT": b"driver",
    "MESSAGE": b"Suppressed 123 messages from dovecot.service",
    "N_DROPPED": "123",
}


@pytest.mark.parametrize("change", [{"_TRANSPORT": b"journal"}, {"MESSAGE_ID": b"0" * 32}, {"MESSAGE_ID": None}])
def test_only_journald_itself_gives_notice(change: dict[str, object]) -> None:
    assert is_notice(NOTICE)
    assert not is_notice(NOTICE | change)


def test_the_messages_of_all_notices_are_counted_and_each_is_told() -> None:
    gaps = Gaps(7)
    suppressed = Suppressed("dovecot.service", gaps)
    assert suppressed.enter(NOTICE, AT)
    assert suppressed.enter(NOTICE | {"N_DROPPED": "7"}, AT)
    assert suppressed.count == 130
    first, second = gaps.take()
    assert first.at == 7
    assert "dropped 123 messages of dovecot.service before 2026-11-23T21:00:00Z" in first.what
    assert "systemctl edit dovecot.service" in first.what
    assert "dropped 7 messages" in second.what


@pytest.mark.parametrize("message", [b"Suppressed 1 messages from cron.service", b"Suppressed", None, ["a", "b"]])
def test_a_notice_of_another_unit_says_nothing(message: object) -> None:
    gaps = Gaps(7)
    suppressed = Suppressed("dovecot.service", gaps)
    assert not suppressed.enter(NOTICE | {"MESSAGE": message}, AT)
    assert (suppressed.count, gaps.take()) == (0, [])


@pytest.mark.parametrize("number", [None, "", "x", "-1", "\u0661", 5, ["1", "2"]])
def test_a_number_that_cannot_be_read_is_some(number: object) -> None:
    gaps = Gaps(7)
    suppressed = Suppressed("dovecot.service", gaps)
    assert suppressed.enter(NOTICE | {"N_DROPPED": number}, AT)
    assert suppressed.count == 0
    assert "dropped some messages" in gaps.take()[0].what
