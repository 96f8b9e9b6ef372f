"""popauthctl exim enable and disable on Debian's own configuration: tried, written all or none, out without a trace."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from popauthd.errors import ConfigError
from popauthd.eximsetup import plan
from popauthd.eximsetup.change import enable
from popauthd.eximsetup.process import running
from popauthd.eximsetup.site import Site
from tests.servers.clients import ask_rcpt
from tests.servers.exim import REFUSAL, REMOTE
from tests.servers.place import Place, free_port, listens
from tests.support.debian_exim import OURS, UE4CC
from tests.support.exim_machine import Machine, machine_in
from tests.support.helpers import ROOT, eventually

pytestmark = pytest.mark.system

TEXTS = {
    "not there": None,
    "empty": "",
    "as an administrator left it": OURS,
    "without its last line feed": OURS.rstrip("\n"),
    "not UTF-8": OURS + "# caf\udce9\n",
}


@pytest.fixture(params=[False, True], ids=["unsplit", "split"])
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    with Place() as place:
        yield machine_in(place, split=request.param)


@pytest.fixture
def unsplit() -> Iterator[Machine]:
    with Place() as place:
        yield machine_in(place, split=False)


def test_it_goes_in_switches_and_comes_out_without_a_trace(machine: Machine) -> None:
    before = machine.tree()
    assert machine.says().startswith("550 relay not permitted")
    for via in plan.VIAS:
        assert machine.enable(via)
        assert machine.says() == f"550 {REFUSAL}"
        assert machine.says("198.51.100.9").startswith("250"), "dc_relay_nets stay in force"
        assert machine.says(to="postmaster@example.org").startswith("250")
        assert plan.via_of(machine.site.acl_file.read_text()) == via
        after = machine.tree()
        assert not machine.enable(via), "nothing to change"
        assert machine.tree() == after
    assert machine.disable()
    assert machine.tree() == before
    assert machine.says().startswith("550 relay not permitted")
    assert not machine.disable()
    assert "+acl_m_popauthd" not in "".join(machine.said)


def test_a_dry_run_shows_and_tries_and_changes_nothing(machine: Machine) -> None:
    before = machine.tree()
    assert machine.enable(dry_run=True)
    assert machine.tree() == before
    said = "\n".join(machine.said)
    assert "+++ " in said
    assert f"a stranger (192.0.2.77) relays: 550 {REFUSAL}" in said
    assert "a host of dc_relay_nets (198.51.100.1) relays: 250" in said
    machine.enable()
    enabled = machine.tree()
    assert machine.disable(dry_run=True)
    assert machine.tree() == enabled


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_the_administrator_s_macros_come_back_byte_for_byte(unsplit: Machine, text: str | None) -> None:
    path = unsplit.site.macros_file
    path.unlink()
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
        path.chmod(0o640)
    unsplit.regenerate()
    before = unsplit.tree()
    unsplit.enable()
    unsplit.enable("hostlist")
    unsplit.disable()
    assert unsplit.tree() == before


def test_what_is_added_behind_our_block_stays(unsplit: Machine) -> None:
    path = unsplit.site.macros_file
    before = path.read_text()
    unsplit.enable()
    path.write_text(path.read_text() + "REMOTE_SMTP_HELO_DATA = x.example.org\n")
    unsplit.disable()
    assert path.read_text() == before + "REMOTE_SMTP_HELO_DATA = x.example.org\n"


def test_it_stays_in_when_the_kind_of_configuration_changes(machine: Machine) -> None:
    before = machine.tree()
    split = machine.site.split()
    machine.enable()
    machine.site.debconf.write_text(UE4CC.format(split=str(not split).lower()))
    machine.regenerate()
    assert machine.says() == f"550 {REFUSAL}"
    assert not machine.enable()
    machine.site.debconf.write_text(UE4CC.format(split=str(split).lower()))
    machine.disable()
    assert machine.tree() == before


def test_without_popauthd_s_files_exim_accepts_all_it_did_before(machine: Machine) -> None:
    machine.enable()
    machine.site.acl_file.unlink()
    assert machine.says().startswith("550 relay not permitted")
    assert machine.says("198.51.100.9").startswith("250")
    assert machine.says(to="postmaster@example.org").startswith("250")


def test_a_macro_of_the_administrator_s_own_is_left_alone(machine: Machine) -> None:
    own = "MAIN_ACL_CHECK_RCPT = acl_check_rcpt\n"
    path = machine.site.confdir / "conf.d/main/000_own" if machine.site.split() else machine.site.macros_file
    path.write_text(own + (path.read_text() if path.exists() else ""))
    machine.regenerate()
    before = machine.tree()
    with pytest.raises(ConfigError, match=f"{path} sets MAIN_ACL_CHECK_RCPT.*take that line out"):
        machine.enable()
    assert machine.tree() == before


def test_what_was_put_in_by_hand_is_told_from_an_acl_of_the_administrator_s(machine: Machine) -> None:
    macros = (ROOT / "exim/popauthd-macros").read_text().replace("/etc/popauthd/exim-acl", str(machine.site.acl_file))
    path = machine.site.confdir / "conf.d/main/000_own" if machine.site.split() else machine.site.macros_file
    path.write_text(macros)
    machine.site.acl_file.write_text(plan.acl(machine.site, "socket"))
    machine.regenerate()
    before = machine.tree()
    for change in (machine.enable, machine.disable):
        with pytest.raises(ConfigError, match=f"lines were put into {path} by hand.*take them out"):
            change()
        assert machine.tree() == before
    path.unlink()
    machine.regenerate()
    assert machine.enable()
    assert machine.disable()


def test_a_site_that_relays_for_everybody_is_told_so(machine: Machine) -> None:
    machine.enable()
    text = machine.site.debconf.read_text()
    machine.site.debconf.write_text(re.sub(r"dc_relay_nets=.*", "dc_relay_nets='0.0.0.0/0'", text))
    machine.regenerate()
    before = machine.tree()
    with pytest.raises(ConfigError, match=r"already relays for strangers \(192\.0\.2\.77\)"):
        machine.enable("hostlist")
    assert machine.tree() == before
    assert machine.disable()
    assert "WARNING: Exim relays for strangers (192.0.2.77)" in "\n".join(machine.said)


@pytest.mark.parametrize("relative", [False, True], ids=["absolute", "relative"])
def test_a_link_in_the_place_of_the_macros_stays_one(unsplit: Machine, *, relative: bool) -> None:
    path, target = unsplit.site.macros_file, unsplit.root / "kept-elsewhere"
    path.rename(target)
    path.symlink_to(Path("..", target.name) if relative else target)
    before = target.read_bytes()
    unsplit.enable(dry_run=True)
    assert target.read_bytes() == before
    unsplit.enable()
    assert path.is_symlink()
    assert plan.BEGIN in target.read_text()
    unsplit.disable()
    assert path.is_symlink()
    assert target.read_bytes() == before


def test_edits_that_are_not_in_force_yet_are_not_slipped_in(machine: Machine) -> None:
    own = machine.site.confdir / "conf.d/main/99_own" if machine.site.split() else machine.site.macros_file
    own.write_text((own.read_text() if own.exists() else "") + "smtp_accept_max = 33\n" * machine.site.split())
    if not machine.site.split():
        own.write_text(own.read_text() + "CHECK_RCPT_LOCAL_LOCALPARTS = ^[.]\n")
    before = machine.tree()
    with pytest.raises(ConfigError, match=r"files below .* were changed .* run update-exim4\.conf, reload Exim"):
        machine.enable()
    assert machine.tree() == before
    machine.regenerate()
    assert machine.enable()
    own.write_text(own.read_text() + "# a comment alone is none\n")
    assert machine.enable("hostlist")
    own.write_text(own.read_text().replace("33", "44").replace("^[.]", "^[./]"))
    assert machine.disable()
    assert "those changes come into force as well" in "\n".join(machine.said)


@pytest.mark.parametrize("pid_file", [False, True], ids=["without a pid file", "with one"])
def test_a_running_exim_is_reloaded_however_it_was_started(unsplit: Machine, *, pid_file: bool) -> None:
    site = unsplit.site
    port = free_port()
    words: list[str | Path] = [site.exim, "-C", site.generated, "-bdf", "-oX", f"127.0.0.1.{port}"]
    words += ["-oP", unsplit.root / "own.pid"] * pid_file
    with subprocess.Popen(words, stderr=subprocess.DEVNULL) as exim:
        eventually(lambda: running(site) == exim.pid, "Exim listens")
        assert (unsplit.root / "exim.pid").exists() is False, "-oX without -oP writes none"
        assert ask_rcpt("127.0.0.5", port, REMOTE).text == "relay not permitted"
        unsplit.enable()
        assert unsplit.said[-1] == f"Exim reloaded (pid {exim.pid})"
        eventually(lambda: listens("127.0.0.1", port), "Exim listens again")
        assert str(ask_rcpt("127.0.0.5", port, REMOTE)) == f"550 {REFUSAL}"
        assert running(site) == exim.pid
        other = replace(site, generated=unsplit.root / "another")
        assert running(other) is None, "it goes by another configuration"
        exim.terminate()
    assert running(site) is None


def test_an_exim_that_ends_when_it_is_reloaded_is_told(unsplit: Machine) -> None:
    unsplit.enable()
    site, mortal = unsplit.site, unsplit.root / "exim-mortal"
    shutil.copy("/bin/dash", mortal)
    with socket.create_server(("127.0.0.1", 0)) as port:
        words: list[str | Path] = [mortal, "-c", "read line", "-C", site.generated]
        with subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=[port.fileno()]):
            eventually(lambda: running(site) is not None, "it runs")
            with pytest.raises(ConfigError, match=r"ended when it was told to reload.*systemctl restart exim4"):
                unsplit.disable()
            assert running(site) is None


def test_no_debian_exim_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="install exim4-daemon"):
        Site(exim=tmp_path / "none").check()
    with pytest.raises(ConfigError, match="not Debian's Exim"):
        Site(confdir=tmp_path, exim=Path("/bin/sh"), update=Path("/bin/sh")).check()


def test_a_configuration_that_exim_does_not_take_is_never_live(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, generated = machine.tree(), machine.site.generated.read_bytes()
    broken = machine.root / "snippets"
    shutil.copytree(ROOT / "exim", broken)
    (broken / "popauthd-macros").write_text("MAIN_ACL_CHECK_RCPT = /none/exim-acl\nno_such_option = yes\n")
    monkeypatch.setattr(plan, "snippets", lambda: broken)
    with pytest.raises(ConfigError, match="exim -bV failed"):
        machine.enable()
    assert machine.tree() == before
    assert machine.site.generated.read_bytes() == generated


@pytest.mark.parametrize(
    ("acl", "words"),
    [("accept\n", "open relay"), ("deny\n", "was '250"), ("nonsense\n", "was '")],
    ids=["opens the relay", "refuses what was accepted", "is none"],
)
def test_an_acl_that_would_change_mail_for_the_worse_is_never_live(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, acl: str, words: str
) -> None:
    before = machine.tree()
    bad = machine.root / "snippets"
    shutil.copytree(ROOT / "exim", bad)
    (bad / "acl-socket").write_text(acl)
    monkeypatch.setattr(plan, "snippets", lambda: bad)
    with pytest.raises(ConfigError, match=words):
        machine.enable()
    assert machine.tree() == before


def test_a_failure_half_way_puts_everything_back(machine: Machine) -> None:
    before, generated = machine.tree(), machine.site.generated.read_bytes()
    # The script works aside, where it is copied to, but not in its own place.
    script = machine.site.update
    text = script.read_text()
    failing = (
        f'#!/bin/sh\ncase "$0" in {script}) [ -e {machine.site.acl_file} ] && exit 3;; esac\n' + text.partition("\n")[2]
    )
    script.write_text(failing)
    with pytest.raises(ConfigError, match=r"update-exim4\.conf failed.*put back as it was"):
        machine.enable()
    assert machine.tree() == before
    assert machine.site.generated.read_bytes() == generated
    script.write_text(text)
    assert machine.enable()


@pytest.mark.parametrize("number", ["TERM", "HUP", "INT"])
def test_a_signal_half_way_puts_everything_back(machine: Machine, number: str) -> None:
    before, generated = machine.tree(), machine.site.generated.read_bytes()
    script = machine.site.update
    text = script.read_text()
    signalled = f'case "$0" in {script}) [ -e {machine.site.acl_file} ] && kill -{number} $PPID;; esac'
    script.write_text(f"#!/bin/sh\n{signalled}\n" + text.partition("\n")[2])
    with pytest.raises(ConfigError, match=f"ended by SIG{number}; everything is put back as it was"):
        machine.enable()
    script.write_text(text)
    assert machine.tree() == before
    assert re.sub(rb"#.*", b"", machine.site.generated.read_bytes()) == re.sub(rb"#.*", b"", generated)


def test_a_file_that_cannot_be_written_puts_everything_back(unsplit: Machine) -> None:
    before = unsplit.tree()
    blocked = replace(unsplit.site, acl_file=Path("/proc/popauthd/exim-acl"))
    with pytest.raises(ConfigError, match=r"cannot be written.*put back as it was"):
        enable(blocked, "socket", dry_run=False, say=lambda text: None)
    assert unsplit.tree() == before
