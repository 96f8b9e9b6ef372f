"""popauthd.assembly: which logs are followed when nothing is configured, and what is said when none is found."""

from __future__ import annotations

from pathlib import Path

import pytest

from popauthd import assembly, config
from popauthd.errors import ConfigError

NOTHING = config.from_mapping({}, "test")


@pytest.fixture(autouse=True)
def no_dovecot_in_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assembly, "dovecot_logs_here", lambda: False)
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


def test_configured_sources_are_taken_as_they_are() -> None:
    tables = [{"path": "/var/log/a.log"}, {"type": "journal"}]
    assert [source.name for source in assembly.followed(config.from_mapping({"source": tables}, "test"))] == [
        "/var/log/a.log",
        "journal",
    ]


def test_a_reading_that_makes_no_sense_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"source /x.*Nowhere"):
        assembly.recogniser(config.plain_source(path="/x", timezone="Nowhere/Town"))
