"""tests/servers/place.py: whatever becomes of a test, its servers end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.helpers import ROOT, eventually

STARTS_TWO = """
import sys, time
from tests.servers.place import Place
place = Place()
servers = [place.start(name, ["sh", "-c", "sleep 300 & sleep 300"]) for name in ("one", "two", "three")]
servers[1].stop()
print(place.root, servers[0].pid, servers[2].pid, flush=True)
time.sleep(300)
"""


def runs(group: int) -> bool:
    """Whether a process of the group is left; one that nobody has waited for does not count."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _parent, its_group = entry.read_text(encoding="latin-1").rpartition(")")[2].split()[:3]
            if int(its_group) == group and state != "Z":
                return True
    return False


def test_servers_of_a_killed_test_end_with_their_children_and_their_directory() -> None:
    with subprocess.Popen([sys.executable, "-c", STARTS_TWO], cwd=ROOT, stdout=subprocess.PIPE) as test:
        assert test.stdout is not None
        root, *groups = test.stdout.readline().decode().split()
        assert all(runs(int(group)) for group in groups)
        test.kill()
    try:
        for group in groups:
            eventually(lambda group=int(group): not runs(group), f"the end of {group}", 20)  # type: ignore[misc]
        eventually(lambda: not Path(root).exists(), "the end of the directory", 20)
    finally:
        for group in groups:
            if runs(int(group)):
                os.killpg(int(group), signal.SIGKILL)


TAKES_MANY = """
import sys
from tests.servers.place import free_port
print(*[free_port() for _ in range(400)], flush=True)
sys.stdin.read()
"""


def test_no_port_is_given_to_two_test_runs_at_once() -> None:
    """Of some 28,000 ports each takes 400 at random: by chance alone they would share about six."""
    command = [sys.executable, "-c", TAKES_MANY]
    with (
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as one,
        subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
    ):
        taken = []
        for process in (one, other):
            assert process.stdout is not None
            taken.append(set(process.stdout.readline().split()))
        for process in (one, other):
            assert process.stdin is not None
            process.stdin.close()
    assert all(len(ports) > 300 for ports in taken)
    assert not taken[0] & taken[1]
