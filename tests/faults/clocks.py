"""The clocks of a machine that a test can set, suspend and boot: its wall clock, its boot clock and its boot id.

All its processes read one small file at every look at a clock, so that they see one time, and see it move at once.

What was found of Debian's libfaketime 0.9.10 (FAKETIME_NO_CACHE=1, FAKETIME_TIMESTAMP_FILE), by trying:
- Without FAKETIME_DONT_FAKE_MONOTONIC=1 the monotonic clock and the boot clock become the wall clock: the difference
  of wall clock and boot clock, by which popauthd sees that the clock was set, is always 0; and whoever waits for a
  monotonic moment (a lock, time.sleep) waits for ever.
- With it only the wall clock is faked (time.time, date, exim/readlookup), which is what is wanted. But
  clock_nanosleep, which is Python's time.sleep, fails with EINVAL whatever the clock file says.
- Times of files are not faked. popauthd compares them only with one another.
- A process takes 30 ms more to start, a look at the clock 8 us instead of 0.1.
- The clock file must not stand beside a log. Newer watchdog tells of every file that is opened in the log's folder, and
  looks at the clock for each: its queue overflowed, and the watcher wrote its host list half a minute late.

So that a test need not wait for a lifetime to pass, a machine can be suspended: wall clock and boot clock go on
together, the monotonic clock does not (clock_gettime(2)). libfaketime cannot move the boot clock by itself; that, and
time.sleep, is done in Python by faked/sitecustomize.py. The boot id is a file bind-mounted over the kernel's in the
mount namespace of each process.
"""

from __future__ import annotations

import os
import subprocess
import time
import uuid
from pathlib import Path

from tests.support.helpers import ROOT

LIBRARY = "/usr/$LIB/faketime/libfaketime.so.1"  # the loader knows what $LIB is
BOOT_ID = "/proc/sys/kernel/random/boot_id"
MOUNTED = f'mount --bind "$0" {BOOT_ID} && exec "$@"'


def may_mount() -> bool:
    """Whether this process may make mount namespaces and mount in them."""
    command = ["unshare", "--mount", "sh", "-c", MOUNTED, "/dev/null", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


class Clocks:
    """A machine's clocks. `true` is the time that really passes there, in seconds; nobody can set it."""

    def __init__(self, directory: Path, *, mounting: bool) -> None:
        """mounting: whether its processes have a boot id of their own, without which `boot` may not be called."""
        own = directory / "clocks"
        own.mkdir()
        self._file = own / "now"
        self._boot_id = own / "boot_id"
        self._began = time.monotonic()
        self._wall_ahead = 0.0
        self._boot_ahead = 0.0
        self._suspended = 0.0
        self.frame = 0  # grows whenever the wall clock is set
        self.environment = {
            **os.environ,
            "TZ": "UTC",
            "PYTHONPATH": f"{ROOT / 'tests/faults/faked'}:{ROOT}",
            "LD_PRELOAD": LIBRARY,
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.prefix = (
            ("unshare", "--mount", "--propagation", "private", "sh", "-c", MOUNTED, str(self._boot_id))
            if mounting
            else ()
        )
        self._new_boot()

    def true(self) -> float:
        """Seconds that have really passed since the beginning, suspended ones included."""
        return time.monotonic() - self._began + self._suspended

    def wall(self) -> float:
        """What the machine's wall clock shows, epoch seconds."""
        return time.time() + self._wall_ahead

    def step(self, seconds: float) -> None:
        """Somebody sets the wall clock ahead, or back."""
        self._wall_ahead += seconds
        self.frame += 1
        self._write()

    def suspend(self, seconds: float) -> None:
        """The machine sleeps: time passes for both clocks."""
        self._suspended += seconds
        self._wall_ahead += seconds
        self._boot_ahead += seconds
        self._write()

    def boot(self, wrong_by: float) -> None:
        """A new boot, whose wall clock is wrong by so many seconds. Every process must have ended."""
        self._wall_ahead += wrong_by
        self.frame += 1
        self._new_boot()

    def _new_boot(self) -> None:
        self._boot_id.write_text(f"{uuid.uuid4()}\n", encoding="ascii")
        self._boot_ahead = 20 - time.clock_gettime(time.CLOCK_BOOTTIME)
        self._write()

    def _write(self) -> None:
        fresh = self._file.with_name("clock.new")
        # libfaketime takes the first line that is no comment
        fresh.write_text(f"# boot {self._boot_ahead:.6f}\n{self._wall_ahead:+.6f}\n", encoding="ascii")
        fresh.rename(self._file)
