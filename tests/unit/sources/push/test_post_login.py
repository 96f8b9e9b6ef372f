"""dovecot/post-login: tells, waits for the answer, and in any case runs the command, with nothing changed for it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from popauthd.model import Login
from popauthd.sources.push.messages import read_push
from tests.support.helpers import ROOT

SCRIPT = ROOT / "dovecot/post-login"
ENVIRONMENT = {
    "IP": "192.0.2.7",
    "USER": "anna@example.org",
    "LOCAL_IP": "198.51.100.5",
    "AUTH_MECH": "PLAIN",
    "POPAUTHD_SESSION": "aKTnLvhgIrN/AAAB",
    "POPAUTHD_TLS": "TLS",
    "NAMESPACE/INBOX/PREFIX": "INBOX/",  # no shell would keep it
    "ODD": "two\nlines=\x1b[0m",
    "USERDB_KEYS": "UID GID ",
}


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "push.sock")


@pytest.fixture
def listener(path: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(path)
        opened.listen()
        opened.settimeout(20)
        yield opened


def run(path: str, *command: str, protocol: str = "imap", env: dict[str, str] | None = None) -> bytes:
    """Run the script and return what the command printed; nothing else may be."""
    done = subprocess.run(
        [SCRIPT, "--socket", path, protocol, *command],
        env=ENVIRONMENT if env is None else env, capture_output=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stderr == b""
    return done.stdout


def hear(listener: socket.socket, reply: bytes) -> bytes:
    """One message, answered."""
    with listener.accept()[0] as connection:
        connection.settimeout(20)
        data = connection.recv(8192)
        with contextlib.suppress(BrokenPipeError):  # who has waited long enough is gone
            connection.sendall(reply)
    return data


def test_everything_that_dovecot_says_is_told(path: str, listener: socket.socket) -> None:
    with ThreadPoolExecutor() as pool:
        heard = pool.submit(hear, listener, b"granted\n")
        assert run(path, "/bin/echo", "logged", "in") == b"logged in\n"
    login = read_push(heard.result())
    assert isinstance(login, Login)
    assert login == Login(
        login.at, "192.0.2.7", "anna@example.org", "imap", "PLAIN", True, "aKTnLvhgIrN/AAAB", "198.51.100.5", "dovecot"
    )


def test_what_dovecot_does_not_say_is_left_out(path: str, listener: socket.socket) -> None:
    with ThreadPoolExecutor() as pool:
        heard = pool.submit(hear, listener, b"granted\n")
        run(path, "/bin/true", protocol="pop3", env={"IP": "2001:db8::7", "USER": "a\nuser=b"})
    login = read_push(heard.result())
    assert isinstance(login, Login)
    assert login == Login(login.at, "2001:db8::7", "a?user=b", "pop3", format="dovecot")


def test_the_command_waits_for_the_answer(path: str, listener: socket.socket, tmp_path: Path) -> None:
    patient, marker = tmp_path / "patient", tmp_path / "marker"
    text = SCRIPT.read_text().replace("WAIT_SECONDS = 0.1 ", "WAIT_SECONDS = 20.0 ")
    assert text != SCRIPT.read_text()
    patient.write_text(text)
    patient.chmod(0o755)
    child = subprocess.Popen([patient, "--socket", path, "imap", "/usr/bin/touch", marker], env=ENVIRONMENT)
    with listener.accept()[0] as connection:
        connection.settimeout(20)
        assert connection.recv(8192)
        assert not marker.exists()
        connection.sendall(b"granted\n")
    assert child.wait(20) == 0
    assert marker.exists()


def nothing(_path: str) -> socket.socket | None:
    return None


def a_file(path: str) -> socket.socket | None:
    Path(path).touch()
    return None


def dead(path: str) -> socket.socket | None:
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(path)
    return None


def silent(path: str) -> socket.socket | None:
    opened = socket.socket(socket.AF_UNIX)
    opened.bind(path)
    opened.listen()
    return opened


def full(path: str) -> socket.socket | None:
    opened = socket.socket(socket.AF_UNIX)
    opened.bind(path)
    opened.listen(0)
    waiting = socket.socket(socket.AF_UNIX)
    waiting.connect(path)
    waiting.detach()  # stays open until the process ends
    return opened


def forbidden(path: str) -> socket.socket | None:
    opened = silent(path)
    Path(path).chmod(0)  # keeps out anybody but root
    return opened


def long_path(path: str) -> socket.socket | None:
    Path(path).symlink_to("/" + "x" * 200)
    return None


@pytest.mark.parametrize("state", [nothing, a_file, dead, silent, full, forbidden, long_path], ids=lambda f: f.__name__)
def test_the_command_runs_whatever_is_there(path: str, state: Callable[[str], socket.socket | None]) -> None:
    opened = state(path)
    assert run(path, "/bin/echo", "in") == b"in\n"
    if opened is not None:
        opened.close()


@pytest.mark.parametrize("reply", [b"", b"refused\n", b"\0" * 5000, b"g"])
def test_the_command_runs_whatever_is_answered(path: str, listener: socket.socket, reply: bytes) -> None:
    with ThreadPoolExecutor() as pool:
        pool.submit(hear, listener, reply)
        assert run(path, "/bin/echo", "in") == b"in\n"


def test_the_command_runs_without_a_protocol_or_any_variable(path: str) -> None:
    assert run(path, "in", protocol="/bin/echo") == b"in\n"
    assert run(path, "/bin/echo", "in", env={}) == b"in\n"
    assert run("/" + "x" * 200, "/bin/echo", "in") == b"in\n"


@pytest.mark.parametrize("arguments", [[], ["imap"], ["imap", "/no/such/command"], ["--socket"]])
def test_what_cannot_run_ends_quietly(arguments: list[str]) -> None:
    done = subprocess.run([SCRIPT, *arguments], env=ENVIRONMENT, capture_output=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (75, b"", b"")


def test_the_environment_is_untouched(path: str) -> None:
    for env in (
        ENVIRONMENT,
        {"LC_CTYPE": "POSIX", "A": "b"},
        {"A": "b", "LC_CTYPE": ""},
        {"PYTHONPATH": "/nowhere", "PYTHONSTARTUP": "/nowhere"},
    ):
        given = {f"{name}={value}".encode() for name, value in env.items()}
        assert set(run(path, "/bin/cat", "/proc/self/environ", env=env).split(b"\0")) == given | {b""}


def test_descriptors_and_signals_are_untouched(path: str, listener: socket.socket) -> None:
    def dovecots() -> None:  # Dovecot ignores SIGPIPE, and its script has descriptor 3
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        os.dup2(0, 3)

    def shown(*command: str | Path) -> str:
        return subprocess.run(
            command, env=ENVIRONMENT, preexec_fn=dovecots, pass_fds=(3,), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    def seen(*command: str | Path) -> tuple[list[str], str]:
        """Of the command itself: a shell between would show its own signals while it starts another."""
        signals = re.findall(r"(Sig(?:Ign|Blk):\s+\w+)", shown(*command, "/bin/cat", "/proc/self/status"))
        return signals, shown(*command, "/bin/ls", "/proc/self/fd")

    with ThreadPoolExecutor() as pool:
        for _ in range(2):
            pool.submit(hear, listener, b"granted\n")
        told = seen(SCRIPT, "--socket", path, "imap")
        assert told == seen()
        assert "3\n" in told[1]
