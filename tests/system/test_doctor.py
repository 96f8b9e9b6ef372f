"""`popauthctl doctor` on a whole system of real servers: all is well, then one fault at a time, which it names."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from popauthd.doctor import Paths, examine
from tests.servers.exim import TREE, WAYS, write_snippets
from tests.servers.place import Place, lend, lend_package
from tests.servers.popauthd import Popauthd
from tests.support.helpers import eventually
from tests.system.patients import (
    World,
    appended,
    aside,
    build,
    cut_off,
    dovecot_stopped,
    edited,
    exim_for,
    exim_on,
    exim_stopped,
    mode,
    no_exim,
    no_log,
    no_new_list,
    regenerated,
    relays_what_it_can_route,
    stopped,
)

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Place() as place:
        yield build(place, "light", split=False)


def test_all_is_well_with_the_heavy_exim_and_a_split_configuration() -> None:
    with Place() as place:
        assert build(place, "heavy", split=True).failed() == {}


CHECKS = {
    "clock", "config", "service", "watcher", "responder", "conditions", "sources", "stamps", "dovecot",
    "dovecot-running", "push", "exim", "exim-running", "exim-listens", "exim-routes", "programs", "exim-user",
    "run-dir", "map", "socket", "host-list", "readlookup", "acl", "reloaded", "stranger", "grant", "grant-socket",
    "grant-readlookup", "grant-hostlist", "relay", "revoke", "refused",
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
    assert all(line.startswith("ok   ") for line in lines[:-1])
    assert lines[-1] == f"all {len(CHECKS)} checks are well"
    assert len(lines) == len(CHECKS) + 1


def another_socket(world: World) -> AbstractContextManager[None]:
    return edited(world.debian.acl, str(world.popauthd.socket), "/run/elsewhere/lookup.sock")


def another_log(world: World) -> AbstractContextManager[None]:
    return edited(world.dovecot.config, f"info_log_path = {world.dovecot.log}", "info_log_path = /var/log/other.log")


Fault = Callable[[World], AbstractContextManager[None]]
UE4CC = "update-exim4.conf.conf"
NETS = "dc_relay_nets='198.51.100.0/24'"
FAULTS: list[tuple[str, Fault, str, str]] = [
    ("watcher stopped", lambda w: stopped(w, "watch"), "watcher", "systemctl start popauthd"),
    ("responder stopped", lambda w: stopped(w, "respond"), "responder", "systemctl restart popauthd-lookup"),
    ("map unreadable", lambda w: mode(w.popauthd.map, 0o600), "map", "Permission denied"),
    ("map writable", lambda w: mode(w.popauthd.map, 0o660), "map", "it can be written"),
    ("run_dir closed", lambda w: mode(w.popauthd.run_dir, 0o2700), "run-dir", "drwx--S---"),
    ("run_dir open", lambda w: mode(w.popauthd.run_dir, 0o2777), "run-dir", "it can be written"),
    ("socket closed", lambda w: mode(w.popauthd.socket, 0o600), "socket", "srw-------"),
    ("host list closed", lambda w: mode(w.popauthd.host_list, 0o600), "host-list", "Permission denied"),
    ("script closed", lambda w: mode(w.debian.root / "readlookup", 0o644), "readlookup", "Permission denied"),
    ("host list stale", no_new_list, "grant-hostlist", "is stale: does not have it"),
    ("acl file gone", lambda w: aside(w.debian.acl), "acl", "exim/README.md"),
    ("acl file closed", lambda w: mode(w.debian.acl, 0o600), "acl", "exim-acl (-rw-------"),
    ("a change cut off", cut_off, "acl", "`popauthctl exim enable` of "),
    ("another socket", another_socket, "acl", "but popauthd's is"),
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
    ("another log", another_log, "dovecot", "popauthd follows"),
    ("no log", no_log, "log-missing", "popauthctl dovecot status"),
    ("Dovecot stopped", dovecot_stopped, "dovecot-running", "systemctl start dovecot"),
    ("Exim stopped", exim_stopped, "exim-running", "systemctl start exim4"),
    ("Exim on 127.0.0.1 alone", lambda w: exim_on(w, "127.0.0.1"), "exim-listens", "dc_local_interfaces"),
    ("mail on this machine alone", lambda w: exim_for(w, "local"), "exim-routes", '"internet site"'),
    (
        "a wrong configuration",
        lambda w: appended(w.popauthd.config, "lifetme = 5\n"),
        "config",
        'did you mean "lifetime"',
    ),
    (
        "no such group",
        lambda w: edited(w.popauthd.config, "Debian-exim", "no-such-group"),
        "exim-user",
        "there is no group",
    ),
]


@pytest.mark.parametrize(("fault", "check", "said"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_one_fault_is_named_and_no_other(world: World, fault: Fault, check: str, said: str) -> None:
    with fault(world):
        failed = world.failed()
    assert list(failed) == [check], failed
    assert said in failed[check]


@pytest.mark.parametrize(("let_in", "state"), [("192.0.2.12", "ok"), ("192.0.2.8/29", "FAIL")])
def test_an_address_that_exim_lets_relay_of_its_own_is_no_open_relay(
    world: World, monkeypatch: pytest.MonkeyPatch, let_in: str, state: str
) -> None:
    """Only the dice are loaded: which of the documentation addresses are taken."""
    dice = iter([12, 12, 13, 14])
    monkeypatch.setattr(random, "randrange", lambda *_bounds: next(dice))
    script, doveconf = world.debian.root / "readlookup", world.dovecot.doveconf()
    paths = Paths(str(world.exim), str(world.debian.config), str(script), str(doveconf))
    with regenerated(world, UE4CC, NETS, f"dc_relay_nets='{let_in}'"):
        found = {one.check: one for one in examine(str(world.popauthd.config), paths)}
    assert found["stranger"].state == state
    assert found["relay"].state == ("ok" if state == "ok" else "skip")
    if state == "ok":
        assert "192.0.2.13" in found["stranger"].seen
        assert "192.0.2.12 may, by Exim's own relay_from_hosts" in found["stranger"].seen
    else:
        assert found["stranger"].advice.endswith("an open relay")


def reload(world: World) -> None:
    """Have Exim read its configuration again, and wait until it has."""
    log = world.debian.root / "log/mainlog"
    before = log.read_text().count("daemon started")
    os.kill(world.daemon.pid, signal.SIGHUP)
    eventually(lambda: log.read_text().count("daemon started") > before, "Exim has read its configuration")


def test_an_exim_that_has_not_read_its_configuration_is_told(world: World) -> None:
    with regenerated(world, "exim4.conf.localmacros", "MAIN_ACL_CHECK_RCPT", "MAIN_OTHER"):
        reload(world)
    failed = world.failed()
    assert list(failed) == ["reloaded"], failed
    assert f"Exim (pid {world.daemon.pid}) still goes by the configuration from before" in failed["reloaded"]
    assert "it says '550 relay not permitted'" in failed["reloaded"]
    assert failed["reloaded"].endswith("; systemctl reload exim4")
    reload(world)
    assert "tells a stranger what" in world.examine()[1]["reloaded"][1]


def test_only_a_refusal_of_relaying_counts_as_one(world: World) -> None:
    with relays_what_it_can_route(world):
        reload(world)
        open_relay = world.failed()
        with aside(world.debian.root / "exim4/hubbed_hosts"):
            unproven = world.failed()
    reload(world)
    assert list(open_relay) == ["stranger"], open_relay
    assert "Exim accepts somebody@debian.org" in open_relay["stranger"]
    assert "WITHOUT a grant" in open_relay["stranger"]
    assert unproven["stranger"].startswith("that Exim does not relay for ")
    assert "could not be proven: somebody@example.com" in unproven["stranger"]


def test_a_configuration_made_anew_without_a_change_is_none_that_exim_must_read(world: World) -> None:
    world.debian.generate()
    assert world.debian.config.stat().st_ctime > world.debian.pid_file.stat().st_mtime
    assert world.failed() == {}


def test_an_exim_without_a_pid_file_is_found_where_it_listens(world: World) -> None:
    with aside(world.debian.pid_file):
        code, found = world.examine()
    assert code == 0
    assert f"pid {world.daemon.pid} on 0.0.0.0:" in found["exim-running"][1]
    assert found["reloaded"][0] == "ok"


def test_a_route_that_only_a_name_server_knows_is_not_proven_and_no_failure(world: World) -> None:
    with aside(world.debian.root / "exim4/hubbed_hosts"):
        code, found = world.examine()
    assert found["exim-routes"][0] in ("WARN", "ok")  # where this machine has name servers, they are asked
    assert code == 0


def test_one_fault_is_the_first_thing_in_the_last_line(world: World) -> None:
    with stopped(world, "watch"):
        done = world.popauthd.control("doctor", *world.arguments())
        verbose = world.popauthd.control("doctor", "--verbose", *world.arguments())
    assert done.returncode == verbose.returncode == 1
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("skip")] == [
        "skip not looked at because of watcher: conditions, sources, stamps, push, stranger, grant, grant-socket,"
        " grant-readlookup, grant-hostlist, relay, revoke, refused"
    ]
    assert lines[-1].startswith(
        f"1 of {len(CHECKS)} checks failed: watcher, 12 could not be looked at. First: watcher: "
    )
    assert "systemctl start popauthd" in lines[-1]
    assert "skip grant: needs watcher, which is not well" in verbose.stdout.splitlines()
    assert verbose.stdout.splitlines()[-1] == lines[-1]


def test_services_that_run_on_with_a_program_that_is_gone_are_told(world: World) -> None:
    python = lend(Path(sys.executable).resolve(), world.popauthd.place.root / "python3")
    world.popauthd.python = python
    try:
        for part in ("watch", "respond"):
            world.parts[part].stop()
            world.parts |= world.popauthd.start(part)
        python.unlink()
        lend(world.debian.binary, world.debian.binary.with_name("newer")).rename(world.debian.binary)
        done = world.popauthd.control("doctor", *world.arguments())
    finally:
        world.popauthd.python = sys.executable
        for restarted in (stopped(world, "watch"), stopped(world, "respond"), exim_stopped(world)):
            with restarted:
                pass
    told = [line for line in done.stdout.splitlines() if line.startswith("WARN programs: ")]
    assert [line.partition("; ")[2] for line in told] == [
        "systemctl restart popauthd", "systemctl restart popauthd-lookup", "systemctl restart exim4",
    ]  # fmt: skip
    assert f"still runs {python}, which was removed or replaced" in told[0]
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == f"none of {len(CHECKS)} checks failed, 1 warned: programs"


def test_when_the_faults_are_gone_all_is_well_again(world: World) -> None:
    assert world.failed() == {}


@pytest.mark.parametrize("user", ["nobody", "Debian-exim"])
def test_whoever_is_not_root_is_told_to_be(world: World, user: str) -> None:
    config, place = str(world.popauthd.config), world.popauthd.place
    lend_package(TREE / "popauthd", place.root / f"tree-{user}/popauthd")
    python = Path(sys.executable).resolve()  # Debian's own: a virtual environment may be where nobody else can look
    done = subprocess.run(
        [python, "-m", "popauthd.cli", "--config", config, "doctor", *world.arguments()],
        cwd=place.root / f"tree-{user}",
        capture_output=True,
        text=True,
        check=False,
        user=user,
        group=user if user != "nobody" else "nogroup",
        extra_groups=[],
    )
    assert done.returncode == 1
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    failed = [line for line in lines if line.startswith("FAIL")]
    assert failed == ["FAIL watcher: it hears root and its own user alone; run this as root"]
    assert f"1 of {len(CHECKS)} checks failed: watcher" in lines[-1]
    assert lines[-1].endswith("First: watcher: it hears root and its own user alone; run this as root")


def test_a_dry_run_is_told(world: World) -> None:
    with Place() as place:
        popauthd = Popauthd(place, world.dovecot.log, settings="dry_run = true\n")
        popauthd.start("watch", "respond")
        done = popauthd.control("doctor", *world.arguments())
    assert done.returncode == 1
    assert "FAIL grant: dry_run = true" in done.stdout
    assert "not looked at because of grant: grant-socket," in done.stdout


def test_documentation_addresses_that_are_excluded_are_not_granted(world: World) -> None:
    with Place() as place:
        nets = '["192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32"]'
        popauthd = Popauthd(place, world.dovecot.log, settings=f"never = {nets}\n")
        popauthd.start("watch", "respond")
        done = popauthd.control("doctor", *world.arguments())
    assert "skip not looked at: grant (no documentation address is free)" in done.stdout


HANGING = """#!/bin/sh
case "$*" in *"-bh 127."*) ;; *-bh*)
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
    with subprocess.Popen(
        [*command, "--exim", str(script)],
        cwd=TREE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # a shell has its background jobs ignore it, and we may be one
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        eventually(second.exists, "the session of the granted address hangs")
        assert "192.0.2" in world.popauthd.control("list").stdout
        process.send_signal(number)
        try:
            _out, errors = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 128 + number
    assert errors == b""
    assert "192.0.2" not in world.popauthd.control("list").stdout


def test_without_its_output_read_it_leaves_no_grant_behind(world: World) -> None:
    assert shutil.which("sed")
    words = ["-m", "popauthd.cli", "--config", str(world.popauthd.config), "doctor", *world.arguments()]
    line = 'exe=$0; "$exe" "$@" | sed "/^ok   grant: /q"'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable, *words], cwd=TREE, capture_output=True, text=True, check=True
    )
    assert "ok   grant: " in done.stdout
    assert done.stderr == ""
    assert "192.0.2" not in world.popauthd.control("list").stdout
