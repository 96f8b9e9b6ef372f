"""A whole mail server for the doctor to look at, and what can be wrong with one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from popauthd.eximsetup.site import Site
from tests.servers.dovecot import Dovecot
from tests.servers.exim import write_snippets
from tests.servers.place import Place, Server, free_port
from tests.servers.popauthd import Popauthd
from tests.support.debian_exim import Debian, relocated
from tests.support.helpers import eventually

SETTINGS = "hold_sessions = false\n"
# It listens on every address, as a mail server does, and lets nobody in from outside (-bh tells no interface_address).
LOCAL_CLIENTS = "host_reject_connection = ${if eq{$interface_address}{}{}{! 127.0.0.0/8}}\n"


@dataclass(slots=True)
class World:
    """A mail server as it should be."""

    dovecot: Dovecot
    popauthd: Popauthd
    parts: dict[str, Server]
    debian: Debian
    exim: Path
    daemon: Server

    def arguments(self) -> list[str]:
        """What makes the doctor look here instead of at the machine itself."""
        script = self.debian.root / "readlookup"
        exim = ["--exim", str(self.exim), "--exim-config", str(self.debian.config), "--readlookup", str(script)]
        return [*exim, "--exim-acl", str(self.debian.acl), "--doveconf", str(self.dovecot.doveconf())]

    def examine(self) -> tuple[int, dict[str, tuple[str, str]]]:
        """The doctor's exit code, and check -> (state, the rest)."""
        done = self.popauthd.control("doctor", "--json", *self.arguments())
        assert done.stderr == ""
        found: list[dict[str, Any]] = json.loads(done.stdout)
        return done.returncode, {one["check"]: (one["state"], f"{one['seen']}; {one['advice']}") for one in found}

    def failed(self) -> dict[str, str]:
        """The checks that failed, and what is said of them. What is granted for the proof is never left behind."""
        code, found = self.examine()
        failed = {check: said for check, (state, said) in found.items() if state == "FAIL"}
        assert code == (1 if failed else 0)
        if self.parts["watch"].alive():
            listed = self.popauthd.control("list", "--json")
            assert "192.0.2" not in listed.stdout, found
        return failed


def build(place: Place, flavour: str, *, split: bool) -> World:
    """One in which all is well, and Exim asks by the socket."""
    dovecot = Dovecot(place)
    dovecot.logged_in()
    popauthd = Popauthd(place, dovecot.log, settings=SETTINGS)
    parts = popauthd.start("watch", "respond")
    debian = relocated(place, flavour, split)
    debian.install(write_snippets(debian.root, "socket", popauthd.run_dir).read_text() + LOCAL_CLIENTS)
    # A way to another server that needs no name server.
    (debian.root / "exim4/hubbed_hosts").write_text("debian.org: 192.0.2.77\n")
    debian.generate()
    return World(dovecot, popauthd, parts, debian, debian.binary, daemon(place, debian))


def daemon(place: Place, debian: Debian, address: str = "0.0.0.0") -> Server:
    """A running Exim; on its own port, as nobody else's must be taken."""
    interfaces = f"<; [{address}]:{free_port()}"
    debian.pid_file.unlink(missing_ok=True)
    files: list[str | Path] = ["-C", debian.config, "-oP", debian.pid_file]
    exim = place.start(f"{debian.root.name}.daemon", [debian.binary, *files, "-bdf", "-oX", interfaces])
    exim.wait_until(debian.pid_file.exists, "listen")
    return exim


@contextlib.contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    """A file or directory with another mode."""
    before = path.stat().st_mode & 0o7777
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)


@contextlib.contextmanager
def aside(path: Path) -> Iterator[None]:
    """A file that is not there."""
    path.rename(path.with_name("aside"))
    try:
        yield
    finally:
        path.with_name("aside").rename(path)


@contextlib.contextmanager
def cut_off(world: World) -> Iterator[None]:
    """A change of Exim's configuration was killed half-way."""
    note = Site(acl_file=world.debian.acl).note
    note.write_text('{"step": "enable", "at": 1795467600, "files": {}}')
    try:
        yield
    finally:
        note.unlink()


@contextlib.contextmanager
def stopped(world: World, part: str) -> Iterator[None]:
    """A part of popauthd that does not run."""
    world.parts[part].stop()
    try:
        yield
    finally:
        world.parts |= world.popauthd.start(part)
        eventually(lambda: world.popauthd.control("status").returncode == 0, "the watcher answers")


@contextlib.contextmanager
def dovecot_stopped(world: World) -> Iterator[None]:
    """A Dovecot that does not run."""
    world.dovecot.server.stop()
    try:
        yield
    finally:
        world.dovecot.server = world.dovecot.start()


@contextlib.contextmanager
def exim_stopped(world: World) -> Iterator[None]:
    """An Exim that does not run."""
    world.daemon.stop()
    try:
        yield
    finally:
        world.daemon = daemon(world.popauthd.place, world.debian)


@contextlib.contextmanager
def exim_on(world: World, address: str) -> Iterator[None]:
    """An Exim that listens on one address alone."""
    with exim_stopped(world):
        other = daemon(world.popauthd.place, world.debian, address)
        yield
        other.stop()


@contextlib.contextmanager
def exim_for(world: World, kind: str) -> Iterator[None]:
    """Another kind of mail server, as `dpkg-reconfigure exim4-config` makes it."""
    hubbed = world.debian.root / "exim4/hubbed_hosts"
    with aside(hubbed), regenerated(world, "update-exim4.conf.conf", "='internet'", f"='{kind}'"):
        yield


@contextlib.contextmanager
def appended(path: Path, text: str) -> Iterator[None]:
    """A file with more in front."""
    before = path.read_text()
    path.write_text(text + before)
    try:
        yield
    finally:
        path.write_text(before)


@contextlib.contextmanager
def regenerated(world: World, name: str, old: str, new: str) -> Iterator[None]:
    """Debian's configuration made anew with another line in one of its files."""
    path = world.debian.root / "exim4" / name
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))
    try:
        world.debian.generate()
        yield
    finally:
        path.write_text(before)
        world.debian.generate()


def relays_what_it_can_route(world: World) -> AbstractContextManager[None]:
    """Exim refuses what it cannot route, and no more."""
    relay = "    message = relay not permitted\n    domains = +local_domains : +relay_to_domains\n"
    return regenerated(world, "exim4.conf.template", relay, "    verify = recipient\n")


@contextlib.contextmanager
def no_new_list(world: World) -> Iterator[None]:
    """The watcher cannot write the host list any more."""
    blocked = world.popauthd.run_dir / "relay-hosts.new"
    blocked.mkdir()
    try:
        yield
    finally:
        blocked.rmdir()
        eventually(lambda: world.popauthd.control("status").returncode == 0, "the watcher is well again")


@contextlib.contextmanager
def no_exim(world: World) -> Iterator[None]:
    """A machine without Exim."""
    before, world.exim = world.exim, Path("/nonexistent/exim4")
    try:
        yield
    finally:
        world.exim = before


@contextlib.contextmanager
def no_log(world: World) -> Iterator[None]:
    """Dovecot's log is missing, and the watcher knows."""

    def missed() -> bool:
        status = json.loads(world.popauthd.control("status", "--json").stdout)
        return "log-missing" in {one["word"] for one in status["conditions"]}

    with aside(world.dovecot.log):
        eventually(missed, "the log is missed")
        yield
    eventually(lambda: not missed(), "the log is found again")


@contextlib.contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    """A file with something else in it."""
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))
    try:
        yield
    finally:
        path.write_text(before)
