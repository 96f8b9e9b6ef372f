"""Whether this machine's Dovecot runs: asked of the ports of its configuration, and of who listens there."""

from __future__ import annotations

import os
from typing import NamedTuple

from popauthd import processes
from popauthd.dovecotcheck.doveconf import Configuration
from popauthd.processes import Ports

# src/imap-login and src/pop3-login, imap-login-settings.c and pop3-login-settings.c, 2.3 and 2.4.
DEFAULTS = {
    "imap": {"imap": 143, "imaps": 993},
    "pop3": {"pop3": 110, "pop3s": 995},
}
DOVECOT, SYSTEMD = "dovecot", "systemd"  # systemd where dovecot.socket is in use


class Master(NamedTuple):
    """Who takes connections for Dovecot. pid: None where we may not see it, or where systemd will start it."""

    pid: int | None
    ports: tuple[int, ...]


def login_ports(configuration: Configuration) -> set[int]:
    """Where Dovecot would take logins by its configuration."""
    found: dict[tuple[str, str], int] = {}
    for protocol, listeners in DEFAULTS.items():
        if protocol in (configuration.words("protocols") or DEFAULTS):
            found |= {(protocol, name): port for name, port in listeners.items()}
    for line in configuration.lines:
        if len(line.inside) == 2 and line.key == "port" and line.value.isdigit():
            service, listener = (head.split() for head in line.inside)
            protocol = service[-1].removesuffix("-login")
            if service[0] == "service" and listener[0] == "inet_listener" and protocol in DEFAULTS:
                found[protocol, listener[-1]] = int(line.value)
    return set(found.values()) - {0}


def master(configuration: Configuration) -> Master | None:
    """Who takes connections on one of the ports, or None: Dovecot does not run, or another program has its ports."""
    wanted = login_ports(configuration)
    here = {inode: port for inode, port in processes.ports().items() if port.port in wanted}
    if not here:
        return None
    if os.geteuid() != 0:
        return Master(None, _numbers(here))
    found: dict[str, int] = {}
    for pid in processes.pids():
        runs = processes.program(pid)
        if runs is not None and runs.path.name in (DOVECOT, SYSTEMD) and here.keys() & processes.sockets(pid):
            found.setdefault(runs.path.name, pid)
    return Master(found.get(DOVECOT), _numbers(here)) if found else None


def _numbers(ports: Ports) -> tuple[int, ...]:
    return tuple(sorted({port.port for port in ports.values()}))
