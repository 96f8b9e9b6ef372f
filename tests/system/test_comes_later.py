"""popauthd was there first: Dovecot's log and Exim's group come later, and are taken without a restart by hand."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.daemons import Installation, login_line
from tests.support.helpers import eventually

pytestmark = pytest.mark.system

# A machine with no log and no journal yet, and with users and groups of its own.
BARE = (
    "unshare", "--mount", "sh", "-c",
    "mount -t tmpfs none /var/log && mount -t tmpfs none /run/log && mount --bind $0/group /etc/group && exec \"$@\"",
)  # fmt: skip


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    made.config.write_text(
        f'run_dir = "{made.run_dir}"\nstate_dir = "{tmp_path}/state"\ngroup = "mailers"\nhold_sessions = false\n'
    )
    (tmp_path / "group").write_text(Path("/etc/group").read_text() + "mailers:x:4711:\n")
    Path("/run/log").mkdir(exist_ok=True)
    made.prefix = (*BARE, str(tmp_path))
    with contextlib.closing(made):
        yield made


def words(installation: Installation) -> list[str]:
    return [one["word"] for one in installation.status()["conditions"]]


def test_a_log_that_comes_after_popauthd_is_taken_by_itself(bare: Installation) -> None:
    watcher = bare.start("watch")
    bare.start("respond")
    bare.ready()
    assert words(bare) == ["no-log-yet"]
    assert "/var/log/dovecot-info.log" in bare.status()["degraded"]
    assert bare.ctl("status").returncode == 2
    line = login_line("192.0.2.10").decode()
    write = ["nsenter", f"--mount=/proc/{watcher.pid}/ns/mnt", "sh", "-c", "cat >>/var/log/dovecot-info.log"]
    subprocess.run(write, input=line.encode(), check=True)
    eventually(lambda: bare.ask("192.0.2.10") == "yes", "the login is seen")
    assert words(bare) == []
    assert watcher.poll() is None


def group_of(path: Path) -> int:
    return path.stat().st_gid


@pytest.mark.parametrize("may", [True, False], ids=["as root", "as a user who may not"])
def test_a_group_that_comes_later_is_told_and_taken(bare: Installation, *, may: bool) -> None:
    group = bare.directory / "group"
    whole = group.read_text()
    group.write_text(whole.replace("mailers", "others"))
    if not may:
        bare.prefix = (*bare.prefix, "setpriv", "--bounding-set=-chown", "--inh-caps=-chown", "--")
    watcher = bare.start("watch")
    eventually(lambda: (bare.run_dir / "control.sock").exists() and "no-group-yet" in words(bare), "it is told")
    group.write_text(whole)
    if may:
        eventually(lambda: group_of(bare.run_dir) == 4711, "it is given run_dir")
        eventually(lambda: words(bare) == ["no-log-yet"], "that is over")
        assert {group_of(bare.run_dir / name) for name in ("relay.mdb", "relay-hosts")} == {4711}
    else:
        assert watcher.wait(30) == 74, "what started it starts it anew"
        assert "a group mailers now" in bare.errors("watch")
