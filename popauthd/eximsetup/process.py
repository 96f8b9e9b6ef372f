"""The running Exim: which process it is, making its configuration anew, and telling it to read that.

An Exim that listens by `-oX` without `-oP` writes no pid file, and a pid file is in a directory that belongs to Exim's
user. So the processes are looked at: an Exim is one whose program has Exim's name and is a file of root's, and that
root or Exim's user started, as anybody can start Exim, or give its name to a program of their own; the daemon is the
one that listens.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

from popauthd import processes
from popauthd.accounts import user_id
from popauthd.errors import ConfigError
from popauthd.eximsetup.commands import Exim, must
from popauthd.eximsetup.site import Site

Say = Callable[[str], None]
RELOAD_SECONDS = 1.0  # one that cannot go on ends within milliseconds
EXIM_USER = "Debian-exim"
# exim4, or as Exim's own installer names it: exim-4.98.2-1. After an upgrade the file may be gone.
_PROGRAM = re.compile(r"exim(4|-[^/]*)?(?: \(deleted\))?")


def running(site: Site) -> int | None:
    """The process of an Exim daemon that goes by the site's configuration, or None."""
    return next(iter(daemons(site.config, default=site.is_default())), None)


def daemons(config: Path, *, default: bool) -> list[int]:
    """The Exim daemons that go by a configuration: the processes that listen, whoever started them, and how.

    default: whether Exim takes this configuration where it is told none. Who is not root cannot see who listens, and
    goes by what a process was told.
    """
    ports = processes.ports()
    found = [
        pid
        for pid in sorted(processes.pids())
        if is_exim(pid) and _here(pid) and _goes_by(processes.words(pid), config, default=default)
    ]
    if os.geteuid() == 0:
        listening = [pid for pid in found if processes.sockets(pid) & ports.keys()]
        return [pid for pid in listening if processes.parent(pid) not in listening]  # a child has the socket at first
    return [pid for pid in found if any(word.startswith("-bd") for word in processes.words(pid))]


def _here(pid: int) -> bool:
    """Whether a process has our root directory: not one of a container's. Who is not root cannot tell."""
    try:
        return os.path.samestat(Path(f"/proc/{pid}/root").stat(), Path("/").stat())
    except OSError:
        return os.geteuid() != 0


def _goes_by(words: list[str], config: Path, *, default: bool) -> bool:
    """Whether a process was told this configuration, or none where it takes it of its own."""
    told = told_configuration(words)
    return told == str(config) if told else default


def told_configuration(words: list[str]) -> str:
    """What a process was told to use as its configuration by `-C`, the last one counts; "" for Exim's own."""
    return next((word[2:] or after for word, after in reversed([*pairwise([*words, ""])]) if word.startswith("-C")), "")


def is_exim(pid: int) -> bool:
    """Whether a process is there, alive, and Exim.

    Who is not root can only see the name of the process, which it chooses itself.
    """
    place = Path(f"/proc/{pid}")
    try:
        status = (place / "status").read_text(errors="replace")
        user = int(re.findall(r"(?m)^Uid:\t([0-9]+)", status)[0])
        alive = re.search(r"(?m)^State:\t[ZX]", status) is None
        if not alive or user not in (0, user_id(EXIM_USER)):
            return False
        if os.geteuid() != 0:
            return _PROGRAM.fullmatch((place / "comm").read_text(errors="replace").strip()) is not None
        program = (place / "exe").readlink().name
        return _PROGRAM.fullmatch(program) is not None and (place / "exe").stat().st_uid == 0
    except (OSError, IndexError):
        return False


def generate(site: Site) -> None:
    """Have Debian make Exim's configuration from its files. Raises ConfigError if Exim does not take it."""
    if not site.handwritten.exists():
        must([site.update, "-d", site.confdir, "-o", site.generated], "update-exim4.conf")
    Exim(site.exim, site.config).must("-bV")


def reload(site: Site, say: Say) -> None:
    """Have a running Exim read its configuration again, as Debian's reload does; never start one.

    Raises ConfigError if it ends instead.
    """
    told = [pid for pid in daemons(site.config, default=site.is_default()) if _signalled(pid)]
    if not told:
        say("Exim is not running; it will read the new configuration when it starts")
        return
    until = time.monotonic() + RELOAD_SECONDS
    while time.monotonic() < until:
        if ended := [pid for pid in told if not is_exim(pid)]:
            raise ConfigError(
                f"Exim (pid {ended[0]}) ended when it was told to reload, though its configuration is right; see "
                "/var/log/exim4/paniclog, and start it: systemctl restart exim4"
            )
        time.sleep(0.05)
    say(f"Exim reloaded (pid {', '.join(map(str, told))})")


def _signalled(pid: int) -> bool:
    """Send SIGHUP, and say whether it was sent; never to another process that has got the number meanwhile.

    invoke-rc.d is not used: it says that all went well also where a policy keeps it from doing anything.
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
