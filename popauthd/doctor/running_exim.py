"""The check of the running Exim: does it go by the configuration that is there, or still by one from before.

Exim says nowhere when it has read its configuration: the pid file stays as it is when SIGHUP makes it read anew
(4.96 and 4.98). And update-exim4.conf makes the file anew when nothing has changed. So, where a file is younger than
the pid file, the running Exim is asked: what it says to a stranger is compared with what `exim -bh` says by the files.

LIMIT: a change that does not show in what a stranger is told is not seen; popauthd's own shows.
"""

from __future__ import annotations

import contextlib
import re
import smtplib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from popauthd.as_user import LookError, read_plain
from popauthd.doctor.context import Verdict, Visit, fail, ok, skip
from popauthd.doctor.exim import HELO, RECIPIENT, SECONDS, SENDER, command, play
from popauthd.eximsetup.process import running
from popauthd.eximsetup.site import FILE_BYTES, Site
from popauthd.text import safe, stamp

# Reaches a daemon on this machine, and is no address that Debian lets relay of its own.
CLIENT = "127.0.0.77"
LISTENING = "0A"
_INCLUDED = re.compile(r"(?m)^\s*\.include(?:_if_exists)?\s+(/\S+)")


def reloaded(visit: Visit) -> Iterator[Verdict]:
    """Whether the running Exim has read its configuration."""
    try:
        yield _compared(visit)
    except LookError as error:
        yield skip(f"whether the running Exim has read its configuration cannot be told: {error}")


def _compared(visit: Visit) -> Verdict:
    pid_file = Path(command(visit, "-bP", "pid_file_path").stdout.partition("=")[2].strip())
    config = Path(command(visit, "-bP", "configure_file").stdout.strip())
    pid = running(Site(pid_file=pid_file))
    if pid is None:
        return skip("no Exim daemon is running; it reads the configuration when it starts")
    changed_at = _changed_at(config)
    if changed_at <= pid_file.stat().st_mtime:
        return ok(f"pid {pid} is younger than {config}")
    wanted, said = play(visit, CLIENT), _says(pid)
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


def _says(pid: int) -> str:
    """What the running Exim says to a stranger's RCPT; nothing is sent. Raises LookError."""
    try:
        with smtplib.SMTP(timeout=SECONDS, local_hostname=HELO, source_address=(CLIENT, 0)) as client:
            client.connect(*_listens(pid))
            client.ehlo()
            client.mail(SENDER)
            code, text = client.rcpt(RECIPIENT)
    except (OSError, smtplib.SMTPException) as error:
        raise LookError(f"a session with pid {pid} failed: {safe(str(error), 200)}") from error
    return f"{code} {text.decode('utf-8', 'backslashreplace').splitlines()[-1]}"


def _listens(pid: int) -> tuple[str, int]:
    """Address and port where a process takes IPv4 connections: the lowest port, 25 before 465. Raises LookError."""
    owned = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):  # closed meanwhile
            owned.add(str(descriptor.readlink()))
    found = []
    for row in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        _number, local, _remote, state, *rest = row.split()
        if state == LISTENING and f"socket:[{rest[5]}]" in owned:
            address, port = (int(part, 16) for part in local.split(":"))
            found.append((port, socket.inet_ntoa(struct.pack("=I", address))))
    if not found:
        raise LookError(f"pid {pid} listens on no IPv4 address")
    port, host = min(found)
    return "127.0.0.1" if host == "0.0.0.0" else host, port
