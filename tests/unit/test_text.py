"""popauthd.text: nothing from outside can rewrite a terminal or flood a log."""

from __future__ import annotations

import logging

import pytest

from popauthd.logs import Quiet
from popauthd.text import length_of_time, safe, stamp

SAFE = [
    ("plain", "alice@example.org", "alice@example.org"),
    ("letters beyond ASCII stay", "j\u00fcrgen", "j\u00fcrgen"),
    ("escape code", "ok\x1b[31m", "ok\\x1b[31m"),
    ("right-to-left override", "a\u202eb", "a\\u202eb"),
    ("line separator", "a\u2028b", "a\\u2028b"),
    ("line feed", "a\nb", "a\\nb"),
    ("NEL", "a\x85b", "a\\x85b"),
    ("surrogate", "a\udcffb", "a\\udcffb"),
    ("long", "x" * 100, "x" * 80 + "..."),
]


@pytest.mark.parametrize(("text", "printed"), [row[1:] for row in SAFE], ids=[row[0] for row in SAFE])
def test_text_from_outside_is_made_safe(text: str, printed: str) -> None:
    assert safe(text) == printed


def test_a_length_of_time_reads_as_people_say_it() -> None:
    assert [length_of_time(s) for s in (0, 59, 843, 7500)] == ["0s", "59s", "14m 3s", "2h 5m"]


def test_a_time_that_this_machine_cannot_say_is_shown_as_its_number() -> None:
    assert [stamp(1 << 60), stamp(-(1 << 60))] == ["@1152921504606846976", "@-1152921504606846976"]


def test_a_repeating_warning_is_logged_once_with_its_count(caplog: pytest.LogCaptureFixture) -> None:
    quiet = Quiet(logging.getLogger("test"), every_seconds=3600)
    for number in range(3):
        quiet.warn("kind", f"message {number}")
    quiet.warn("other", "another")
    assert caplog.messages == ["message 0", "another"]
    quiet = Quiet(logging.getLogger("test"), every_seconds=0)
    quiet.warn("kind", "a")
    quiet.warn("kind", "b")
    assert caplog.messages[2:] == ["a", "b"]
