"""Whatever stands in popauthd's directories, every command of popauthctl ends: with a sentence and an exit code."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from popauthd import as_user, control_client
from popauthd.cli import main
from tests.support.helpers import ROOT, write_map

pytestmark = pytest.mark.system

ADDRESS = "192.0.2.10"
COMMANDS = [
    ["check", ADDRESS],
    ["list"],
    ["list", "--json"],
    ["status"],
    ["grant", ADDRESS],
    ["revoke", ADDRESS],
    ["revoke", "--all"],
    ["config", "check"],
    ["config", "show"],
    ["recognise", str(ROOT / "README.md")],
    ["exim", "status"],
    ["dovecot", "status", "--doveconf", "/dev/null"],
    ["doctor", "--exim", "/none", "--readlookup", "/none", "--doveconf", "/dev/null"],
]
CODES = {0, 1, 2, 66, 69, 74, 78}  # of sysexits(3), and yes, no, trouble; never 70: a fault of ours
BOOKS = (
    "import sys, time; from popauthd.store.books import Books; books = Books(sys.argv[1])\n"
    "with books.writing() as writing:\n"
    "    writing.logins.grant_by_hand(sys.argv[2], int(time.time()), int(time.time()) + 900)"
)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run_dir and a state_dir in which an address is granted; no watcher."""
    root = tmp_path_factory.mktemp("healthy")
    for name in ("run", "state"):
        (root / name).mkdir(0o700)
    write_map(root / "run/relay.mdb", {ADDRESS: int(time.time()) + 900})
    subprocess.run([sys.executable, "-c", BOOKS, str(root / "state/books.mdb"), ADDRESS], check=True, cwd=ROOT)
    (root / "run/relay-hosts").write_text(f"{ADDRESS}: {int(time.time()) + 900}\n")
    return root


class HangError(BaseException):
    """A command did not end."""


def hung(_number: int, _frame: object) -> None:
    raise HangError


@pytest.fixture
def root(healthy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, with a configuration and little patience."""
    shutil.copytree(healthy, tmp_path, dirs_exist_ok=True)
    (tmp_path / "mail.log").touch()
    (tmp_path / "popauthd.toml").write_text(
        f'run_dir = "{tmp_path}/run"\nstate_dir = "{tmp_path}/state"\n[[source]]\npath = "{tmp_path}/mail.log"\n'
    )
    monkeypatch.setattr(control_client, "WATCHER_SECONDS", 0.5)
    monkeypatch.setattr(as_user, "SOCKET_SECONDS", 0.5)
    monkeypatch.setattr(as_user, "SILENT_SECONDS", 3)
    return tmp_path


def ended(root: Path, words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """A command's exit code and what it said."""
    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(30)
    try:
        code = main(["--config", str(root / "popauthd.toml"), *words])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    said = capsys.readouterr()
    assert code in CODES, (words, code, said)
    assert "Traceback" not in said.out + said.err
    assert "itself failed" not in said.out
    assert said.out + said.err, words
    if code > 2:
        assert said.err.startswith("popauthctl: "), words
        assert len(said.err.splitlines()) == 1, words
    if words[0] == "doctor":
        assert code == 1, "without Exim"
    return code, said.out + said.err


Make = Callable[[Path], None]


def gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def pipe(path: Path) -> None:
    gone(path)
    os.mkfifo(path)


def directory(path: Path) -> None:
    gone(path)
    path.mkdir()


def zeros(path: Path) -> None:
    gone(path)
    path.symlink_to("/dev/zero")


def loop(path: Path) -> None:
    gone(path)
    path.symlink_to(path)


def plain(path: Path) -> None:
    gone(path)
    path.write_bytes(b"plain\n")


def empty(path: Path) -> None:
    gone(path)
    path.touch()


def noise(path: Path) -> None:
    gone(path)
    path.write_bytes(bytes((7 * number * number + 3) % 251 for number in range(40_000)))


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def heads(path: Path) -> None:
    """The two pages at the front as they were, and noise behind."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5\x5a" * ((size - 8192) // 2))


ANY: tuple[Make, ...] = (gone, pipe, directory, zeros, loop, plain, empty)
STATES: list[tuple[str, Make]] = [
    *((place, make) for place in ("run", "state") for make in (gone, pipe, zeros, loop, plain)),
    *((f"{place}.mdb", make) for place in ("run/relay", "state/books") for make in (*ANY, noise, half, heads)),
    *(("state/books.mdb-lock", make) for make in (gone, pipe, directory, zeros, loop, noise)),
    *((f"run/{name}", make) for name in ("control.sock", "lookup.sock") for make in ANY),
    *(("run/relay-hosts", make) for make in (*ANY, noise)),
]


@pytest.mark.parametrize(("place", "make"), STATES, ids=[f"{place} {make.__name__}" for place, make in STATES])
def test_every_command_ends(root: Path, place: str, make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    make(root / place)
    found = {" ".join(words): ended(root, words, capsys)[0] for words in COMMANDS}
    assert found["status"] == found["revoke --all"] == 69, "nobody answers"
    assert found["config check"] == 0
    if place.startswith("run"):
        assert found["list"] == 0, "the books tell, without a watcher"
    if place.startswith("state"):
        assert found[f"check {ADDRESS}"] == 0, "the map tells, without books"
    if place in ("state", "state/books.mdb") and make is not half:
        assert found["list"] == 74


@pytest.mark.parametrize("place", ["state", "state/books.mdb", "run", "run/relay.mdb"])
def test_what_is_not_there_yet_is_told_with_what_to_do(
    root: Path, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    gone(root / place)
    said = ended(root, ["list"] if place.startswith("state") else ["check", ADDRESS], capsys)[1]
    assert "not there; is the watcher running? Start it with: systemctl start popauthd" in said


ANSWERS: list[tuple[str, bytes | None]] = [
    ("nothing, ever", None),
    ("nothing, and hangs up", b""),
    ("noise", bytes(range(256)) * 100),
    ("no line end", b"{}"),
    ("an empty object", b"{}\n"),
    ("a list", b"[]\n"),
    ("a deep list", b"[" * 60000 + b"\n"),
    ("an error that is none", b'{"error": 5}\n'),
    ("an error with a strange code", b'{"error": "no\\u001b[2J", "exit_code": "x"}\n'),
    ("other types", b'{"degraded": 1, "address": 2, "addresses": "three", "expires_at": "never"}\n'),
    ("a time that cannot be", b'{"address": "192.0.2.10", "expires_at": 1' + b"0" * 40 + b', "addresses": 1}\n'),
    (
        "strange sources",
        b'{"version": "\\u001b[2J", "pid": 1, "degraded": "", "dry_run": false, "addresses": 1, "held": 0, "now": 1,'
        b' "shared": [], "sources": [5], "notes": [], "today": {}}\n',
    ),
    ("without end", b"x" * (32 << 20)),
]


class Answering:
    """A server on a socket that says the same to everybody, whatever is asked."""

    def __init__(self, path: Path, answer: bytes | None) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(64)
        self.answer = answer
        self.kept: list[socket.socket] = []
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                client, _peer = self.listener.accept()
            except OSError:
                return
            self.kept.append(client)
            if self.answer is not None:
                threading.Thread(target=self.say, args=[client, self.answer]).start()

    @staticmethod
    def say(client: socket.socket, answer: bytes) -> None:
        try:
            client.recv(65536)
            client.sendall(answer)
            client.shutdown(socket.SHUT_RDWR)
        except OSError:
            return

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()
        for client in self.kept:
            client.close()


@pytest.fixture(params=[row[1] for row in ANSWERS], ids=[row[0] for row in ANSWERS])
def answering(root: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    servers = [Answering(root / "run" / name, request.param) for name in ("control.sock", "lookup.sock")]
    yield root
    for server in servers:
        server.close()


def test_every_command_ends_whoever_answers(answering: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in COMMANDS:
        code, said = ended(answering, words, capsys)
        assert "\x1b" not in said
        if words[0] in ("status", "grant"):
            assert code != 0, (words, said)
        if words[0] == "doctor":
            assert "FAIL watcher" in said


def test_a_configuration_that_is_not_one_ends_every_command(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for make in (gone, directory, loop, noise):
        make(root / "popauthd.toml")
        for words in COMMANDS:
            code, _said = ended(root, words, capsys)
            assert code == {"doctor": 1, "check": 2, "dovecot": 66}.get(words[0], 78)


@pytest.mark.parametrize("make", [pipe, directory, zeros, loop, gone])
@pytest.mark.parametrize("key", ["users_file", "deny_users", "auth_policy_secret_file"])
def test_every_command_ends_whatever_a_named_file_is(
    root: Path, key: str, make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    path = root / "popauthd.toml"
    port = 'auth_policy_listen = "127.0.0.1:1"\n' if key.startswith("auth") else ""
    path.write_text(f'{key} = "{root}/named"\n{port}{path.read_text()}')
    make(root / "named")
    found = {words[0]: ended(root, words, capsys)[0] for words in COMMANDS}
    assert found["list"] == found["check"] == 0
    assert ended(root, ["config", "check"], capsys)[0] == 78
