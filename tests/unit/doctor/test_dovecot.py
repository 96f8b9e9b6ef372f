"""What the doctor makes of Dovecot's configuration: lost or forged logins fail, other warnings are counted."""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import Any

import pytest

from popauthd.as_user import Account, look
from popauthd.config import from_mapping
from popauthd.doctor.context import FAIL, OK, SKIP, Paths, Verdict, Visit
from popauthd.doctor.dovecot import dovecot
from tests.unit.dovecotcheck.test_dovecotcheck import FILE, LOG, NEW, OLD

FOLLOWED = {"path": LOG}
JOURNAL = {"type": "journal"}
STATUS = "popauthctl dovecot status"


def verdicts(tmp_path: Path, text: str, **settings: Any) -> list[Verdict]:
    output = tmp_path / "doveconf.txt"
    output.write_text(text)
    return list(dovecot(Visit(None, Paths(doveconf=str(output)), loaded=from_mapping(settings, "test"))))


@pytest.mark.parametrize("head", [OLD, NEW], ids=["2.3", "2.4"])
def test_what_is_as_it_should_be_is_one_line(tmp_path: Path, head: str) -> None:
    (found,) = verdicts(tmp_path, head + FILE, source=[FOLLOWED])
    assert found.state == OK
    assert STATUS not in found.seen


def test_a_file_of_dovecots_own_and_a_watcher_that_follows_the_journal_is_a_failure(tmp_path: Path) -> None:
    (found,) = verdicts(tmp_path, OLD + FILE, source=[JOURNAL])
    assert found.state == FAIL
    assert found.seen == f"follows: Dovecot writes {LOG}, popauthd follows journal"
    assert found.advice == f'in popauthd.toml write [[source]] path = "{LOG}", then restart popauthd'


LOST = [
    ("forged lines", OLD + FILE + "auth_username_chars =\n", ["auth_username_chars"]),
    ("nowhere to be followed", NEW + "log_path = /dev/stderr\n", ["source", "follows"]),
]


@pytest.mark.parametrize(("text", "checks"), [row[1:] for row in LOST], ids=[row[0] for row in LOST])
def test_every_failure_says_what_to_do(tmp_path: Path, text: str, checks: list[str]) -> None:
    found = verdicts(tmp_path, text, source=[FOLLOWED])
    assert [(one.state, one.seen.partition(":")[0]) for one in found] == [(FAIL, check) for check in checks]
    assert all(one.advice for one in found)


def test_what_else_could_be_better_is_counted_and_does_not_fail(tmp_path: Path) -> None:
    text = NEW + FILE + "auth_mechanisms = plain anonymous\nauth_username_chars = abc<>\n"
    (found,) = verdicts(tmp_path, text, source=[FOLLOWED])
    assert found.state == OK
    assert "2 warnings" in found.seen
    assert STATUS in found.seen


def test_a_syslog_that_somebody_has_chosen_is_counted_and_does_not_fail(tmp_path: Path) -> None:
    named = {"path": "/var/log/mail.log"}
    (found,) = verdicts(tmp_path, NEW, source=[named])
    assert found.state == OK
    assert f"warnings: {STATUS}" in found.seen.replace("warning:", "warnings:")


def test_without_dovecot_there_is_nothing_to_judge(tmp_path: Path) -> None:
    visit = Visit(None, Paths(doveconf=str(tmp_path / "missing")), loaded=from_mapping({}, "test"))
    assert [found.state for found in dovecot(visit)] == [SKIP]


def test_a_dovecot_whose_logins_do_not_count_is_not_judged(tmp_path: Path) -> None:
    (found,) = verdicts(tmp_path, OLD, source=[{"path": "/var/log/mail.log", "formats": ["courier"]}])
    assert found.state == SKIP


def test_a_configuration_that_cannot_be_read_is_a_failure_for_root_alone(tmp_path: Path) -> None:
    (found,) = verdicts(tmp_path, "doveconf: Fatal: x\n", source=[FOLLOWED])
    assert found.state == FAIL
    nobody = pwd.getpwnam("nobody")
    visit = Visit(None, Paths(doveconf=str(tmp_path / "doveconf.txt")), loaded=from_mapping({}, "test"))
    said = look(Account("nobody", nobody.pw_uid, nobody.pw_gid), lambda: str([*dovecot(visit)]))
    assert "run this as root" in said
