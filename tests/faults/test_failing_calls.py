"""Each system call by which the watcher writes fails once, at any moment: it goes on, or is started anew and goes on.

One time the call fails while the watcher starts, the next time while it reads. Afterwards the map is what the log says,
a revocation has held, and the books can be opened. POPAUTHD_CALLS sets how often each fails (once unless told),
POPAUTHD_SEED the seed. The long campaign:

    POPAUTHD_CALLS=20 sh tests/run.sh -s tests/faults/test_failing_calls.py
"""

from __future__ import annotations

import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.control_client import ask
from popauthd.errors import PopauthdError
from tests.faults.injected import failing, tampering
from tests.support.daemons import LIFETIME, Installation, login_line
from tests.support.dose import dose, first_seed
from tests.support.helpers import answers, eventually

TIMES = dose("CALLS", 1)
SEED = first_seed(1)
WITHIN = 60.0
AT_ONCE = 40  # logins a round
STRANGER = "203.0.113.66"
FOR_GOOD = (64, 78)  # after which systemd does not start it again
LOADING = {"openat", "mmap", "lseek", "fcntl"}  # without which Python cannot load its own modules
LOST_LINE = "--- Logging error ---\nTraceback"  # a line of the log that could not be written
CALLS = {  # what each may fail with, and how many of it there are while it starts, and then while it reads
    "pwrite64": (("EIO", "ENOSPC", "EDQUOT", "EROFS"), 8, 8),
    "writev": (("EIO", "ENOSPC", "EDQUOT", "EROFS"), 6, 6),
    "write": (("EIO", "ENOSPC", "EDQUOT", "EROFS"), 20, 8),
    "fsync": (("EIO", "ENOSPC", "EDQUOT"), 2, 2),
    "fdatasync": (("EIO", "ENOSPC", "EDQUOT"), 6, 4),
    "ftruncate": (("EIO", "ENOSPC", "EROFS"), 4, 2),
    "rename": (("EIO", "ENOSPC", "EROFS", "EACCES"), 3, 3),
    "unlink": (("EIO", "EROFS", "EACCES"), 4, 2),
    "openat": (("EIO", "ENOSPC", "EROFS", "EMFILE", "EACCES"), 600, 8),
    "mmap": (("ENOMEM",), 150, 4),
    "msync": (("EIO",), 2, 2),
    "lseek": (("EIO",), 200, 6),
    "pread64": (("EIO",), 8, 6),
    "fcntl": (("EIO", "ENOLCK"), 30, 4),
}


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    made = Installation(tmp_path, "host_list = true\nhold_no = '0s'")
    made.start("respond")
    yield made
    made.close()


class Round:
    """One call after the other fails in one installation, whose watcher is started anew when it has ended."""

    def __init__(self, installation: Installation, dice: random.Random) -> None:
        self._installation = installation
        self._dice = dice
        self._watcher: subprocess.Popen[bytes] | None = None
        self._traced = False
        self._number = 0
        self.said: dict[str, int] = {}
        self.ended: list[str] = []
        self.revoked = 0
        self._unclear: set[str] = set()

    def fail(self, call: str, error: str, starting: int, reading: int) -> None:
        """One call fails once, while the watcher starts or while it reads."""
        told_before = len(self._installation.errors("watch")) if self._watcher is not None else 0
        while_starting = self._dice.random() < 0.5
        if while_starting:
            self._stop()
            rule = f"{call}:error={error}:when={self._dice.randrange(starting) + 1}"
            self._installation.prefix = ("strace", "-D", *tampering([rule]))  # -D: what is started is our child
            self._start()
            self._installation.prefix, self._traced = (), True
            self._log_in()
            self._right(rule)
        else:
            if self._traced:
                self._stop()
            self._right("nothing")
            assert self._watcher is not None
            rule = f"{call}:error={error}:when={self._dice.randrange(reading) + 1}"
            with failing(self._watcher.pid, rule):
                for _ in range(4):
                    self._log_in()
                    time.sleep(0.03)
                self._revoke()
                self._right(rule)
        told = self._installation.errors("watch")[told_before:].replace(LOST_LINE, "")
        assert "Traceback" not in told or (while_starting and call in LOADING), told
        assert self._installation.ask(self._dice.choice(list(self.said))) == "yes", rule
        assert self._installation.ask(STRANGER) == "no", rule

    def _log_in(self) -> None:
        self._number += 1
        at = int(time.time())
        fresh = {f"10.{self._number >> 8}.{self._number & 255}.{one}": at for one in range(AT_ONCE)}
        self.said |= fresh
        self._installation.write(*[login_line(address, at=at, user=f"user{address}") for address in fresh])

    def _revoke(self) -> None:
        """Revoke a login. Where that fails, it may have been done or not."""
        address = self._dice.choice(list(self.said))
        try:
            request = {"command": "revoke", "address": address}
            done = "error" not in ask(str(self._installation.run_dir / "control.sock"), request)
        except PopauthdError:
            done = False
        self.revoked += done
        self._unclear.update(() if done else (address,))
        del self.said[address]

    def _start(self) -> None:
        self._watcher = self._installation.start("watch")
        self._traced = False

    def _stop(self) -> None:
        if self._watcher is not None and self._watcher.poll() is None:
            self._watcher.terminate()
            self._watcher.wait(30)
        self._watcher = None

    def _right(self, rule: str) -> None:
        """Wait until the map is what the log says; a watcher that ended is started anew, as systemd does it."""
        eventually(lambda: self._is_right(rule), f"the map is what the log says, after {rule}", WITHIN, 0.02)

    def _is_right(self, rule: str) -> bool:
        if self._watcher is None or self._watcher.poll() is not None:
            if self._watcher is not None:
                self.ended.append(f"{rule}: {self._watcher.returncode}")
                assert self._watcher.returncode not in FOR_GOOD, rule
            self._start()
        if not answers(self._installation.run_dir / "control.sock"):
            return False
        try:
            well = self._installation.degraded() == ""
        except PopauthdError:
            return False
        right = {address: at + LIFETIME for address, at in self.said.items()}
        return well and all(
            {address: expiry for address, expiry in found.items() if address not in self._unclear} == right
            for found in (self._installation.published(), self._installation.host_list())
        )


@pytest.mark.slow
def test_a_call_that_fails_once_loses_and_invents_nothing(installation: Installation) -> None:
    print(f"seed {SEED}, each call {TIMES} times")
    dice = random.Random(SEED)
    rounds = Round(installation, dice)
    for call, (errors, starting, reading) in CALLS.items():
        for _ in range(TIMES):
            rounds.fail(call, dice.choice(errors), starting, reading)
    print(f"{len(rounds.said)} logins, {rounds.revoked} revoked, lost 0, invented 0")
    print(f"ended and started anew: {', '.join(rounds.ended) or 'never'}")
    assert rounds.revoked
