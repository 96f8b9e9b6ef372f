"""Starts that go wrong, with real processes: who may not start touches nothing, and healthy books stay."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemons import Installation, login_line
from tests.support.helpers import ROOT, eventually

A, B = "192.0.2.10", "192.0.2.11"


@pytest.fixture
def revoked(installation: Installation) -> Installation:
    """Killed; its books know that A was revoked, and its log still has A's login."""
    installation.start("run")
    installation.ready()
    installation.write(login_line(A), login_line(B))
    eventually(lambda: installation.ask(B) == "yes", "granted")
    assert installation.ctl("revoke", A).returncode == 0
    installation.close()
    for directory in (installation.directory / "state", installation.run_dir):
        for note in directory.glob("*.whole"):  # a watcher that is killed leaves none
            note.unlink()
    return installation


def identities(directory: Path, but: str = "") -> dict[str, tuple[int, int]]:
    """Which files are in a directory: name -> inode, and the time of the last change."""
    found = {path.name: path.lstat() for path in directory.iterdir() if path.name != but}
    return {name: (status.st_ino, status.st_mtime_ns) for name, status in found.items()}


def start_with_python(installation: Installation, python: str, probe_seconds: float = 240) -> subprocess.Popen[bytes]:
    """Start the watcher, in a process group of its own; `python` is what it runs to look at books and map."""
    code = (
        "import sys; from popauthd import daemon; from popauthd.store import quarantine; sys.executable = sys.argv[1];"
        "quarantine.PROBE_SECONDS = float(sys.argv[2]); sys.exit(daemon.main(['--config', sys.argv[3], 'watch']))"
    )
    with (installation.directory / "watch.err").open("ab") as errors:
        process = subprocess.Popen(
            [sys.executable, "-c", code, python, str(probe_seconds), str(installation.config)],
            cwd=ROOT, stderr=errors, start_new_session=True,
        )  # fmt: skip
    installation.processes.append(process)
    return process


def script(installation: Installation, text: str) -> str:
    path = installation.directory / "python"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def stays_revoked(installation: Installation) -> None:
    installation.start("run")
    installation.ready()
    eventually(lambda: installation.ask(B) == "yes", "the other address, which was granted, is")
    assert installation.ask(A) == "no", "what was revoked stays revoked"


NOT_DAMAGE = {
    "told to end, as systemd tells all processes of a unit": "kill -TERM $$",
    "Ctrl-C": "kill -INT $$",
    "killed, as when memory ran out": "kill -KILL $$",
    "aborted by somebody": "kill -ABRT $$",
    "the terminal is gone": "kill -HUP $$",
    "no memory": f'ulimit -v 500000; exec {sys.executable} "$@"',
    "no descriptor": f'ulimit -n 4; exec {sys.executable} "$@"',
    "python is broken": "echo 'ModuleNotFoundError: No module named lmdb' >&2; exit 1",
    "it takes too long": "exec sleep 60",
}


@pytest.mark.parametrize("text", NOT_DAMAGE.values(), ids=NOT_DAMAGE)
def test_books_that_cannot_be_looked_at_now_are_left_alone(revoked: Installation, text: str) -> None:
    before = identities(revoked.directory / "state"), identities(revoked.run_dir)
    process = start_with_python(revoked, script(revoked, text), 1 if "sleep" in text else 240)
    assert process.wait(60) == 74
    assert "cannot be looked at now" in revoked.errors("watch")
    assert "Traceback" not in revoked.errors("watch")
    assert (identities(revoked.directory / "state"), identities(revoked.run_dir)) == before
    stays_revoked(revoked)


def test_what_was_left_whole_is_not_looked_at_but_what_was_changed_since_is(first: Installation) -> None:
    """Stopped as it should, started without the means to look; then the books are changed, and it does not start."""
    first.close()
    assert {path.name for path in first.directory.rglob("*.whole")} == {"books.mdb.whole", "relay.mdb.whole"}
    again = start_with_python(first, "/nonexistent/python")
    first.start("respond")
    first.ready()
    assert first.ask(A) == "yes"
    assert list(first.directory.rglob("*.whole")) == [], "a watcher that is killed now leaves none"
    again.send_signal(signal.SIGTERM)
    assert again.wait(20) == 0
    with (first.directory / "state/books.mdb").open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"x")
    assert start_with_python(first, "/nonexistent/python").wait(60) == 74


def test_without_any_python_nothing_is_moved(revoked: Installation) -> None:
    before = identities(revoked.directory / "state")
    assert start_with_python(revoked, "/nonexistent/python").wait(60) == 74
    assert "python cannot be started" in revoked.errors("watch")
    assert identities(revoked.directory / "state") == before


def to_all(process: subprocess.Popen[bytes], to_children: signal.Signals) -> None:
    """Each process of the unit, the children first, which is the worse order."""
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), to_children)
    process.send_signal(signal.SIGTERM)


WAYS_TO_STOP: dict[str, Callable[[subprocess.Popen[bytes]], None]] = {
    "SIGTERM": lambda process: process.send_signal(signal.SIGTERM),
    "SIGINT": lambda process: process.send_signal(signal.SIGINT),
    "Ctrl-C, to the group": lambda process: os.killpg(process.pid, signal.SIGINT),
    "SIGTERM to all processes of the unit": lambda process: to_all(process, signal.SIGTERM),
    "the child killed, and SIGTERM": lambda process: to_all(process, signal.SIGKILL),
}


@pytest.mark.parametrize("stop", WAYS_TO_STOP.values(), ids=WAYS_TO_STOP)
def test_a_watcher_that_is_stopped_while_it_looks_ends_well_and_moves_nothing(
    revoked: Installation, stop: Callable[[subprocess.Popen[bytes]], None]
) -> None:
    before = identities(revoked.directory / "state"), identities(revoked.run_dir)
    began = revoked.directory / "began"
    process = start_with_python(revoked, script(revoked, f"echo $$ > {began}; exec sleep 60"))
    eventually(lambda: began.exists() and began.read_text().endswith("\n"), "it looks at the books")
    stop(process)
    assert process.wait(20) == 0
    assert not Path(f"/proc/{began.read_text().strip()}").exists(), "the child ends with it"
    assert (identities(revoked.directory / "state"), identities(revoked.run_dir)) == before
    stays_revoked(revoked)


def another(installation: Installation, name: str, settings: str) -> Installation:
    """A second configuration, in a directory of its own, that names the first one's directories."""
    directory = installation.directory / name
    directory.mkdir()
    made = Installation(directory)
    made.config.write_text(f'{settings}\n[[source]]\npath = "{made.log}"\nframing = "dovecot-file"\n')
    return made


@pytest.fixture
def first(installation: Installation) -> Installation:
    """Running, with one address granted."""
    installation.start("run")
    installation.ready()
    installation.write(login_line(A))
    eventually(lambda: installation.ask(A) == "yes", "granted")
    eventually(lambda: A in (installation.run_dir / "relay-hosts").read_text(), "the host list has it")
    return installation


SECOND_STARTS = [(part, own_state) for part in ("run", "watch", "respond") for own_state in (False, True)]


@pytest.mark.parametrize(("part", "own_state"), SECOND_STARTS)
def test_a_second_one_in_the_same_run_dir_refuses_and_touches_nothing(
    first: Installation, part: str, own_state: bool
) -> None:
    state = first.directory / ("second/state" if own_state else "state")
    second = another(first, "second", f'run_dir = "{first.run_dir}"\nstate_dir = "{state}"')
    before = identities(first.run_dir)
    try:
        assert second.start(part).wait(30) == 74
    finally:
        second.close()
    assert identities(first.run_dir) == before
    kind = {"watch": "watcher", "respond": "responder"}.get(part, "")
    assert f"run_dir {first.run_dir}: another {kind}" in second.errors(part)
    assert (first.ask(A), first.ask(B)) == ("yes", "no")
    first.write(login_line(B))
    eventually(lambda: first.ask(B) == "yes", "the first goes on")
    assert first.ctl("revoke", "--all").returncode == 0
    assert first.ask(A) == "no", "the first one's control socket and map are its own"


def test_a_second_watcher_on_the_same_books_in_another_run_dir_refuses(first: Installation) -> None:
    second = another(first, "second", f'run_dir = "{first.directory}/run2"\nstate_dir = "{first.directory}/state"')
    before = identities(first.directory / "state")
    assert second.start("watch").wait(30) == 74
    assert "another watcher is running on these books" in second.errors("watch")
    assert identities(first.directory / "state") == before


@pytest.fixture
def handed(installation: Installation) -> Iterator[socket.socket]:
    """A listening socket at the place of the lookup socket, ours as it would be systemd's."""
    installation.run_dir.mkdir(mode=0o750)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(installation.run_dir / "lookup.sock"))
        listener.listen(64)
        yield listener


def test_a_second_responder_with_a_socket_handed_over_refuses(
    installation: Installation, handed: socket.socket
) -> None:
    installation.respond_on(handed)
    eventually(lambda: "answering on" in installation.errors("respond"), "the first answers")
    before = identities(installation.run_dir)
    for second in (installation.respond_on(handed), installation.start("respond")):
        assert second.wait(30) == 74
    assert identities(installation.run_dir) == before
    assert installation.start("run").wait(30) == 74
    assert identities(installation.run_dir)["lookup.sock"] == before["lookup.sock"]
    assert installation.ask(A) == "no"


def test_a_responder_does_not_take_the_place_of_a_socket_that_another_process_holds(
    installation: Installation, handed: socket.socket
) -> None:
    before = identities(installation.run_dir, but="respond.lock")
    assert installation.start("respond").wait(30) == 74
    assert "another process listens there" in installation.errors("respond")
    assert identities(installation.run_dir, but="respond.lock") == before


def test_a_responder_that_systemd_starts_again_waits_for_the_one_that_ends(
    installation: Installation, handed: socket.socket
) -> None:
    old = installation.respond_on(handed)
    eventually(lambda: "answering on" in installation.errors("respond"), "the first answers")
    with socket.socket(socket.AF_UNIX) as slow:
        slow.settimeout(20)
        slow.connect(str(installation.run_dir / "lookup.sock"))
        eventually(lambda: Path(f"/proc/{old.pid}/fd").exists(), "it runs")
        old.send_signal(signal.SIGTERM)
        new = installation.respond_on(handed)
        assert slow.recv(100) == b"no", "who had connected is served to the end"
    assert old.wait(20) == 0
    assert installation.ask(A) == "no"
    assert new.poll() is None


def test_run_starts_again_at_once_after_it_was_killed(first: Installation) -> None:
    first.processes[0].kill()
    again = first.start("run")
    eventually(lambda: first.errors("run").count("answering on") == 2, "it answers")
    first.ready()
    eventually(lambda: first.ask(A) == "yes", "as before")
    assert again.poll() is None


def test_the_locks_are_for_nobody_else_to_open(first: Installation) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in first.run_dir.glob("*.lock")}
    assert modes == {"watch.lock": 0o600, "respond.lock": 0o600}


WRONG_PLACES = [
    ("it may not be written", "/sys", 77),
    ("it cannot be made there", "/sys/popauthd", 77),
    ("its parent does not exist and cannot be made", "/proc/popauthd/run", 78),
    ("it is a file", "{directory}/file", 78),
    ("it is below a file", "{directory}/file/run", 78),
    ("its name is too long", "{directory}/" + "x" * 300, 78),
    ("its name is too long for a socket", "{directory}/" + "x" * 120, 78),
    ("a link to itself", "{directory}/loop", 78),
]


@pytest.mark.parametrize("part", ["respond", "watch", "run"])
@pytest.mark.parametrize(("place", "code"), [row[1:] for row in WRONG_PLACES], ids=[row[0] for row in WRONG_PLACES])
def test_a_run_dir_that_cannot_be_used_ends_with_words(
    installation: Installation, place: str, code: int, part: str
) -> None:
    (installation.directory / "file").touch()
    (installation.directory / "loop").symlink_to("loop")
    run_dir = place.format(directory=installation.directory)
    installation.config.write_text(installation.config.read_text().replace(str(installation.run_dir), run_dir))
    assert installation.start(part).wait(30) == code
    assert "Traceback" not in installation.errors(part)
    assert f"run_dir {run_dir}" in installation.errors(part) or f"{run_dir}/" in installation.errors(part)


@pytest.mark.parametrize(("place", "code"), [("/sys/state", 77), ("{directory}/dovecot.log", 78)])
def test_a_state_dir_that_cannot_be_used_ends_with_words(installation: Installation, place: str, code: int) -> None:
    place = place.format(directory=installation.directory)
    text = installation.config.read_text().replace(f"{installation.directory}/state", place)
    installation.config.write_text(text)
    assert installation.start("watch").wait(30) == code
    assert f"{place}" in installation.errors("watch")
    assert "Traceback" not in installation.errors("watch")


@pytest.mark.parametrize("part", ["respond", "watch"])
def test_a_socket_that_is_taken_away_ends_its_process_so_that_it_is_made_anew(
    installation: Installation, part: str
) -> None:
    process = installation.start(part)
    path = installation.run_dir / {"respond": "lookup.sock", "watch": "control.sock"}[part]
    eventually(lambda: f"{'answering' if part == 'respond' else 'watching'} " in installation.errors(part), "ready")
    path.unlink()
    assert process.wait(20) == 74
    assert f"{path} was removed or replaced" in installation.errors(part)
    installation.start(part)
    eventually(path.exists, "it is there again")
