"""popauthd.watch.alarm: a log that speaks and is not understood is noticed, with what was seen and what would help."""

from __future__ import annotations

from collections import Counter

import pytest

from popauthd.conditions import CONDITIONS
from popauthd.formats.heads import HEAD_REASONS
from popauthd.reasons import LINES
from popauthd.watch.alarm import ALIKE_FOR_SECONDS, BY_STRANGERS, IN_A_ROW, MESSAGE_REASONS, SIGNS, Alarm

NOW = 1_795_467_600
HOUR = 3600
LOGIN = b"imap-login: Login: user=<a>, method=PLAIN, rip=192.0.2.10, lip=198.51.100.5, session=<x>"


def listening(longest_seconds: int = 0) -> Alarm:
    alarm = Alarm(longest_seconds)
    alarm.start(NOW)
    return alarm


Refused = dict[str, tuple[int, bytes]]


def hear(
    alarm: Alarm, at: int, lines: int, logins: int = 0, refused: Refused | None = None, *, dovecots: bool = True
) -> None:
    """A block of lines. refused: reason -> how often, and a line."""
    words = refused or {}
    numbers = Counter({reason: number for reason, (number, _line) in words.items()})
    alarm.heard(at, lines, logins, numbers, {reason: line for reason, (_n, line) in words.items()}, dovecots=dovecots)


def test_silence_longer_than_ever_is_a_sign() -> None:
    alarm = listening(longest_seconds=HOUR)
    hear(alarm, NOW + 10, 500)
    assert alarm.signs(NOW + 3 * HOUR) == {}
    assert list(alarm.signs(NOW + 3 * HOUR + 1)) == ["no-login-seen"]
    hear(alarm, NOW + 3 * HOUR + 2, 1, 1)
    assert alarm.signs(NOW + 3 * HOUR + 3) == {}


def test_a_quiet_log_is_no_sign() -> None:
    alarm = listening(longest_seconds=HOUR)
    hear(alarm, NOW + 10, 20)
    assert alarm.signs(NOW + 100 * HOUR) == {}


def test_a_host_teaches_how_long_it_is_usually_silent() -> None:
    alarm = listening()
    hear(alarm, NOW + 5 * HOUR, 1000, 1)
    assert alarm.longest_seconds == 5 * HOUR
    hear(alarm, NOW + 6 * HOUR, 1000)
    assert alarm.signs(NOW + 20 * HOUR) == {}
    assert list(alarm.signs(NOW + 20 * HOUR + 1)) == ["no-login-seen"]


def test_a_log_without_a_line_of_dovecot_is_a_sign_after_a_while() -> None:
    alarm = listening()
    hear(alarm, NOW + 10, 500, dovecots=False)
    assert alarm.signs(NOW + 599) == {}
    assert alarm.signs(NOW + 600) == {"dovecot-not-seen": "500 lines were read since the start, and none is Dovecot's"}
    hear(alarm, NOW + 700, 1)
    assert alarm.signs(NOW + 701) == {}
    assert alarm.dovecot_at == NOW + 700


def test_a_login_is_a_line_of_dovecot_whatever_the_program_is_called() -> None:
    alarm = listening()
    hear(alarm, NOW + 10, 500, 1, dovecots=False)
    assert alarm.dovecot_at == NOW + 10


def test_lines_alike_that_fail_are_told_with_their_reasons_until_logins_are_recognised() -> None:
    alarm = listening()
    hear(alarm, NOW, 94, refused={"no-address": (4, b"a line"), "expired": (90, b"")})
    assert alarm.signs(NOW) == {}
    hear(alarm, NOW, 1, refused={"no-address": (1, b"another")})
    ((word, said),) = alarm.signs(NOW).items()
    assert word == "login-not-understood"
    assert "no-address 5" in said
    assert "rip=%r" in said
    assert said.endswith("Sample: a line")
    hear(alarm, NOW, 5, 5)
    assert list(alarm.signs(NOW)) == []
    hear(alarm, NOW, 1, 1)
    assert (alarm.alike, alarm.samples, alarm.logins) == (Counter(), {}, 0)


def test_a_few_hostile_lines_among_many_logins_are_no_sign() -> None:
    alarm = listening()
    hear(alarm, NOW, 1000, 50, refused={"bad-elements": (20, b"x"), "other-program": (20, b"y")})
    assert alarm.signs(NOW) == {}


HEADS = [
    ("other-program", b"Nov 23 21:00:00 mail dovecot-mailcow[7]: " + LOGIN, ["'dovecot-mailcow'", "`programs`"]),
    ("other-host", b"Nov 23 21:00:00 mx9 dovecot: " + LOGIN, ["'mx9'", "`hostnames`"]),
    ("wrong-process", b"Nov 23 21:00:00 mail dovecot: lmtp-login: Login: user=<a>", ["'lmtp-login'"]),
    ("unframed", b"dovecot-1  | " + LOGIN, ["'dovecot-1  | '", "the lines carry no time"]),
    ("unframed", b"Nov 23 21:00:00 info dovecot " + LOGIN, ["'Nov 23 21:00:00 info dovecot '", "`framing`"]),
    ("undecided", b"2026-11-23T21:00:00.1Z stdout F " + LOGIN, ["'2026-11-23T21:00:00.1Z stdout F '", "`framing`"]),
    ("bad-stamp", b"23/11/26 21:00:00 mail dovecot: " + LOGIN, ["23/11/26", "`timestamp`"]),
    ("unframed", LOGIN, ["the lines carry no time"]),
    ("undecided", b"dovecot: " + LOGIN, ["'dovecot: '", "the lines carry no time"]),
    ("other-program", b"garbage", ["not known"]),
    ("untrusted", LOGIN, ["`programs`"]),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "line", "words"), HEADS)
def test_what_stands_before_the_message_is_named_with_the_setting(reason: str, line: bytes, words: list[str]) -> None:
    alarm = listening()
    hear(alarm, NOW, 5, refused={reason: (5, line)})
    ((word, said),) = alarm.signs(NOW).items()
    assert word == "head-not-understood"
    assert [text for text in words if text not in said] == []
    assert "login_log_format_elements" not in said


def test_what_is_worse_is_told() -> None:
    alarm = listening()
    hear(alarm, NOW, 12, refused={"no-user": (7, b"x"), "other-program": (5, b"y")})
    assert list(alarm.signs(NOW)) == ["login-not-understood"]
    hear(alarm, NOW, 12, refused={"other-host": (3, b"z")})
    assert list(alarm.signs(NOW)) == ["head-not-understood"]


DEGRADED = ("head-not-understood", "login-not-understood")
WARNING = "some-logins-refused"


@pytest.mark.parametrize("reason", ["other-program", "other-host", "untrusted", "no-user", "unknown-message"])
def test_beside_logins_that_are_recognised_it_is_a_warning(reason: str) -> None:
    """Whoever has lines written that fail, all day long, does not make the watcher degraded."""
    alarm = listening()
    for hour in range(24):
        hear(alarm, NOW + hour * HOUR, 100, refused={reason: (100, b"x")})
        hear(alarm, NOW + hour * HOUR + 1, 3, 3)
        assert list(alarm.signs(NOW + hour * HOUR + 2)) == [WARNING]


@pytest.mark.parametrize("reason", ["other-program", "unknown-message"])
def test_what_strangers_can_write_between_two_logins_is_a_warning_until_the_silence_is_unusual(reason: str) -> None:
    alarm = listening(longest_seconds=8 * HOUR)
    hear(alarm, NOW, 10, 10)
    hear(alarm, NOW + HOUR, 100, refused={reason: (100, b"x")})
    assert list(alarm.signs(NOW + 8 * HOUR)) == [WARNING]
    (word,) = alarm.signs(NOW + 8 * HOUR + 1)
    assert word in DEGRADED


def test_what_only_dovecot_writes_is_degraded_as_soon_as_no_login_is_recognised_any_more() -> None:
    alarm = listening(longest_seconds=8 * HOUR)
    hear(alarm, NOW, 10, 10)
    hear(alarm, NOW + 1, 5, refused={"no-address": (5, b"x")})
    assert list(alarm.signs(NOW + 2)) == ["login-not-understood"]


def test_failures_of_a_new_wording_are_a_warning_where_logins_were_recognised_before_the_start() -> None:
    alarm = listening(longest_seconds=8 * HOUR)
    hear(alarm, NOW, 5, refused={"unknown-message": (5, b"x")})
    assert list(alarm.signs(NOW)) == [WARNING]
    alarm = listening()
    hear(alarm, NOW, 5, refused={"unknown-message": (5, b"x")})
    assert list(alarm.signs(NOW)) == ["login-not-understood"]


def test_logins_in_a_row_end_it_however_much_was_refused_before() -> None:
    alarm = listening()
    hear(alarm, NOW, 5000, refused={"other-host": (5000, b"x")})
    hear(alarm, NOW + 1, 10, IN_A_ROW - 1)
    assert list(alarm.signs(NOW + 1)) == [WARNING]
    hear(alarm, NOW + 2, 1, refused={"other-host": (1, b"x")})
    hear(alarm, NOW + 3, 10, IN_A_ROW - 1)
    assert list(alarm.signs(NOW + 3)) == [WARNING], "one was refused between them"
    hear(alarm, NOW + 4, 1, 1)
    assert alarm.signs(NOW + 4) == {}


def test_what_nobody_repeats_for_a_day_is_forgotten() -> None:
    alarm = listening()
    hear(alarm, NOW, 5, refused={"other-host": (5, b"x")})
    day = ALIKE_FOR_SECONDS
    assert list(alarm.signs(NOW + day)) == ["head-not-understood"]
    assert alarm.signs(NOW + day + 1) == {}
    hear(alarm, NOW + day + 1, 4, refused={"other-host": (4, b"x")})
    assert alarm.signs(NOW + day + 1) == {}, "it is counted anew"


def test_the_reasons_and_the_signs_exist() -> None:
    assert set(LINES) >= set(HEAD_REASONS) | set(MESSAGE_REASONS)
    assert set(HEAD_REASONS) | set(MESSAGE_REASONS) >= BY_STRANGERS
    assert set(CONDITIONS) >= set(SIGNS)


LATE, AHEAD, SOON = NOW - HOUR, NOW + HOUR, NOW - 10


@pytest.mark.parametrize(
    ("stamps", "told"),
    [
        ([[LATE] * 4], ""),
        ([[LATE] * 5], "the last 5 logins were stamped 1h 0m before they were written, so none of them grants"),
        ([[AHEAD]] * 6, "the last 6 logins were stamped 1h 0m ahead of our clock, so none of them grants"),
        ([[LATE] * 9, [SOON]], ""),
        ([[LATE] * 9 + [SOON]], ""),
        ([[LATE] * 9, []], "the last 9 logins were stamped 1h 0m before they were written, so none of them grants"),
        ([[NOW - 900] * 9], "the last 9 logins were stamped 15m 0s before they were written, so none of them grants"),
        ([[NOW - 899] * 9, [NOW + 120] * 9], ""),
        ([[NOW + 121] * 9], "the last 9 logins were stamped 2m 1s ahead of our clock, so none of them grants"),
    ],
)
def test_logins_of_another_time_are_a_sign_until_one_is_in_time(stamps: list[list[int]], told: str) -> None:
    alarm = listening()
    for block in stamps:
        hear(alarm, NOW, 200, len(block))
        alarm.stamped(NOW, block, NOW - 900, NOW + 120)
    assert alarm.signs(NOW + 1).get("login-times-off", "") == told
