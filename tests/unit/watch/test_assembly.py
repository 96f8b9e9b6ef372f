"""popauthd.watch.assembly: which logs are followed when nothing is configured, and what is said when none is found."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from popauthd import config
from popauthd.errors import ConfigError
from popauthd.model import Login, Refusal
from popauthd.watch import assembly

DAY = 86400
NOTHING = config.from_mapping({}, "test")


@pytest.fixture(autouse=True)
def no_dovecot_in_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "dovecot_logs_here", lambda _within_seconds=0: False)
    monkeypatch.setattr(assembly, "journal_here", lambda: False)


def test_the_logs_that_were_looked_for_are_named_when_none_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "USUAL_LOGS", ("/nonexistent/a.log", "/nonexistent/b.log"))
    with pytest.raises(ConfigError, match=r"journal.*/nonexistent/a\.log, /nonexistent/b\.log.*\[\[source\]\]"):
        assembly.followed(NOTHING)


def test_the_first_usual_log_that_exists_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "mail.log"
    log.touch()
    monkeypatch.setattr(assembly, "USUAL_LOGS", ("/nonexistent/a.log", str(log)))
    assert [source.name for source in assembly.followed(NOTHING)] == [str(log)]


def test_a_usual_log_that_cannot_be_looked_at_is_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "mail.log"
    log.touch()
    monkeypatch.setattr(assembly, "USUAL_LOGS", (f"/{'x' * 300}/a.log", str(log)))
    assert [source.name for source in assembly.followed(NOTHING)] == [str(log)]


def test_the_journal_comes_first_if_dovecot_logs_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "dovecot_logs_here", lambda: True)
    assert [source.type for source in assembly.followed(NOTHING)] == ["journal"]


def test_a_journal_in_which_dovecot_says_nothing_yet_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "mail.log"
    monkeypatch.setattr(assembly, "USUAL_LOGS", (str(log),))
    monkeypatch.setattr(assembly, "journal_here", lambda: True)
    assert [source.type for source in assembly.followed(NOTHING)] == ["journal"]
    log.touch()
    assert [source.type for source in assembly.followed(NOTHING)] == ["file"]


@pytest.mark.parametrize(("written_ago", "followed"), [(30 * DAY, "journal"), (2 * DAY, "file"), (-DAY, "file")])
def test_after_quiet_days_a_log_that_was_left_behind_is_not_taken_for_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written_ago: int, followed: str
) -> None:
    """Dovecot's last record in the journal is three days old: after a quiet weekend nothing newer is there."""
    log = tmp_path / "mail.log"
    log.touch()
    now = time.time()
    os.utime(log, (now, now - written_ago))
    monkeypatch.setattr(assembly, "USUAL_LOGS", (str(log),))
    monkeypatch.setattr(assembly, "dovecot_logs_here", lambda within_seconds=DAY: within_seconds >= 3 * DAY)
    assert [source.type for source in assembly.followed(NOTHING)] == [followed]


def test_configured_sources_are_taken_as_they_are() -> None:
    tables = [{"path": "/var/log/a.log"}, {"type": "journal"}]
    assert [source.name for source in assembly.followed(config.from_mapping({"source": tables}, "test"))] == [
        "/var/log/a.log",
        "journal",
    ]


def test_a_reading_that_makes_no_sense_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"source /x.*Nowhere"):
        assembly.recogniser(config.SourceConfig(path="/x", timezone="Nowhere/Town"))


def test_a_format_that_is_not_known_is_a_configuration_error_that_names_the_known() -> None:
    loaded = config.from_mapping({"source": [{"path": "/x", "formats": ["dovecot", "qmail"]}]}, "test")
    with pytest.raises(ConfigError, match=r"source /x: format 'qmail' is not known; use courier, .*dovecot"):
        assembly.recogniser(loaded.sources[0])


def test_another_server_in_the_journal_is_a_configuration_error() -> None:
    loaded = config.from_mapping({"source": [{"type": "journal", "formats": ["courier"]}]}, "test")
    with pytest.raises(ConfigError, match="the journal can be read for dovecot alone"):
        assembly.recogniser(loaded.sources[0])


LOG = [{"path": "/var/log/dovecot-info.log"}]


@pytest.mark.parametrize(
    ("table", "holds"),
    [
        ({}, True),
        ({"source": LOG}, True),
        ({"source": LOG, "hold_sessions": False}, False),
        ({"source": LOG, "post_login": True}, True),
        ({"post_login": True}, False),
    ],
)
def test_sessions_are_held_only_where_their_ends_can_be_told(table: dict[str, object], holds: bool) -> None:
    assert assembly.rules(config.from_mapping(table, "test")).hold_seconds == (12 * 3600 if holds else 0)


PROXY = (
    b"Nov 23 21:00:00 imap-login: Info: proxy(a): started proxying to 10.0.0.5:143: user=<a>, method=PLAIN,"
    b" rip=198.51.100.9, lip=10.0.0.1"
)


@pytest.mark.parametrize(("on", "kind"), [(False, Refusal), (True, Login)])
def test_a_proxys_line_counts_only_by_choice(on: bool, kind: type) -> None:
    table = {"path": "/x", "framing": "dovecot-file", "proxy_lines": on}
    source = config.from_mapping({"source": [table]}, "test").sources[0]
    assert type(assembly.recogniser(source).line(PROXY, 1795467610)) is kind
