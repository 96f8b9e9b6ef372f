"""What can happen to a machine with popauthd: one function a kind of step, and the table of their names."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable

from tests.faults.machine import Machine
from tests.faults.material import DAMAGE, RULES, end_line, line
from tests.faults.readers import Faulty, Wrong
from tests.faults.truth import Login
from tests.support.helpers import ROOT, eventually


def stop(machine: Machine) -> None:
    machine.end_all(signal.SIGTERM)


def kill(machine: Machine, part: str) -> None:
    machine.end(part, signal.SIGKILL)


def stop_while_starting(machine: Machine) -> None:
    """Stop the watcher in the moment in which a child of it looks through the books."""
    stop(machine)
    machine.start()
    eventually(lambda: not machine.starts_still() or not machine.runs("watch"), "the watcher looks through its books")
    stop(machine)


def login(
    machine: Machine, address: str, user: str, ahead: int = 0, kind: str = "tls imap PLAIN", session: int = 0
) -> None:
    """ahead: seconds by which the line's stamp is ahead of the clock. session: whether it has an id."""
    tls, protocol, method = kind.split(" ")
    name = f"session{len(machine.truth.logins)}" if session else ""
    written = Login(address, user, int(machine.clocks.wall()) + ahead, tls == "tls", protocol, method, name)
    machine.truth.wrote(written, machine.now())
    machine.log.append(line(written, iso=ahead % 200 == 0))


def crowd(machine: Machine, address: str, number: int) -> None:
    """Many users log in from one address, and stay."""
    for user in range(number):
        login(machine, address, f"crowd{user}", session=1)


def end(machine: Machine, address: str) -> None:
    """The oldest open session of an address ends."""
    logins = machine.truth.logins
    mine = (one for one in logins if one.address == address and one.session and one.end_stamp is None)
    for ended in itertools.islice(mine, 1):
        machine.truth.ended(ended, machine.now())
        machine.log.append(end_line(ended, int(machine.clocks.wall())))


def grant(machine: Machine, address: str, seconds: int) -> None:
    if machine.asked({"command": "grant", "address": address, "seconds": seconds}):
        machine.truth.granted(address, seconds, machine.now())


def revoke(machine: Machine, kind: str, whom: str = "") -> None:
    asked = machine.now()
    if machine.asked({"command": "revoke", **({"what": "all"} if kind == "all" else {kind: whom})}):
        machine.truth.revoked(kind, whom, asked, machine.now())


def step(machine: Machine, seconds: int) -> None:
    machine.clocks.step(seconds)
    machine.truth.stepped(seconds)


def suspend(machine: Machine, seconds: int) -> None:
    machine.clocks.suspend(seconds)


def boot(machine: Machine, wrong_by: int) -> None:
    """The machine goes down, however it was, and comes up with another wall clock; /run is empty then."""
    machine.end_all(signal.SIGKILL)
    run_dir = machine.installation.run_dir
    for file in run_dir.iterdir() if run_dir.exists() else ():
        file.unlink()
    machine.clocks.boot(wrong_by)
    machine.truth.booted()
    machine.map_whole = False
    machine.start()


def configure(machine: Machine, number: int) -> None:
    """Another configuration, and a restart if it runs."""
    ran = machine.runs("watch")
    stop(machine)
    machine.truth.changed(RULES[number])
    machine.installation = machine.install()
    if ran:
        machine.start()


def rotate(machine: Machine, kind: str) -> None:
    if kind == "copytruncate":
        machine.log.copytruncate()
        return
    machine.log.rename_create()
    if kind == "gz":
        machine.log.pack(".1", ".gz")


def corrupt(machine: Machine, what: str, how: str) -> None:
    """Kill all, damage a file, and start again if it ran."""
    ran = machine.runs("watch")
    machine.end_all(signal.SIGKILL)
    file = machine.directory / what
    if file.exists():
        DAMAGE[how](file)
        if what == "state/books.mdb":
            machine.truth.lost()
        machine.map_whole = machine.map_whole and what != "run/relay.mdb"
    if ran:
        machine.start()


def second(machine: Machine, kind: str) -> None:
    """Somebody starts a second `popauthd run` beside a running one, with the same configuration or with other books."""
    if not (machine.runs("watch") and machine.runs("respond")):
        return
    machine.settle()  # it is the second: the first has come up
    config = machine.directory / "second.toml"
    text = machine.installation.config.read_text()
    if kind == "other books":
        text = text.replace(f"{machine.directory}/state", f"{machine.directory}/state-2")
    config.write_text(text)
    command = [*machine.clocks.prefix, sys.executable, "-m", "popauthd", "--config", str(config), "run"]
    process = subprocess.Popen(
        command, cwd=ROOT, env=machine.clocks.environment, stderr=subprocess.DEVNULL, process_group=0
    )
    try:
        refused = process.wait(20) != 0
    except subprocess.TimeoutExpired:
        refused = False
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if not refused:
        raise Faulty(Wrong(machine.step, "two watchers", "run_dir", "the second popauthd", "nothing, and went on"))


HAPPENINGS: dict[str, Callable[..., None]] = {
    "start": Machine.start,
    "stop": stop,
    "stop while starting": stop_while_starting,
    "kill": kill,
    "login": login,
    "crowd": crowd,
    "end": end,
    "grant": grant,
    "revoke": revoke,
    "step": step,
    "suspend": suspend,
    "boot": boot,
    "configure": configure,
    "rotate": rotate,
    "corrupt": corrupt,
    "second": second,
}
