"""The real watcher tells what is not well: in status with its exit code, in its log, and to systemd."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.place import Place
from tests.support.daemons import Installation, login_line
from tests.support.helpers import eventually

pytestmark = pytest.mark.system

LOGIN = (
    "imap-login: Login: user=<a>, method=PLAIN, rip=192.0.2.10, lip=198.51.100.5, mpid=1, TLS, session=<aKTnLvhg/AAAB>"
)
MOUNTED = 'mount --bind "$0" "$0"; exec "$@"'


class Told(Installation):
    """An installation whose watcher tells systemd how it is."""

    def __init__(self, directory: Path, framing: str = "dovecot-file") -> None:
        super().__init__(directory)
        self.config.write_text(self.config.read_text().replace("dovecot-file", framing))
        self.manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.manager.bind(str(directory / "notify"))
        (directory / "notify").chmod(0o777)
        self.manager.settimeout(0.01)
        self.environment = {**os.environ, "NOTIFY_SOCKET": str(directory / "notify")}
        self.heard = ""

    def conditions(self) -> dict[str, str]:
        """Those that hold: word -> what was seen."""
        return {one["word"]: one["evidence"] for one in self.status()["conditions"]}

    def shows(self) -> str:
        """What `systemctl status` shows."""
        with contextlib.suppress(TimeoutError):
            while message := self.manager.recv(4096).decode():
                self.heard = message.partition("STATUS=")[2] or self.heard
        return self.heard

    def tells(self, word: str, *, exit_code: int = 2) -> str:
        """Wait until this condition holds, and see that all who tell it do; returns what was seen."""
        eventually(lambda: word in self.conditions(), f"{word} is told")
        done = self.ctl("status")
        assert done.returncode == exit_code
        assert word in done.stdout.decode()
        assert f" {word}: " in self.errors("watch")
        eventually(lambda: word in self.shows(), "systemd shows it")
        return self.conditions()[word]

    def well(self) -> None:
        """Wait until no condition holds, and all say so."""
        eventually(lambda: not self.conditions(), "it is over")
        assert self.ctl("status").returncode == 0
        assert "over: " in self.errors("watch")
        eventually(lambda: self.shows().startswith("watching "), "systemd shows it")

    def close(self) -> None:
        super().close()
        self.manager.close()


@pytest.fixture
def told(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path)
    yield made
    made.close()


@pytest.fixture
def syslogged(tmp_path: Path) -> Iterator[Told]:
    made = Told(tmp_path, "auto")
    yield made
    made.close()


def start(installation: Installation) -> None:
    installation.start("watch")
    eventually(lambda: (installation.run_dir / "control.sock").exists(), "the watcher has started")


def test_a_log_that_does_not_exist_is_told_from_the_start_and_taken_when_it_comes(told: Told) -> None:
    told.log.unlink()
    start(told)
    assert "does not exist" in told.tells("log-missing")
    told.log.touch()
    told.well()


def test_a_directory_in_the_place_of_the_log_is_told(told: Told) -> None:
    told.log.unlink()
    told.log.mkdir()
    start(told)
    assert "directory" in told.tells("log-refused")


@pytest.fixture
def unprivileged(place: Place) -> Iterator[Told]:
    """A watcher without root's rights, in a directory of its own."""
    place.directory("conditions")
    made = Told(place.directory(tempfile.mkdtemp(dir=place.root / "conditions"), 0o755, "mail"))
    for path in (made.log, made.config):
        shutil.chown(path, "mail")
    made.prefix = ("setpriv", "--reuid=mail", "--regid=mail", "--clear-groups")
    yield made
    made.close()


def test_a_log_that_a_rotation_gave_another_owner_is_told_and_read_when_it_is_given_back(unprivileged: Told) -> None:
    told = unprivileged
    start(told)
    assert told.conditions() == {}
    told.log.rename(told.directory / "dovecot.log.1")
    told.log.touch(0o600)
    told.write(login_line("192.0.2.10"))
    assert "Permission denied" in told.tells("log-unreadable")
    shutil.chown(told.log, "mail")
    told.well()
    eventually(lambda: "192.0.2.10" in told.listed(), "the login is read")


def test_a_log_whose_directory_cannot_be_watched_is_read_and_told(unprivileged: Told) -> None:
    told = unprivileged
    logs = told.directory / "logs"
    logs.mkdir(0o711)  # its files can be opened, and it cannot be read
    told.config.write_text(told.config.read_text().replace(str(told.log), str(logs / "dovecot.log")))
    told.log = told.log.rename(logs / "dovecot.log")
    start(told)
    told.write(login_line("192.0.2.10"))
    assert "inotify" in told.tells("logs-not-watched", exit_code=0)
    assert "192.0.2.10" in told.listed()
    logs.chmod(0o755)
    told.well()


def test_a_log_that_is_bound_alone_is_told_from_the_start(told: Told) -> None:
    told.prefix = ("unshare", "--mount", "sh", "-c", MOUNTED, str(told.log))
    start(told)
    assert "mount point" in told.tells("log-is-mount-point", exit_code=0)


def stamped(head: str) -> bytes:
    return f"{time.strftime('%b %d %H:%M:%S')} {head}: {LOGIN}\n".encode()


def test_the_program_that_was_seen_is_named_with_the_setting_and_quoted_logins_are_not_counted(syslogged: Told) -> None:
    start(syslogged)
    syslogged.write(*[stamped("mail exim[7]: rejected EHLO")] * 20)
    syslogged.write(*[stamped("mail dovecot-mailcow[7]")] * 6)
    seen = syslogged.tells("head-not-understood")
    assert "(other-program 6)" in seen
    assert "'dovecot-mailcow'" in seen
    assert "`programs`" in seen
    assert "login_log_format_elements" not in seen
    syslogged.write(stamped("mail dovecot"))
    eventually(lambda: list(syslogged.conditions()) == ["some-logins-refused"], "beside a login it is a warning")
    assert syslogged.ctl("status").returncode == 0


def test_lines_without_a_time_are_told_as_such(syslogged: Told) -> None:
    start(syslogged)
    syslogged.write(*[f"dovecot: {LOGIN}\n".encode(), LOGIN.replace(": Login", ": Info: Login").encode() + b"\n"] * 3)
    seen = syslogged.tells("head-not-understood")
    assert "carry no time" in seen
    assert "login_log_format_elements" not in seen


def test_logins_without_a_user_are_told_with_the_element_that_is_missing(told: Told) -> None:
    start(told)
    told.write(*[login_line("192.0.2.10").replace(b"user=<alice@example.org>, ", b"")] * 5)
    assert "user=<%u>" in told.tells("login-not-understood")


def test_a_reader_that_is_stopped_is_told_until_it_goes_on(tmp_path: Path) -> None:
    told = Told(tmp_path)
    code = (
        "import os, signal, sys, lmdb\n"
        "with lmdb.open(sys.argv[1], subdir=False, readonly=True, max_readers=16).begin() as txn:\n"
        "    txn.get(b'x'); os.kill(os.getpid(), signal.SIGSTOP)\n"
        "sys.stdin.read()"
    )
    path = told.run_dir / "relay.mdb"
    with contextlib.closing(told):
        told.start("watch")
        eventually((told.run_dir / "control.sock").exists, "the watcher is up")
        with subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE) as reader:
            eventually(lambda: state(reader.pid) == "T", "the reader is stopped")
            told.write(login_line("192.0.2.10"))
            seen = told.tells("map-reader-stopped", exit_code=0)
            assert f"process {reader.pid} was stopped" in seen
            reader.send_signal(signal.SIGCONT)
            eventually(lambda: "map-reader-stopped" not in told.conditions(), "it goes on")
            reader.kill()
        assert any("stands still" in note for note in told.status()["notes"])


def test_a_responder_that_stands_still_or_is_gone_is_told_where_it_has_a_socket(told: Told) -> None:
    def silent() -> str:
        done = told.ctl("status", "--json")
        assert done.returncode == 2
        (one,) = json.loads(done.stdout)["conditions"]
        assert one["word"] == "responder-silent"
        return str(one["evidence"])

    start(told)
    assert told.conditions() == {}, "readlookup and the host list need none"
    responder = told.start("respond")
    told.ready()
    assert told.conditions() == {}
    responder.send_signal(signal.SIGSTOP)
    assert silent() == f"it does not answer on {told.run_dir}/lookup.sock (timed out)"
    responder.send_signal(signal.SIGCONT)
    assert told.conditions() == {}
    responder.kill()
    responder.wait()
    assert silent() == f"it does not answer on {told.run_dir}/lookup.sock (Connection refused)"


def state(process: int) -> str:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
