"""The checks of the running Exim: is there one, do clients reach it, does mail go on from it, and does it use the
configuration that is there, or still an older one?

Exim says nowhere when it read its configuration: neither its start nor its pid file changes when SIGHUP makes it read
again (4.96 and 4.98). And update-exim4.conf writes the file again also when nothing has changed. So, where a file is
younger than the process, the running Exim is asked: what it says to a stranger is compared with what `exim -bh` says by
the files.

LIMIT: a change that does not show in what a stranger is told is not seen; popauthd's own shows.
"""

from __future__ import annotations

import os
import re
import smtplib
import time
from pathlib import Path

from popauthd.as_user import LookError, read_plain
from popauthd.conditions import Standing
from popauthd.doctor.exim import ENVELOPE
from popauthd.doctor.verdicts import Learning, Verdict, Verdicts, fail, ok, skip, standing, warn
from popauthd.errors import ConfigError
from popauthd.eximsetup.commands import SECONDS, Exim
from popauthd.eximsetup.listening import Daemon, daemon, listed, smtp_ports
from popauthd.eximsetup.reach import ROUTED, UNPROVEN, loopback, nowhere, route
from popauthd.eximsetup.site import FILE_BYTES
from popauthd.processes import started_at
from popauthd.text import safe, stamp

# Reaches a daemon on this machine, and is no address that Debian lets relay of its own.
CLIENT = "127.0.0.77"
ROOT = "only root may ask; run this as root"
CLOCK_SECONDS = 1.0  # a start is told by the kernel's clock of the boot, in hundredths of a second
_INCLUDED = re.compile(r"(?m)^\s*\.include(?:_if_exists)?\s+(/\S+)")


def runs(exim: Exim) -> Learning[Daemon]:
    """Whether anybody takes connections for Exim. Learns who."""
    if os.geteuid() != 0:
        yield skip(ROOT)
        return None
    found = daemon(exim)
    if found is None:
        ports = ", ".join(map(str, sorted(smtp_ports(exim))))
        seen = f"no Exim takes connections; by its configuration it would on port {ports}"
        yield standing(Standing("exim-stopped", "", seen, int(time.time())))
    elif not found.exim:
        yield ok(f"another program ({found}) listens, and starts Exim for each connection")
    else:
        yield ok(f"{found}")
    return found


def listens(found: Daemon) -> Verdicts:
    """Whether anybody else than this machine reaches it."""
    unreached = loopback(found, int(time.time()))
    yield standing(unreached) if unreached else ok(f"on {listed(found.ports)}")


def routes(exim: Exim) -> Verdicts:
    """Whether what a client sends elsewhere goes on from here."""
    if os.geteuid() != 0:
        yield skip(ROOT)
        return
    there = route(exim)
    if there.state == ROUTED:
        yield ok(there.said)
    elif there.state == UNPROVEN:
        advice = "try it by hand: exim4 -bt, and an address at another server; do the name servers answer?"
        yield warn(f"that mail goes on to other servers could not be proven: {there.said}", advice)
    else:
        yield standing(nowhere(there, int(time.time())))


def reloaded(exim: Exim, found: Daemon) -> Verdicts:
    """Whether the running Exim has read its configuration."""
    if not found.exim:
        yield ok("Exim is started for each connection, and reads it then")
        return
    try:
        yield _compared(exim, found)
    except (LookError, ConfigError) as error:
        yield skip(f"whether the running Exim has read its configuration cannot be told: {error}")


def _compared(exim: Exim, found: Daemon) -> Verdict:
    config = Path(exim.run("-bP", "configure_file").stdout.strip())
    pid = found.pid
    changed_at = _changed_at(config)
    if changed_at + CLOCK_SECONDS <= started_at(pid):
        return ok(f"pid {pid} is younger than {config}")
    wanted, said = exim.reply_to_rcpt(CLIENT, ENVELOPE), _says(found)
    if "4" in (wanted[:1], said[:1]):
        raise LookError(f"a stranger is told to come again: {safe(said, 120)}")
    if wanted != said:
        before = f"Exim (pid {pid}) still goes by the configuration from before {stamp(int(changed_at))}"
        told = f"as {CLIENT} it says {safe(said, 120)!r}, by {config} it would say {safe(wanted, 120)!r}"
        return fail(f"{before}: {told}", "systemctl reload exim4")
    if wanted.startswith("2"):
        raise LookError(f"{CLIENT} may relay of its own, by relay_from_hosts")
    return ok(f"pid {pid} tells a stranger what {config} says")


def _changed_at(config: Path) -> float:
    """When the youngest of the configuration's files was changed, moved or copied there. Raises OSError."""
    included = map(Path, _INCLUDED.findall(read_plain(config, FILE_BYTES).decode("utf-8", "replace")))
    return max(file.stat().st_ctime for file in (config, *included) if file.exists())


def _says(found: Daemon) -> str:
    """What the running Exim says to a stranger's RCPT; nothing is sent. Raises LookError."""
    try:
        with smtplib.SMTP(timeout=SECONDS, local_hostname=ENVELOPE.helo, source_address=(CLIENT, 0)) as client:
            client.connect(*_place(found))
            client.ehlo()
            client.mail(ENVELOPE.sender)
            code, text = client.rcpt(ENVELOPE.recipient)
    except (OSError, smtplib.SMTPException) as error:
        raise LookError(f"a session with pid {found.pid} failed: {safe(str(error), 200)}") from error
    return f"{code} {text.decode('utf-8', 'backslashreplace').splitlines()[-1]}"


def _place(found: Daemon) -> tuple[str, int]:
    """Address and port where it takes IPv4 connections: the lowest port, 25 before 465. Raises LookError."""
    port = next((port for port in found.ports if ":" not in port.address), None)
    if port is None:
        raise LookError(f"pid {found.pid} listens on no IPv4 address")
    return "127.0.0.1" if port.address == "0.0.0.0" else port.address, port.port
