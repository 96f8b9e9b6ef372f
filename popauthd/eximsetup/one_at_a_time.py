"""One change of Exim's configuration at a time, in a directory that only root can write, and not cut off by a signal.

The directory holds the lock, which only root can take, and the copies in which a configuration is tried. What a killed
change has left there is removed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from popauthd.accounts import give_to_group
from popauthd.errors import ConfigError
from popauthd.eximsetup.site import EXIM_GROUP, Site

WAIT_SECONDS = 5.0
LOOK_SECONDS = 0.05
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


class Signals:
    """Handles the signals that would end the process, while it must not end half-way.

    The first signal raises ConfigError, so that everything is put back; later ones are ignored. After `deaf` all are.
    """

    def __init__(self) -> None:
        self._deaf = False
        self._before = {number: signal.signal(number, self._heard) for number in ENDING}

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if not self._deaf:
            self.deaf()
            raise ConfigError(f"ended by {signal.Signals(number).name}")

    def deaf(self) -> None:
        """Ignore these signals from now on. The programs that we run ignore them too."""
        self._deaf = True
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)

    def restore(self) -> None:
        """Handle the signals again as before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def only_change(site: Site) -> Iterator[Signals]:
    """Hold the right to change Exim's configuration.

    Raises ConfigError if another process has it, and does not end within WAIT_SECONDS.
    """
    _make(site.work)
    signals = Signals()
    try:
        with _locked(site.work / "lock"):
            for left in site.work.glob("try.*"):
                shutil.rmtree(left, ignore_errors=True)
            yield signals
    finally:
        signals.restore()


def _make(work: Path) -> None:
    """Make the directory; Exim's user may read it. Raises ConfigError if others than root own or may write it."""
    try:
        work.mkdir(mode=0o700, exist_ok=True)
        found = work.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ConfigError(f"{work} is not a directory of root's alone; see what it is, and remove it")
        give_to_group(work, EXIM_GROUP)
        work.chmod(0o750)
    except OSError as error:
        raise ConfigError(f"{work}: cannot be made: {error.strerror}") from error


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        until = time.monotonic() + WAIT_SECONDS
        while not _taken(number):
            if time.monotonic() > until:
                raise ConfigError(f"another popauthctl{_holder(number)} is changing Exim's configuration; wait for it")
            time.sleep(LOOK_SECONDS)
        os.ftruncate(number, 0)
        os.pwrite(number, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(number)


def _taken(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(number: int) -> str:
    said = os.pread(number, 20, 0).strip()
    return f" (pid {int(said)})" if said.isdigit() else ""


def busy(site: Site) -> bool:
    """Whether a change is under way. Only root can find out; for others the answer is no."""
    try:
        number = os.open(site.work / "lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _taken(number)
    finally:
        os.close(number)
