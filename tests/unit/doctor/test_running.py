"""What runs beside popauthd, whether it is what is installed, and what the watcher says of itself."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from popauthd.conditions import CONDITIONS, Standing
from popauthd.config import from_mapping
from popauthd.doctor.daemons import conditions, sources
from popauthd.doctor.running import dovecot_runs, programs
from popauthd.doctor.verdicts import FAIL, OK, SKIP, WARN
from popauthd.dovecotcheck.running import Master
from popauthd.eximsetup.listening import Daemon
from popauthd.processes import Port
from popauthd.status import FileStatus, SourceStatus, Status
from tests.support.doveconf_texts import OLD

CONFIG = from_mapping({"run_dir": "/nonexistent"}, "test")
NOW = 1_795_467_600
LOG = SourceStatus("/var/log/mail.log", FileStatus("/var/log/mail.log", "missing", "it does not exist"))
STATUS = Status(
    version="1.0", pid=1, now=NOW, degraded="", dry_run=False, addresses=0, held=0,
    shared=(), sources=(LOG,), pushed=(), today={}, notes=(),
)  # fmt: skip


@pytest.fixture
def pid(tmp_path: Path) -> Iterator[int]:
    """The process of a program that is there, and is not the Python that runs this."""
    program = shutil.copy("/bin/sleep", tmp_path / "python3.9")
    with subprocess.Popen([program, "60"]) as process:
        yield process.pid
        process.kill()


def test_a_watcher_that_runs_another_python_than_the_installed_one_is_told(
    pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade of Debian: the old Python may be there still, without the modules."""
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (found,) = programs(CONFIG, replace(STATUS, pid=pid), None, None)
    assert (found.state, found.advice) == (WARN, "systemctl restart popauthd")
    assert f"the watcher (pid {pid}) still runs {tmp_path}/python3.9, and what is installed now runs " in found.seen


def test_a_dovecot_and_an_exim_are_told_when_their_program_is_gone_and_not_before(
    pid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    exim = Daemon(pid, (Port(25, "0.0.0.0"),))
    assert [one.state for one in programs(CONFIG, None, Master(pid, (110,)), exim)] == [OK]
    (tmp_path / "python3.9").unlink()
    found = list(programs(CONFIG, None, Master(pid, (110,)), exim))
    assert [(one.state, one.advice) for one in found] == [
        (WARN, "systemctl restart dovecot"),
        (WARN, "systemctl restart exim4"),
    ]
    # systemd itself, where it starts them, is no business of ours
    assert [one.state for one in programs(CONFIG, None, Master(None, (110,)), exim._replace(exim=False))] == [OK]


def test_who_is_not_root_is_told_to_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    (found,) = programs(CONFIG, STATUS, None, None)
    assert (found.state, found.seen) == (SKIP, "only root may ask; run this as root")


def test_each_condition_of_the_watcher_is_a_line_with_its_own_words() -> None:
    standing = (
        Standing("log-missing", LOG.name, "it does not exist", NOW - 60),
        Standing("program-replaced", "Exim", "runs on", NOW),
    )
    found = list(conditions(replace(STATUS, conditions=standing)))
    assert [(one.word, one.state, one.advice) for one in found] == [
        ("log-missing", FAIL, CONDITIONS["log-missing"].advice),
        ("program-replaced", WARN, CONDITIONS["program-replaced"].advice),
    ]
    assert found[0].seen.startswith(f"{LOG.name}: it does not exist (since 2026-11-2")
    assert [one.state for one in conditions(STATUS)] == [OK]


def test_a_log_that_a_condition_tells_of_is_one_failure() -> None:
    told = replace(STATUS, conditions=(Standing("log-missing", LOG.name, "it does not exist", NOW),))
    assert [one.state for one in sources(CONFIG, told)] == [SKIP]
    assert [one.state for one in sources(CONFIG, STATUS)] == [FAIL]


def test_a_condition_hides_nothing_else_that_is_wrong_with_a_log(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck = FileStatus(LOG.name, "present", offset=7, behind_bytes=5000)
    warned = replace(
        STATUS,
        sources=(replace(LOG, state=stuck),),
        conditions=(Standing("some-logins-refused", LOG.name, "a second server", NOW),),
    )
    monkeypatch.setattr("popauthd.doctor.daemons.MOVE_SECONDS", 0)
    monkeypatch.setattr("popauthd.doctor.daemons.ask_status", lambda _path: warned)
    (found,) = sources(CONFIG, warned)
    assert found.state == FAIL
    assert "5000 bytes behind, and not moving" in found.seen


def test_that_nothing_is_followed_yet_is_not_called_well() -> None:
    nothing = replace(STATUS, sources=(), conditions=(Standing("no-log-yet", "", "looked for a journal", NOW),))
    assert [one.state for one in sources(CONFIG, nothing)] == [SKIP]
    assert [one.state for one in sources(CONFIG, replace(STATUS, sources=()))] == [OK]


def test_a_dovecot_whose_ports_nobody_has_is_stopped(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        output = tmp_path / "doveconf.txt"
        output.write_text(
            f"{OLD}protocols = imap\nservice imap-login {{\n  inet_listener imap {{\n    port = {port}\n  }}\n"
            "  inet_listener imaps {\n    port = 0\n  }\n}\n"
        )
        (found,) = dovecot_runs(CONFIG, str(output))
    assert (found.state, found.advice) == (FAIL, CONDITIONS["dovecot-stopped"].advice)
    assert found.seen == f"no Dovecot takes connections; by its configuration it would on port {port}"


def test_a_dovecot_whose_logins_grant_nothing_need_not_run() -> None:
    courier = from_mapping({"source": [{"path": "/var/log/mail.log", "formats": ["courier"]}]}, "test")
    (found,) = dovecot_runs(courier, "")
    assert (found.state, found.seen) == (SKIP, "no [[source]] counts Dovecot's logins")
