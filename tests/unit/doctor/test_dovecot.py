"""What the doctor makes of Dovecot's configuration: lost or forged logins fail, other warnings are counted."""

from __future__ import annotations

import pwd
from pathlib import Path
from typing import Any

import pytest

from popauthd.accounts import Account
from popauthd.as_user import look
from popauthd.config import from_mapping
from popauthd.doctor.dovecot import dovecot
from popauthd.doctor.verdicts import FAIL, OK, SKIP, Verdict
from popauthd.dovecotcheck import Seen
from popauthd.dovecotcheck.check import evidence
from popauthd.status import PRESENT, FileStatus, JournalStatus, SourceStatus, Status
from tests.support.doveconf_texts import FILE, LOG, NEW, OLD

FOLLOWED = {"path": LOG}
JOURNAL = {"type": "journal"}
STATUS = "popauthctl dovecot status"


NOW = 1_795_467_600


def verdicts(tmp_path: Path, text: str, status: Status | None = None, **settings: Any) -> list[Verdict]:
    output = tmp_path / "doveconf.txt"
    output.write_text(text)
    return list(dovecot(from_mapping(settings, "test"), str(output), status))


def status(last_login_at: int | None = None, last_dovecot_line_at: int | None = None) -> Status:
    """A watcher on the log."""
    return watching(SourceStatus(LOG, FileStatus(LOG, PRESENT), last_login_at, last_dovecot_line_at))


def watching(source: SourceStatus) -> Status:
    """A watcher on one source, with nothing else to tell."""
    return Status("1.0", 7, NOW, "", False, 0, 0, (), (source,), (), {}, ())


REACH = "its logins reach popauthd"
EVIDENCE = [
    ("no watcher", None, {}, "no watcher told"),
    ("none yet", status(), {}, "log in once"),
    ("a login", status(last_login_at=NOW - 60), {}, REACH),
    ("a login long ago", status(last_login_at=NOW - 100_000), {}, "seen 27h 46m ago"),
    ("a line that is no login", status(last_dovecot_line_at=NOW - 60), {}, REACH),
    ("another server's login", status(last_login_at=NOW - 60), {"formats": ["dovecot", "courier"]}, "log in once"),
]


@pytest.mark.parametrize(("told", "source", "said"), [row[1:] for row in EVIDENCE], ids=[row[0] for row in EVIDENCE])
def test_that_logins_arrive_is_said_only_of_a_line_that_was_seen(
    tmp_path: Path, told: Status | None, source: dict[str, Any], said: str
) -> None:
    (found,) = verdicts(tmp_path, OLD + FILE, told, source=[FOLLOWED | source])
    assert found.state == OK
    assert said in found.seen
    assert (REACH in found.seen) is (said == REACH)


def test_a_dovecot_that_itself_tells_is_not_said_to_write(tmp_path: Path) -> None:
    script = "".join(
        f"service {one} {{\n  executable = {one} p-{one}\n}}\n"
        f"service p-{one} {{\n  executable = script-login /x/post-login {one}\n}}\n"
        for one in ("imap", "pop3")
    )
    (found,) = verdicts(tmp_path, OLD + script, post_login=True)
    assert (found.state, found.seen) == (OK, "version 2.3, set up to tell popauthd of its logins")


def test_what_journald_dropped_is_counted() -> None:
    told = watching(SourceStatus("journal", JournalStatus("journal", PRESENT, dropped_messages=7), NOW - 9))
    assert evidence(from_mapping({"source": [JOURNAL]}, "test"), told) == Seen(True, NOW - 9, NOW, 7)


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
    (
        "2.3's elements on 2.4",
        NEW + FILE + "login_log_format_elements = user=<%u> rip=%r\n",
        ["login_log_format_elements"],
    ),
    ("no address", OLD + FILE + "login_log_format_elements = user=<%u> method=%m\n", ["login_log_format_elements"]),
    ("2.3's format on 2.4", NEW + FILE + "login_log_format = %$: %s\n", ["login_log_format_elements"]),
    ("2.3's prefix on 2.4", NEW + FILE + "mail_log_prefix = %s(%u): \n", ["mail_log_prefix"]),
    ("no time", OLD + FILE + "log_timestamp = \n", ["log_timestamp"]),
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
    assert [found.state for found in dovecot(from_mapping({}, "test"), str(tmp_path / "missing"))] == [SKIP]


def test_a_dovecot_whose_logins_do_not_count_is_not_judged(tmp_path: Path) -> None:
    (found,) = verdicts(tmp_path, OLD, source=[{"path": "/var/log/mail.log", "formats": ["courier"]}])
    assert found.state == SKIP


def test_a_configuration_that_cannot_be_read_is_a_failure_for_root_alone(tmp_path: Path) -> None:
    (found,) = verdicts(tmp_path, "doveconf: Fatal: x\n", source=[FOLLOWED])
    assert found.state == FAIL
    nobody = pwd.getpwnam("nobody")
    loaded, output = from_mapping({}, "test"), str(tmp_path / "doveconf.txt")
    said = look(Account("nobody", nobody.pw_uid, nobody.pw_gid), lambda: str([*dovecot(loaded, output)]))
    assert "run this as root" in said
