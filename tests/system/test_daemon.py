"""The real processes on a log that the test writes: watch, respond, run, and popauthctl beside them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import time
from pathlib import Path

import pytest

from tests.support.daemons import LIFETIME, Installation, login_line
from tests.support.helpers import answers, eventually

A, B = "192.0.2.10", "2001:db8::7"


@pytest.fixture
def running(installation: Installation) -> Installation:
    installation.start("run")
    installation.ready()
    return installation


def test_a_login_in_the_log_opens_the_relay_in_every_way(running: Installation) -> None:
    at = int(time.time())
    assert running.ask(A) == "no"
    running.write(login_line(A, at=at), login_line("2001:DB8:0::7", at=at - 60))
    eventually(lambda: running.ask(A) == "yes", "the responder says yes")
    eventually(lambda: running.ask(B) == "yes", "the responder says yes for IPv6")
    assert running.ask("192.0.2.11") == "no"
    assert running.listed() == {A: at + LIFETIME, B: at - 60 + LIFETIME}
    hosts = running.run_dir / "relay-hosts"
    eventually(
        lambda: hosts.read_text().splitlines() == [f"{A}: {at + LIFETIME}", f'"{B}": {at - 60 + LIFETIME}'],
        "the host list holds both",
    )
    assert running.ctl("check", A).returncode == 0
    assert running.ctl("check", "192.0.2.11").returncode == 1


def opened(pid: int, path: Path) -> bool:
    """Whether a process has a file open."""
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            if descriptor.readlink() == path:
                return True
    return False


@pytest.mark.parametrize("word", ["systemd is told", "control.sock answers"])
def test_a_watcher_that_is_ready_has_opened_its_log(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    """Else what is written just then may be older than the window that a first look begins with."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(installation.directory / "notify"))
        manager.settimeout(20)
        monkeypatch.setenv("NOTIFY_SOCKET", str(installation.directory / "notify"))
        watcher = installation.start("watch")
        if word == "systemd is told":
            assert manager.recv(1000).startswith(b"READY=1")
        else:
            control = installation.run_dir / "control.sock"
            eventually(lambda: answers(control), "the watcher answers", pause=0)
        watcher.send_signal(signal.SIGSTOP)  # what it does later must not be seen
        try:
            assert opened(watcher.pid, installation.log)
        finally:
            watcher.send_signal(signal.SIGCONT)


def test_check_explains_a_refusal(running: Installation) -> None:
    now = time.time()
    running.write(login_line(A, at=now - 1000), login_line("127.0.0.1", at=now))
    eventually(lambda: running.status()["today"].get("refused.loopback") == 1, "the refusal is counted")
    expired = running.ctl("check", A)
    assert expired.returncode == 1
    assert b"expired" in expired.stdout
    loopback = running.ctl("check", "127.0.0.1")
    assert loopback.returncode == 1
    assert b"webmail" in loopback.stdout
    unknown = running.ctl("check", "192.0.2.99")
    assert b"no login from this address" in unknown.stdout


def test_check_says_of_an_address_that_no_login_opens_that_none_does(tmp_path: Path) -> None:
    made = Installation(tmp_path, 'never = ["192.0.2.0/28"]')
    with contextlib.closing(made):
        for part in ("watch", "respond"):
            made.start(part)
        made.ready()
        made.write(login_line(B))
        eventually(lambda: made.ask(B) == "yes", "the log was read")
        for client, reason in (("127.0.0.1", "loopback"), ("192.0.2.1", "never"), ("198.51.100.5", "own-address")):
            said = made.ctl("check", client)
            assert said.returncode == 1
            assert f"it may never relay by address: {reason}. ".encode() in said.stdout, "its server's own as well"
            assert b"fetch" not in said.stdout, "that would not help"


def test_status_tells_times_as_people_read_them(running: Installation) -> None:
    running.write(login_line(A))
    eventually(lambda: running.ask(A) == "yes", "the log was read")
    read = next(line for line in running.ctl("status").stdout.decode().splitlines() if "last read" in line)
    assert re.search(r"last read (just now|\d+s ago) \(\d{4}-\d\d-\d\dT", read)


def test_check_says_trouble_when_there_is_no_map_or_no_address(installation: Installation) -> None:
    assert installation.ctl("check", A).returncode == 2
    assert installation.ctl("check", "nonsense").returncode == 2


def test_a_revoked_address_stays_revoked_until_a_newer_login(running: Installation) -> None:
    at = time.time()
    running.write(login_line(A, at=at))
    eventually(lambda: running.ask(A) == "yes", "granted")
    assert running.ctl("revoke", A).returncode == 0
    revoked_at = int(time.time())
    assert running.ask(A) == "no"
    running.write(login_line(A, at=at), login_line(B, at=at))
    eventually(lambda: running.ask(B) == "yes", "the log was read on")
    assert running.ask(A) == "no", "the same old line read again"
    assert b"revoked" in running.ctl("check", A).stdout
    eventually(lambda: int(time.time()) > revoked_at, "the next second, as one stamped ahead counts from now")
    running.write(login_line(A, at=at + 60))
    eventually(lambda: running.ask(A) == "yes", "a newer login opens it again")


def test_a_grant_by_hand_and_its_end(running: Installation) -> None:
    done = running.ctl("grant", A, "--for", "5s")
    assert done.returncode == 0
    assert running.ask(A) == "yes"
    eventually(lambda: running.ask(A) == "no", "the grant by hand runs out")
    eventually(lambda: (running.run_dir / "relay-hosts").read_bytes() == b"", "and leaves the list")
    for arguments in (
        ("grant", "127.0.0.1"),
        ("grant", A, "--for", "30x"),
        ("grant", "x"),
        ("grant", A, "--for", "60d"),
    ):
        assert running.ctl(*arguments).returncode == 64, arguments


def test_revoking_a_user_keeps_the_other_behind_the_same_address(running: Installation) -> None:
    running.write(login_line(A, user="a@x"), login_line(A, user="b@x"), login_line(B, user="a@x"))
    eventually(lambda: running.ask(B) == "yes", "granted")
    assert running.ctl("revoke", "--user", "a@x").returncode == 0
    assert (running.ask(A), running.ask(B)) == ("yes", "no")
    assert running.ctl("revoke", "--all").returncode == 0
    assert running.listed() == {}


def test_status_names_what_is_followed(running: Installation) -> None:
    running.write(login_line(A))
    eventually(lambda: running.ask(A) == "yes", "granted")
    status = running.status()
    assert status["degraded"] == ""
    assert status["addresses"] == 1
    assert str(running.log) in json.dumps(status["sources"])
    assert abs(status["sources"][0]["last_login_at"] - time.time()) < 60
    assert status["today"]["login"] == 1
    text = running.ctl("status").stdout.decode()
    assert str(running.log) in text
    assert "well" in text


def test_a_log_that_comes_later_is_followed(installation: Installation) -> None:
    installation.log.unlink()
    installation.start("run")
    installation.ready()
    installation.log.touch()
    installation.write(login_line(A))
    eventually(lambda: installation.ask(A) == "yes", "the log was found when it came")
    assert set(installation.listed()) == {A}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_run_stops_cleanly(running: Installation, number: signal.Signals) -> None:
    process = running.processes[0]
    process.send_signal(number)
    assert process.wait(30) == 0
    assert running.ask(A) == ""
    assert "Traceback" not in running.errors("run")


@pytest.mark.parametrize("part", ["watch", "respond"])
def test_run_ends_if_one_part_dies(running: Installation, part: str) -> None:
    os.kill(part_pid(running, part), signal.SIGBUS)
    assert running.processes[0].wait(30) == 70
    assert f"{part} ended by signal 7" in running.errors("run")
    assert running.ask(A) == ""


def test_the_parts_end_when_run_is_killed(running: Installation) -> None:
    running.processes[0].kill()
    eventually(lambda: running.ask(A) == "", "the responder noticed")
    eventually(lambda: running.ctl("status").returncode == 69, "the watcher noticed")


def test_the_answers_go_on_without_the_watcher(installation: Installation) -> None:
    installation.start("respond")
    watcher = installation.start("watch")
    installation.ready()
    installation.write(login_line(A))
    eventually(lambda: installation.ask(A) == "yes", "granted")
    watcher.kill()
    watcher.wait()
    assert installation.ask(A) == "yes"
    down = installation.ctl("revoke", A)
    assert down.returncode == 69
    assert b"systemctl start popauthd" in down.stderr
    assert installation.ctl("check", A).returncode == 0


def test_a_second_watcher_on_the_same_books_is_refused(running: Installation) -> None:
    assert running.start("watch").wait(30) == 74
    assert "another watcher is running" in running.errors("watch")
    running.write(login_line(A))
    eventually(lambda: running.ask(A) == "yes", "the first goes on")


def test_a_wrong_configuration_ends_with_78_and_words(installation: Installation) -> None:
    installation.config.write_text('lifetme = "15m"')
    for part in ("watch", "respond", "run"):
        assert installation.start(part).wait(30) == 78
        assert 'did you mean "lifetime"?' in installation.errors(part)
    assert installation.ctl("config", "check").returncode == 78


def test_config_check_and_show(installation: Installation) -> None:
    checked = installation.ctl("config", "check")
    assert checked.returncode == 0
    assert str(installation.log).encode() in checked.stdout
    shown = installation.ctl("config", "show").stdout.decode()
    assert 'lifetime = "15m"' in shown
    assert f'[[source]]\ntype = "file"\npath = "{installation.log}"' in shown
    changed = installation.ctl("config", "show", "--changed").stdout.decode()
    assert "hold_sessions = false" in changed
    assert "lifetime" not in changed
    told = json.loads(installation.ctl("config", "show", "--changed", "--json").stdout)
    assert told["in_force"] is False, "nothing runs"
    as_json = told["settings"]
    assert set(as_json) == {"hold_sessions", "run_dir", "state_dir", "source"}
    assert as_json["source"] == [{"path": str(installation.log), "framing": "dovecot-file"}]
    told = json.loads(installation.ctl("config", "check", "--json").stdout)
    assert (told["right"], told["follows"], told["notes"]) == (True, [str(installation.log)], [])
    assert (told["in_force"], len(told["in_force_why"])) == (False, 1)


def test_what_was_written_while_stopped_is_caught_up(installation: Installation) -> None:
    installation.start("run")
    installation.ready()
    installation.close()
    at = int(time.time())
    installation.write(login_line(A, at=at - 800), login_line(B, at=at - 901))
    installation.start("run")
    installation.ready()
    eventually(lambda: installation.ask(A) == "yes", "caught up")
    assert installation.listed() == {A: at - 800 + LIFETIME}


def test_a_damaged_store_is_rebuilt_from_the_log(installation: Installation) -> None:
    at = int(time.time())
    installation.start("run")
    installation.ready()
    installation.write(login_line(A, at=at))
    eventually(lambda: installation.ask(A) == "yes", "granted")
    installation.close()
    os.truncate(installation.directory / "state" / "books.mdb", 9000)
    (installation.run_dir / "relay.mdb").write_bytes(b"garbage" * 5000)
    installation.start("run")
    installation.ready()
    eventually(lambda: installation.ask(A) == "yes", "rebuilt")
    assert installation.listed() == {A: at + LIFETIME}
    assert len([note for note in installation.status()["notes"] if "kept as" in note]) == 2
    (one,) = installation.status()["conditions"]
    assert (one["word"], one["evidence"].count("kept as")) == ("files-were-damaged", 2)


def test_others_are_not_heard_on_the_control_socket(running: Installation) -> None:
    control = running.run_dir / "control.sock"
    assert control.stat().st_mode & 0o777 == 0o600
    assert (running.run_dir / "lookup.sock").stat().st_mode & 0o777 == 0o660
    assert running.run_dir.stat().st_mode & 0o7777 == 0o2750
    assert (running.directory / "state").stat().st_mode & 0o777 == 0o700


def part_pid(running: Installation, part: str) -> int:
    """The process id of a part, as `run` logged it."""
    match = re.search(rf"{part} pid=([0-9]+)", running.errors("run"))
    assert match is not None
    return int(match[1])


def test_parts_started_at_the_same_moment_find_the_run_directory_whole(tmp_path: Path) -> None:
    for number in range(5):
        directory = tmp_path / str(number)
        directory.mkdir()
        with contextlib.closing(Installation(directory)) as installation:
            for part in ("watch", "respond"):
                installation.start(part)
            installation.ready()
            assert installation.run_dir.stat().st_mode & 0o7777 == 0o2750
            assert [path.name for path in directory.iterdir() if path.name.startswith("run.")] == []
