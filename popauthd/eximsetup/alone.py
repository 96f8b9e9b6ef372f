"""One change of Exim's configuration at a time, in a directory of root's own, and not cut off in the middle.

The directory holds the lock, which nobody but root can take, and the copies in which a configuration is tried; what a
change that was killed has left there is removed by the next one.
"""

from __future__ import annotations

import contextlib
import fcntl
import grp
import os
import shutil
import signal
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from popauthd.errors import ConfigError
from popauthd.eximsetup.site import EXIM_GROUP, Site

WAIT_SECONDS = 5.0
LOOK_SECONDS = 0.05
ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


class Signals:
    """The signals that would end the process, while it must not end half-way.

    The first raises ConfigError, so that all is put back, and no other is heard then. After `deaf` none is.
    """

    def __init__(self) -> None:
        self._deaf = False
        self._before = {number: signal.signal(number, self._heard) for number in ENDING}

    def _heard(self, number: int, _frame: FrameType | None) -> None:
        if not self._deaf:
            self.deaf()
            raise ConfigError(f"ended by {signal.Signals(number).name}")

    def deaf(self) -> None:
        """From here on all goes to its end. The programs that we run are deaf, too."""
        self._deaf = True
        for number in ENDING:
            signal.signal(number, signal.SIG_IGN)

    def restore(self) -> None:
        """As it was before."""
        for number, handler in self._before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def alone(site: Site) -> Iterator[Signals]:
    """The right to change. Raises ConfigError if another has it, and does not end within WAIT_SECONDS."""
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
    """The directory, into which Exim's user may look. Raises ConfigError if it is not root's alone."""
    try:
        work.mkdir(mode=0o700, exist_ok=True)
        found = work.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            raise ConfigError(f"{work} is not a directory of root's alone; see what it is, and remove it")
        with contextlib.suppress(KeyError):
            os.chown(work, -1, grp.getgrnam(EXIM_GROUP).gr_gid)
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
    """Whether a change is under way; only root can tell, and is told the truth."""
    try:
        number = os.open(site.work / "lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        return not _taken(number)
    finally:
        os.close(number)
