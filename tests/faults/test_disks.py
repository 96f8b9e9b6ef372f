"""A disk that is full, read-only or over its quota: it is told by its name, answers go on, nothing is lost or invented.

POPAUTHD_DISK_SECONDS sets how long each lasts while logins go on (until it is told, else), POPAUTHD_WITHIN in how many
seconds all must be right again. The long campaign:

    POPAUTHD_DISK_SECONDS=60 POPAUTHD_WITHIN=10 sh tests/run.sh -s tests/faults/test_disks.py
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.injected import failing
from tests.support.daemons import LIFETIME, Installation, login_line
from tests.support.dose import dose
from tests.support.helpers import eventually

SECONDS = dose("DISK_SECONDS", 0)
WITHIN = dose("WITHIN", 60)
OWN_DISK = 'mount -t tmpfs -o size=4m,mode=700 tmpfs "$0" && exec "$@"'  # for the state alone
STANDING, STRANGER = "192.0.2.10", "203.0.113.66"
Watcher = subprocess.Popen[bytes]


@contextlib.contextmanager
def full(watcher: Watcher, installation: Installation) -> Iterator[None]:
    """Somebody else fills the disk on which the state is."""
    ballast = Path(f"/proc/{watcher.pid}/root{installation.directory}/state/ballast")
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        ballast.unlink()


def by(*rules: str) -> Callable[[Watcher, Installation], contextlib.AbstractContextManager[None]]:
    return lambda watcher, _installation: failing(watcher.pid, *rules)


WRITES = ("pwrite64", "writev")  # LMDB's two ways: of one page or of many


def refused(error: str) -> Callable[[Watcher, Installation], contextlib.AbstractContextManager[None]]:
    return by(*[f"{call}:error={error}" for call in WRITES])


def cut_short(error: str) -> Callable[[Watcher, Installation], contextlib.AbstractContextManager[None]]:
    return by(*[f"{call}:retval=512" for call in WRITES], f"fallocate:error={error}")


STATES = {
    "full": ("No space left on device", full),
    "full, a write is cut short": ("No space left on device", cut_short("ENOSPC")),
    "over its quota": ("Disk quota exceeded", refused("EDQUOT")),
    "over its quota, a write is cut short": ("Disk quota exceeded", cut_short("EDQUOT")),
    "read-only": ("Read-only file system", refused("EROFS")),
    "failing": ("Input/output error", refused("EIO")),
}


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path)
    yield made
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize(("words", "state"), STATES.values(), ids=STATES.keys())
def test_a_disk_that_takes_nothing_is_told_by_its_name_and_what_was_missed_is_caught_up(
    installation: Installation,
    words: str,
    state: Callable[[Watcher, Installation], contextlib.AbstractContextManager[None]],
) -> None:
    installation.start("respond")
    if state is full:
        directory = installation.directory / "state"
        directory.mkdir()
        installation.prefix = ("unshare", "--mount", "--propagation", "private", "sh", "-c", OWN_DISK, str(directory))
    watcher = installation.start("watch")
    installation.ready()
    said = {STANDING: int(time.time())}
    installation.write(login_line(STANDING, at=said[STANDING]))
    eventually(lambda: installation.ask(STANDING) == "yes", "granted")
    # Its turn is over when it answers, and nothing is half written. A disk that takes the pages of a commit and not its
    # end makes LMDB give up; the watcher then ends, to be started anew (test_failing_calls.py).
    assert installation.degraded() == ""
    with state(watcher, installation):
        until, told = time.monotonic() + SECONDS, ""
        while time.monotonic() < until or words not in told:
            at, number = int(time.time()), len(said)
            fresh = [f"10.{number >> 16}.{number >> 8 & 255}.{one}" for one in range(256)]
            said |= dict.fromkeys(fresh, at)
            installation.write(*[login_line(address, at=at, user=address * 9) for address in fresh])
            assert (installation.ask(STANDING), installation.ask(STRANGER)) == ("yes", "no"), "answers go on"
            assert watcher.poll() is None, installation.errors("watch")
            told = installation.degraded()
            assert time.monotonic() < until + 60, f"told: {told}"
    began = time.monotonic()
    eventually(lambda: installation.ask(fresh[-1]) == "yes", "caught up", WITHIN)
    eventually(lambda: installation.degraded() == "", "well again", WITHIN)
    print(f"{len(said)} logins; caught up after {time.monotonic() - began:.1f} s")
    assert installation.published() == {address: at + LIFETIME for address, at in said.items()}
    assert watcher.poll() is None, "the watcher never ended"
    assert "Traceback" not in installation.errors("watch")
