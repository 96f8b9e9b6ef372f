"""Whether an Exim runs, and where it takes connections: asked of the processes and of the ports that listen.

Not of a pid file: one that listens by `-oX` without `-oP` writes none, and Exim's user may write what it likes into it.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from popauthd import processes
from popauthd.eximsetup.commands import Exim
from popauthd.eximsetup.process import is_exim, told_configuration
from popauthd.processes import Port

# They listen for Exim, and start it for each connection.
SUPER_SERVERS = {"systemd", "inetd", "xinetd", "tcpserver"}
USUAL_PORTS = (25, 465, 587)
_NAMED = {"smtp": 25, "smtps": 465, "submissions": 465, "ssmtp": 465, "submission": 587}


class Daemon(NamedTuple):
    """Who takes connections for Exim. exim: whether it is an Exim, or what starts one for each connection."""

    pid: int
    ports: tuple[Port, ...]
    exim: bool = True

    def __str__(self) -> str:
        """For people."""
        return f"pid {self.pid} on {listed(self.ports)}"


def listed(ports: tuple[Port, ...]) -> str:
    """Addresses and ports, as they are printed."""
    return ", ".join(map(str, ports))


def daemon(exim: Exim) -> Daemon | None:
    """Who takes connections for this Exim, or None.

    An Exim is this one if its program is in the same directory; of several, one with the same configuration (`-C`).
    """
    open_ports = processes.ports()
    home = Path(os.path.realpath(exim.program)).parent
    found = []
    for pid in processes.pids():
        runs = processes.program(pid)
        if runs is None or runs.path.parent != home or not is_exim(pid):
            continue
        if held := _held(pid, open_ports):
            found.append(Daemon(pid, held))
    found.sort(key=lambda one: (told_configuration(processes.words(one.pid)) != str(exim.config), one.pid))
    return found[0] if found else _super_server(exim, open_ports)


def _held(pid: int, open_ports: processes.Ports) -> tuple[Port, ...]:
    return tuple(sorted(open_ports[inode] for inode in processes.sockets(pid) & open_ports.keys()))


def _super_server(exim: Exim, open_ports: processes.Ports) -> Daemon | None:
    """The super-server that listens where this Exim would."""
    wanted = {inode for inode, port in open_ports.items() if port.port in smtp_ports(exim)}
    if not wanted:
        return None
    for pid in processes.pids():
        runs = processes.program(pid)
        if runs is not None and runs.path.name in SUPER_SERVERS and (wanted & processes.sockets(pid)):
            held = (open_ports[inode] for inode in wanted & processes.sockets(pid))
            return Daemon(pid, tuple(sorted(held)), exim=False)
    return None


def smtp_ports(exim: Exim) -> set[int]:
    """The ports where Exim would listen by its configuration. Raises ConfigError."""
    said = exim.run("-bP", "daemon_smtp_ports").stdout.partition("=")[2]
    numbers = {_NAMED.get(word) or (int(word) if word.isdigit() else 0) for word in re.findall(r"\w+", said)}
    return numbers - {0} or set(USUAL_PORTS)
