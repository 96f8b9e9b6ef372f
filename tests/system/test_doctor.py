"""`popauthctl doctor` on a whole system of real servers: all is well, then one fault at a time, which it names."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.helpers import eventually
from tests.servers.clients import pop3_login
from tests.servers.dovecot import Dovecot
from tests.servers.exim import TREE, WAYS, write_snippets
from tests.servers.place import Place, Server
from tests.servers.popauthd import Popauthd
from tests.system.test_debian_configuration import Debian, relocated

pytestmark = pytest.mark.system

# The configuration lets nobody from here in by itself; popauthd's own tests have it excluded nowhere.
SETTINGS = "hold_sessions = false\n"


@dataclass(slots=True)
class World:
    """A mail server as it should be."""

    dovecot: Dovecot
    popauthd: Popauthd
    parts: dict[str, Server]
    debian: Debian
    exim: Path

    def arguments(self) -> list[str]:
        """What makes the doctor look here instead of at the machine itself."""
        script = self.debian.root / "readlookup"
        return ["--exim", str(self.exim), "--exim-config", str(self.debian.config), "--readlookup", str(script)]

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


def build(place: Place, way: str) -> World:
    dovecot = Dovecot(place)
    assert pop3_login("127.0.0.1", dovecot.ports["pop3"])  # its log is there
    popauthd = Popauthd(place, dovecot.log, settings=SETTINGS)
    parts = popauthd.start("watch", "respond")
    debian = relocated(place, "light", False)
    debian.install(write_snippets(debian.root, way, popauthd.run_dir).read_text())
    debian.generate()
    return World(dovecot, popauthd, parts, debian, debian.binary)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Place() as place:
        yield build(place, "socket")


CHECKS = {
    "clock", "config", "watcher", "responder", "sources", "stamps", "exim", "exim-user", "run-dir", "map", "socket",
    "host-list", "readlookup", "acl", "stranger", "grant", "grant-socket", "grant-readlookup", "grant-hostlist",
    "relay", "revoke", "refused",
}  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
def test_all_is_well_whichever_way_exim_asks(world: World, way: str) -> None:
    write_snippets(world.debian.root, way, world.popauthd.run_dir)
    try:
        code, found = world.examine()
    finally:
        write_snippets(world.debian.root, "socket", world.popauthd.run_dir)
    assert {check: state for check, (state, _said) in found.items()} == dict.fromkeys(CHECKS, "ok"), found
    assert code == 0
    assert "250 Accepted" in found["relay"][1]
    assert "550" in found["stranger"][1] and "550" in found["refused"][1]


def test_each_check_is_a_line(world: World) -> None:
    done = world.popauthd.control("doctor", *world.arguments())
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == len(CHECKS)
    assert all(line.startswith("ok   ") for line in lines)


@contextlib.contextmanager
def mode(path: Path, bits: int) -> Iterator[None]:
    before = path.stat().st_mode & 0o7777
    path.chmod(bits)
    try:
        yield
    finally:
        path.chmod(before)


@contextlib.contextmanager
def aside(path: Path) -> Iterator[None]:
    path.rename(path.with_name("aside"))
    try:
        yield
    finally:
        path.with_name("aside").rename(path)


@contextlib.contextmanager
def stopped(world: World, part: str) -> Iterator[None]:
    world.parts[part].stop()
    try:
        yield
    finally:
        world.parts |= world.popauthd.start(part)
        eventually(lambda: world.popauthd.control("status").returncode == 0, "the watcher answers")


@contextlib.contextmanager
def appended(path: Path, text: str) -> Iterator[None]:
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
    before, world.exim = world.exim, Path("/nonexistent/exim4")
    try:
        yield
    finally:
        world.exim = before


@contextlib.contextmanager
def no_log(world: World) -> Iterator[None]:
    def present() -> bool:
        status = json.loads(world.popauthd.control("status", "--json").stdout)
        return bool(status["sources"][0]["status"] == "present")

    with aside(world.dovecot.log):
        eventually(lambda: not present(), "the log is missed")
        yield
    eventually(present, "the log is found again")


Fault = Callable[[World], AbstractContextManager[None]]
UE4CC = "update-exim4.conf.conf"
NETS = "dc_relay_nets='198.51.100.0/24'"
FAULTS: list[tuple[str, Fault, str, str]] = [
    ("watcher stopped", lambda w: stopped(w, "watch"), "watcher", "systemctl start popauthd"),
    ("responder stopped", lambda w: stopped(w, "respond"), "responder", "systemctl start popauthd-lookup"),
    ("map unreadable", lambda w: mode(w.popauthd.map, 0o600), "map", "Permission denied"),
    ("map writable", lambda w: mode(w.popauthd.map, 0o660), "map", "it can be written"),
    ("run_dir closed", lambda w: mode(w.popauthd.run_dir, 0o700), "run-dir", "drwx------"),
    ("run_dir open", lambda w: mode(w.popauthd.run_dir, 0o777), "run-dir", "it can be written"),
    ("socket closed", lambda w: mode(w.popauthd.socket, 0o600), "socket", "srw-------"),
    ("host list closed", lambda w: mode(w.popauthd.host_list, 0o600), "host-list", "Permission denied"),
    ("script closed", lambda w: mode(w.debian.root / "readlookup", 0o644), "readlookup", "Permission denied"),
    ("host list stale", no_new_list, "grant-hostlist", "is stale: does not have it"),
    ("acl file gone", lambda w: aside(w.debian.acl), "acl", "exim/README.md"),
    ("acl file closed", lambda w: mode(w.debian.acl, 0o600), "acl", "exim-acl (-rw-------"),
    ("another socket", lambda w: appended_acl(w), "acl", "but popauthd's is"),
    (
        "not in Exim's configuration",
        lambda w: regenerated(w, "exim4.conf.localmacros", "MAIN_ACL_CHECK_RCPT", "MAIN_OTHER"),
        "acl",
        "Exim does not ask popauthd: acl_smtp_rcpt = acl_check_rcpt",
    ),
    (
        "everybody relays",
        lambda w: regenerated(w, UE4CC, NETS, "dc_relay_nets='192.0.2.0/24'"),
        "stranger",
        "WITHOUT a grant",
    ),
    ("no Exim", no_exim, "exim", "Exim is not installed"),
    ("no log", no_log, "sources", "popauthctl dovecot status"),
    (
        "a wrong configuration",
        lambda w: appended(w.popauthd.config, "lifetme = 5\n"),
        "config",
        'did you mean "lifetime"',
    ),
    ("no such group", lambda w: replaced_config(w, "Debian-exim", "no-such-group"), "exim-user", "there is no group"),
]


def replaced_config(world: World, old: str, new: str) -> AbstractContextManager[None]:
    return edited(world.popauthd.config, old, new)


def appended_acl(world: World) -> AbstractContextManager[None]:
    return edited(world.debian.acl, str(world.popauthd.socket), "/run/elsewhere/popauthd/lookup.sock")


@contextlib.contextmanager
def edited(path: Path, old: str, new: str) -> Iterator[None]:
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))
    try:
        yield
    finally:
        path.write_text(before)


@pytest.mark.parametrize(("fault", "check", "said"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_one_fault_is_named_and_no_other(world: World, fault: Fault, check: str, said: str) -> None:
    with fault(world):
        failed = world.failed()
    assert list(failed) == [check], failed
    assert said in failed[check]


def test_when_the_faults_are_gone_all_is_well_again(world: World) -> None:
    assert world.failed() == {}


def test_a_dry_run_is_told(tmp_path: Path, world: World) -> None:
    with Place() as place:
        popauthd = Popauthd(place, world.dovecot.log, settings="dry_run = true\n")
        popauthd.start("watch", "respond")
        done = popauthd.control("doctor", *world.arguments())
    assert done.returncode == 1
    assert "FAIL grant: dry_run = true" in done.stdout
    assert "skip revoke: nothing was granted" in done.stdout


def test_documentation_addresses_that_are_excluded_are_not_granted(world: World) -> None:
    with Place() as place:
        nets = '["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]'
        popauthd = Popauthd(place, world.dovecot.log, settings=f"never = {nets}\n")
        popauthd.start("watch", "respond")
        done = popauthd.control("doctor", *world.arguments())
    assert "skip grant: " in done.stdout


HANGING = """#!/bin/sh
case "$*" in *-bh*)
  if [ -e {first} ]; then : > {second}; exec sleep 60; fi
  : > {first}
esac
exec {exim} "$@"
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_whoever_stops_the_doctor_leaves_no_grant_behind(tmp_path: Path, world: World, number: signal.Signals) -> None:
    first, second, script = (tmp_path / name for name in ("first", "second", "exim"))
    script.write_text(HANGING.format(first=first, second=second, exim=world.debian.binary))
    script.chmod(0o755)
    config = str(world.popauthd.config)
    command = [sys.executable, "-m", "popauthd.cli", "--config", config, "doctor", *world.arguments()]
    process = subprocess.Popen(
        [*command, "--exim", str(script)], cwd=TREE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    eventually(second.exists, "the session of the granted address hangs")
    assert "192.0.2" in world.popauthd.control("list").stdout
    process.send_signal(number)
    _out, errors = process.communicate(timeout=20)
    assert process.returncode == 128 + number
    assert errors == b""
    assert "192.0.2" not in world.popauthd.control("list").stdout


def test_without_its_output_read_it_leaves_no_grant_behind(world: World) -> None:
    assert shutil.which("head")
    words = ["-m", "popauthd.cli", "--config", str(world.popauthd.config), "doctor", *world.arguments()]
    line = 'exe=$0; "$exe" "$@" | head -n 16'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable, *words], cwd=TREE, capture_output=True, text=True, check=True
    )
    assert "ok   grant: " in done.stdout
    assert done.stderr == ""
    assert "192.0.2" not in world.popauthd.control("list").stdout
