"""popauthd.watch.alarm: a log that speaks and is not understood is noticed, once."""

from __future__ import annotations

from collections import Counter

from popauthd.formats.reasons import REASONS
from popauthd.watch.alarm import FORMAT_REASONS, Alarm

NOW = 1_795_467_600
HOUR = 3600


def listening(longest_seconds: int = 0) -> Alarm:
    alarm = Alarm(longest_seconds)
    alarm.start(NOW)
    return alarm


def test_silence_longer_than_ever_is_told_once() -> None:
    alarm = listening(longest_seconds=HOUR)
    alarm.heard(NOW + 10, 500, 0, Counter())
    assert alarm.sign(NOW + 3 * HOUR) is None
    sign = alarm.sign(NOW + 3 * HOUR + 1)
    assert sign is not None
    assert sign[0] == "silence"
    assert alarm.sign(NOW + 30 * HOUR) is None


def test_a_quiet_log_is_no_alarm() -> None:
    alarm = listening(longest_seconds=HOUR)
    alarm.heard(NOW + 10, 20, 0, Counter())
    assert alarm.sign(NOW + 100 * HOUR) is None


def test_a_host_teaches_how_long_it_is_usually_silent() -> None:
    alarm = listening()
    alarm.heard(NOW + 5 * HOUR, 1000, 1, Counter())
    assert alarm.longest_seconds == 5 * HOUR
    alarm.heard(NOW + 6 * HOUR, 1000, 0, Counter())
    assert alarm.sign(NOW + 20 * HOUR) is None
    assert alarm.sign(NOW + 20 * HOUR + 1) is not None


def test_a_login_ends_the_alarm_and_it_may_come_again() -> None:
    alarm = listening(longest_seconds=HOUR)
    for day in (0, 24):
        alarm.heard(NOW + day * HOUR, 500, 1, Counter())
        alarm.longest_seconds = HOUR
        alarm.heard(NOW + day * HOUR + 1, 500, 0, Counter())
        assert alarm.sign(NOW + (day + 4) * HOUR) is not None


def test_lines_alike_that_fail_are_told_with_their_reasons() -> None:
    alarm = listening()
    alarm.heard(NOW, 4, 0, Counter({"no-address": 4, "expired": 90}))
    assert alarm.sign(NOW) is None
    alarm.heard(NOW, 1, 0, Counter({"no-address": 1}))
    sign = alarm.sign(NOW)
    assert sign is not None
    assert sign[0] == "likeness"
    assert "no-address 5" in sign[1]
    assert alarm.sign(NOW) is None


def test_a_few_hostile_lines_among_many_logins_are_no_alarm() -> None:
    alarm = listening()
    alarm.heard(NOW, 1000, 50, Counter({"bad-elements": 20}))
    assert alarm.sign(NOW) is None


def test_the_reasons_that_a_changed_format_gives_exist() -> None:
    assert set(REASONS) >= FORMAT_REASONS
