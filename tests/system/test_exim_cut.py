"""popauthctl exim enable and disable when they are cut off, hindered or deceived, on Debian's own configuration."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from popauthd import processes
from popauthd.errors import ConfigError
from popauthd.eximsetup import one_at_a_time, plan, undo
from popauthd.eximsetup.change import recover
from popauthd.eximsetup.process import reload, running
from tests.servers.exim import REFUSAL, USER
from tests.servers.place import Place
from tests.support.exim_machine import Machine, machine_in
from tests.support.helpers import eventually

pytestmark = pytest.mark.system

DONE, REFUSED, BROKEN = 0, 1, 2
BY_EXIM = f"550 {REFUSAL}"
BY_DEBIAN = "550 relay not permitted"


@pytest.fixture
def machine() -> Iterator[Machine]:
    """Unsplit, and with few sessions to be played."""
    with Place() as place:
        found = machine_in(place, split=False)
        text = found.site.debconf.read_text()
        found.site.debconf.write_text(text.replace("198.51.100.0/24", "").replace("'example.org'", "''"))
        found.regenerate()
        yield found


def cut(machine: Machine, run: Callable[[], object], at: int, number: signal.Signals) -> int:
    """Make a change in a child that gets a signal at its step `at`: its exit code, or minus the signal.

    The steps are counted from the note on: a file of Exim's or the note renamed or removed, the configuration made, the
    processes looked at. 3: it has fewer steps.
    """
    places = (str(machine.site.confdir), str(machine.site.acl_file.parent))
    child = os.fork()
    if child == 0:
        steps = iter(range(10_000))
        begun = False

        def heard(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal begun
            begun = begun or (event == "os.remove" and machine.site.note.name in str(arguments[0]))
            what = str(arguments[0])
            step = event in ("os.rename", "os.remove") and what.startswith(places)
            step = step or (event == "subprocess.Popen" and what == str(machine.site.update))
            step = step or (event in ("os.listdir", "os.scandir") and what == "/proc")
            if begun and step and next(steps) == at:
                os.kill(os.getpid(), number)

        code = BROKEN
        try:
            sys.addaudithook(heard)
            run()
            code = DONE if next(steps) > at else 3
        except ConfigError:
            code = REFUSED
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def tidy(machine: Machine) -> None:
    """Nothing is left of a change but what it changed."""
    assert undo.told(machine.site) == ""
    assert not machine.site.note.exists()
    assert [path.name for path in machine.site.work.iterdir()] == ["lock"]
    left = [*machine.site.confdir.rglob(".*"), *machine.site.acl_file.parent.glob(".*")]
    assert left == []


@pytest.mark.parametrize("step", ["enable", "disable"])
def test_a_change_killed_at_any_step_is_told_and_undone_by_the_next(machine: Machine, step: str) -> None:
    off = machine.tree()
    machine.enable()
    on = machine.tree()
    if step == "enable":
        machine.disable()
    run, before, after = (machine.enable, off, on) if step == "enable" else (machine.disable, on, off)
    back = machine.disable if step == "enable" else machine.enable
    told = at = 0
    while (code := cut(machine, run, at, signal.SIGKILL)) != 3:
        assert code == -signal.SIGKILL, (at, code)
        said = undo.told(machine.site)
        if said:
            told += 1
            assert f"`popauthctl exim {step}` of " in said
            assert "was cut off half-way" in said
            with pytest.raises(ConfigError, match="leave out --dry-run"):
                machine.enable(dry_run=True)
        else:
            assert {path: known for path, known in machine.tree().items() if not Path(path).name.startswith(".")} == (
                before
            )
        if at == 8:  # the rest is undone in the same way, and nothing else is tried, for the time that it takes
            run()
            assert machine.tree() == after
            tidy(machine)
            back()
        elif at == 9:
            back()
        else:
            recover(machine.site, asked=step == "enable", dry_run=False, say=machine.said.append)
        assert machine.tree() == before, at
        assert machine.says() == (BY_EXIM if before == on else BY_DEBIAN), at
        tidy(machine)
        at += 1
    assert told > 5


@pytest.mark.parametrize("step", ["enable", "disable"])
def test_a_change_told_to_end_at_any_step_is_made_whole_or_undone(machine: Machine, step: str) -> None:
    off = machine.tree()
    machine.enable()
    on = machine.tree()
    if step == "enable":
        machine.disable()
    run, before, after = (machine.enable, off, on) if step == "enable" else (machine.disable, on, off)
    back = machine.disable if step == "enable" else machine.enable
    codes: list[int] = []
    while (code := cut(machine, run, len(codes), signal.SIGTERM)) != 3:
        codes.append(code)
        assert code in (DONE, REFUSED)
        assert machine.tree() == (after if code == DONE else before), codes
        tidy(machine)
        if code == DONE:
            back()
    assert codes == sorted(codes, reverse=True), "once it is made it is finished"
    assert codes.count(DONE) >= 2, "Exim is told, and the note removed"
    assert codes.count(REFUSED) > 6


def test_whoever_changed_a_file_since_keeps_it(machine: Machine) -> None:
    own = "OWN = 1\n"
    assert cut(machine, machine.enable, 10, signal.SIGKILL) == -signal.SIGKILL
    assert machine.site.hook_file.exists()
    machine.site.hook_file.write_text(own)
    recover(machine.site, asked=True, dry_run=False, say=machine.said.append)
    assert machine.site.hook_file.read_text() == own
    assert f"WARNING: {machine.site.hook_file} was changed since" in "\n".join(machine.said)
    assert not machine.site.acl_file.exists()
    tidy(machine)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"step": 1}', '{"step": "enable", "at": 1, "files": {"%s": [1, 2]}}'])
def test_a_note_that_is_none_is_told_and_touches_nothing(machine: Machine, text: str) -> None:
    before = machine.tree()
    machine.site.note.write_text(text.replace("%s", str(machine.site.macros_file)))
    assert "is not what popauthctl wrote" in undo.told(machine.site)
    with pytest.raises(ConfigError, match="is not what popauthctl wrote; see what it is, and remove it"):
        machine.enable()
    assert machine.tree() == before


def test_a_note_names_no_other_files(machine: Machine, tmp_path: Path) -> None:
    (tmp_path / "other").write_text("after")
    machine.site.note.write_text(f'{{"step": "enable", "at": 1, "files": {{"{tmp_path}/other": ["before", "after"]}}}}')
    assert machine.enable()
    assert (tmp_path / "other").read_text() == "after"
    tidy(machine)


def test_copies_that_were_left_are_removed(machine: Machine) -> None:
    machine.enable()
    for name in ("try.old", "try.older"):
        shutil.copytree(machine.site.confdir, machine.site.work / name)
    machine.disable()
    tidy(machine)
    assert machine.site.work.stat().st_mode & 0o7777 == 0o750
    assert (machine.site.work / "lock").stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("make", ["link", "file", "open"])
def test_a_directory_for_copies_that_others_could_write_is_not_used(machine: Machine, make: str) -> None:
    work = machine.site.work
    if make == "link":
        work.symlink_to(machine.root)
    elif make == "file":
        work.touch()
    else:
        work.mkdir()
        shutil.chown(work, USER)
    before = machine.tree()
    with pytest.raises(ConfigError, match=f"{work}(: cannot be made| is not a directory of root's alone)"):
        machine.enable()
    assert machine.tree() == before


def test_nobody_else_s_lock_is_in_the_way(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_at_a_time, "WAIT_SECONDS", 0.2)
    readable = os.open(machine.site.confdir, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(readable, fcntl.LOCK_SH)
        assert machine.enable()
    finally:
        os.close(readable)
    before = machine.tree()
    number = os.open(machine.site.work / "lock", os.O_RDWR)
    try:
        fcntl.flock(number, fcntl.LOCK_EX)
        os.pwrite(number, b"4242\n", 0)
        with pytest.raises(ConfigError, match=r"another popauthctl \(pid 4242\) is changing .*; wait for it"):
            machine.disable()
    finally:
        os.close(number)
    assert machine.tree() == before
    assert machine.disable()


def nonsense(machine: Machine) -> None:
    path = machine.site.macros_file
    path.write_text("no_such_option = yes\n" + path.read_text())


def no_script(machine: Machine) -> None:
    machine.site.update.write_text("#!/bin/sh\nexit 3\n")


def no_settings(machine: Machine) -> None:
    machine.site.debconf.rename(machine.root / "aside")


def no_exim(machine: Machine) -> None:
    machine.site.exim.rename(machine.root / "aside")


def silent(machine: Machine) -> None:
    """Exim takes it, and ends every session at once."""
    path = machine.site.macros_file
    path.write_text("acl_smtp_connect = drop message = none\n" + path.read_text())


def pipe(machine: Machine) -> None:
    os.mkfifo(machine.site.confdir / "conf.d/main/99_pipe")


@pytest.mark.parametrize("broken", [nonsense, no_script, no_settings, no_exim, silent, pipe])
def test_it_is_taken_out_of_a_configuration_that_is_broken(machine: Machine, broken: Callable[[Machine], None]) -> None:
    off = machine.site.macros_file.read_text()
    machine.enable()
    generated = machine.site.generated.read_bytes()
    broken(machine)
    with_ours = machine.site.macros_file.read_text()
    with pytest.raises(ConfigError):
        machine.enable("hostlist")
    assert machine.site.macros_file.read_text() == with_ours
    assert machine.disable(dry_run=True)
    assert machine.site.macros_file.read_text() == with_ours
    assert machine.disable()
    assert machine.site.macros_file.read_text() == plan.without_block(with_ours)
    assert machine.site.macros_file.read_text().endswith(off)
    assert not machine.site.acl_file.exists()
    assert not machine.site.hook_file.exists()
    assert machine.site.generated.read_bytes() == generated, "what Exim could not take is not put in force"
    said = "\n".join(machine.said)
    assert "WARNING: Exim's configuration is broken as it is" in said
    assert "nobody asks popauthd. Exim is not running. Repair" in said
    tidy(machine)
    if broken not in (no_exim, no_settings):
        assert machine.says() == BY_DEBIAN


def test_what_is_broken_by_us_alone_is_whole_without(machine: Machine) -> None:
    before = machine.tree()
    machine.enable()
    for path in (machine.site.hook_file, machine.site.macros_file):
        path.write_text(path.read_text().replace("MAIN_ACL_CHECK_RCPT", "no_such_option"))
    assert machine.disable()
    assert machine.tree() == before
    assert machine.says() == BY_DEBIAN
    tidy(machine)


def test_a_block_without_its_end_is_left_to_the_administrator(machine: Machine) -> None:
    machine.enable()
    path = machine.site.macros_file
    path.write_text(path.read_text().replace(f"{plan.END}\n", f"{plan.END} \nOWN = 1\n"))
    with pytest.raises(ConfigError, match=f'{path} has a line "{plan.BEGIN}" and no line "{plan.END}" below it'):
        machine.disable()
    assert path.read_text().endswith("OWN = 1\n")


def test_what_others_own_below_exim4_is_not_copied(machine: Machine) -> None:
    theirs = machine.site.confdir / "dkim"
    theirs.mkdir()
    (theirs / "zeros").symlink_to("/dev/zero")
    (theirs / "root").symlink_to("/")
    os.mkfifo(theirs / "pipe")
    for path in (theirs, *theirs.iterdir()):
        os.lchown(path, 1, 1)
    (machine.site.confdir / "zeros").symlink_to("/dev/zero")
    assert machine.enable()
    assert machine.says() == BY_EXIM


def test_a_directory_that_leads_back_into_itself_is_told(machine: Machine) -> None:
    (machine.site.confdir / "conf.d/main/again").symlink_to("..")
    with pytest.raises(ConfigError, match="leads back into itself"):
        machine.enable()


Started = tuple[list[str | Path], dict[str, object]]


def script(root: Path) -> Started:
    """Its name is Exim's, its program the shell."""
    path = root / "bin/exim4"
    path.parent.mkdir()
    path.write_text("#!/bin/sh\nread line\n")
    path.chmod(0o755)
    return [path], {}


def anothers_program(root: Path) -> Started:
    """A file called exim4 that its user has made."""
    path = root / "bin/exim4"
    path.parent.mkdir()
    shutil.copy("/bin/dash", path)
    shutil.chown(path, USER)
    return [path, *READS], {"user": USER}


def another_user(root: Path) -> Started:
    """Exim's own program, started by somebody else."""
    path = root / "bin/exim4"
    path.parent.mkdir()
    shutil.copy("/bin/dash", path)
    return [path, *READS], {"user": "nobody"}


def another_program(_root: Path) -> Started:
    return ["/bin/dash", *READS], {}


READS = ("-c", "read line")


@pytest.mark.parametrize("start", [script, anothers_program, another_user, another_program])
def test_no_process_is_told_that_is_not_exim(machine: Machine, start: Callable[[Path], Started]) -> None:
    """Though it listens, and has Exim's words."""
    command, by = start(machine.root)
    with socket.create_server(("127.0.0.1", 0)) as port:
        words = [*command, "-C", machine.site.config, "-bd"]
        by["pass_fds"] = [port.fileno()]
        with subprocess.Popen(words, stdin=subprocess.PIPE, **by) as process:  # type: ignore[call-overload]
            name = Path(command[0]).name
            eventually(lambda: Path(f"/proc/{process.pid}/comm").read_text().strip() == name, "it has its name")
            assert processes.sockets(process.pid) & processes.ports().keys()
            assert running(machine.site) is None
            reload(machine.site, machine.said.append)
            process.stdin.close()
            assert process.wait() == 1, "it ended with its input, not by SIGHUP"
    assert machine.said == ["Exim is not running; it will read the new configuration when it starts"]
