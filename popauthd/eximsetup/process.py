"""The running Exim: which process it is, and telling it to read its configuration again.

Its pid file is in a directory that belongs to Exim's user, so what stands there is believed of an Exim alone: a process
whose program is Exim's, and root's file, and which root or Exim's user started. Anybody can run Exim, and call his own
program so.
"""

from __future__ import annotations

import os
import pwd
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from popauthd.as_user import read_plain
from popauthd.errors import ConfigError
from popauthd.eximsetup.site import Site

Say = Callable[[str], None]
RELOAD_SECONDS = 1.0  # one that cannot go on ends within milliseconds
EXIM_USER = "Debian-exim"
PID_BYTES = 64
# exim4, or as Exim's own installer names it: exim-4.98.2-1. After an upgrade the file may be gone.
_PROGRAM = re.compile(r"exim(4|-[^/]*)?(?: \(deleted\))?")


def running(site: Site) -> int | None:
    """The process of the Exim daemon, or None."""
    try:
        pid = int(read_plain(site.pid_file, PID_BYTES))
    except (OSError, ValueError):
        return None
    return pid if pid > 1 and is_exim(pid) else None


def is_exim(pid: int) -> bool:
    """Whether a process is there, alive, and Exim. Who is not root goes by the name that it gives itself."""
    place = Path(f"/proc/{pid}")
    try:
        status = (place / "status").read_text(errors="replace")
        user = int(re.findall(r"(?m)^Uid:\t([0-9]+)", status)[0])
        alive = re.search(r"(?m)^State:\t[ZX]", status) is None
        if not alive or user not in _users():
            return False
        if os.geteuid() != 0:
            return _PROGRAM.fullmatch((place / "comm").read_text(errors="replace").strip()) is not None
        program = (place / "exe").readlink().name
        return _PROGRAM.fullmatch(program) is not None and (place / "exe").stat().st_uid == 0
    except (OSError, IndexError):
        return False


def _users() -> set[int]:
    try:
        return {0, pwd.getpwnam(EXIM_USER).pw_uid}
    except KeyError:
        return {0}


def reload(site: Site, say: Say) -> None:
    """Have a running Exim read its configuration again, as Debian's reload does; never start one.

    Raises ConfigError if it ends instead.
    """
    pid = running(site)
    if pid is None or not _signalled(pid):
        say("Exim is not running; it will read the new configuration when it starts")
        return
    until = time.monotonic() + RELOAD_SECONDS
    while time.monotonic() < until:
        if not is_exim(pid):
            raise ConfigError(
                f"Exim (pid {pid}) ended when it was told to reload, though its configuration is right; see "
                "/var/log/exim4/paniclog, and start it: systemctl restart exim4"
            )
        time.sleep(0.05)
    say(f"Exim reloaded (pid {pid})")


def _signalled(pid: int) -> bool:
    """Whether it got SIGHUP; never another that has the number meanwhile.

    By the signal itself: invoke-rc.d says that all went well when a policy keeps it from doing anything.
    """
    try:
        process = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not is_exim(pid):
            return False
        signal.pidfd_send_signal(process, signal.SIGHUP)
    except ProcessLookupError:
        return False
    finally:
        os.close(process)
    return True
