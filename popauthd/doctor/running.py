"""The checks of what must run beside popauthd, and of what still runs though its program is gone."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from popauthd import processes
from popauthd.conditions import Standing
from popauthd.config import Config
from popauthd.doctor.dovecot import NOT_COUNTED, counts
from popauthd.doctor.running_exim import ROOT
from popauthd.doctor.verdicts import Learning, Verdicts, ok, skip, standing
from popauthd.dovecotcheck import machine
from popauthd.dovecotcheck.running import Master, login_ports, master
from popauthd.errors import SourceError
from popauthd.eximsetup.listening import SUPER_SERVERS, Daemon
from popauthd.processes import Program
from popauthd.serving.unix_socket import bound_names
from popauthd.status import Status

WATCHER, RESPONDER = OURS = "popauthd", "popauthd-lookup"


def dovecot_runs(config: Config, doveconf: str) -> Learning[Master]:
    """Whether Dovecot takes logins. Learns who does.

    LIMIT: where the log that is followed is another machine's, a Dovecot that is installed here must run all the same.
    """
    if not counts(config):
        yield skip(NOT_COUNTED)
        return None
    try:
        configuration = machine.dovecot(doveconf or None)
    except SourceError as error:
        yield skip(str(error))
        return None
    found = master(configuration)
    if found is None:
        ports = ", ".join(map(str, sorted(login_ports(configuration))))
        seen = f"no Dovecot takes connections; by its configuration it would on port {ports}"
        yield standing(Standing("dovecot-stopped", "", seen, int(time.time())))
        return None
    pid = "" if found.pid is None else f"pid {found.pid} "
    yield ok(f"{pid}on port {', '.join(map(str, found.ports))}")
    return found


def programs(config: Config, status: Status | None, dovecot: Master | None, exim: Daemon | None) -> Verdicts:
    """Whether what runs is what is installed: after an upgrade a service may run on with what was removed."""
    if os.geteuid() != 0:
        yield skip(ROOT)
        return
    well = True
    for name, service, pid in _serving(config, status, dovecot, exim):
        runs = processes.program(pid)
        why = _why_not(runs, ours=service in OURS) if runs is not None else ""
        if runs is not None and why:
            well = False
            seen = f"{name} (pid {pid}) still runs {runs.path}, {why}"
            said = standing(Standing("program-replaced", "", seen, int(time.time())))
            yield said._replace(advice=f"systemctl restart {service}")
    if well:
        yield ok("every service runs the program that is installed")


def _why_not(runs: Program, *, ours: bool) -> str:
    """What is wrong with a program that runs, "" if nothing. ours: whether it is a Python like this one."""
    if runs.gone:
        return "which was removed or replaced since"
    python = Path(sys.executable).resolve()
    # An old Python may stay beside the new one, without the modules that popauthd needs.
    return f"and what is installed now runs {python}" if ours and runs.path != python else ""


def _serving(
    config: Config, status: Status | None, dovecot: Master | None, exim: Daemon | None
) -> Iterator[tuple[str, str, int]]:
    """(name, service, process) of all that runs."""
    if status is not None:
        yield "the watcher", WATCHER, status.pid
    answering = processes.listeners(*bound_names(config.lookup_path))
    for pid in processes.pids():
        if answering & processes.sockets(pid) and not _super_server(pid):
            yield "the responder", RESPONDER, pid
    if dovecot is not None and dovecot.pid is not None:
        yield "Dovecot", "dovecot", dovecot.pid
    if exim is not None and exim.exim:
        yield "Exim", "exim4", exim.pid


def _super_server(pid: int) -> bool:
    """Whether it is systemd, which holds the responder's socket beside it."""
    runs = processes.program(pid)
    return runs is not None and runs.path.name in SUPER_SERVERS
