"""The peers of popauthd, run for real on a log in the head of RFC 3164: fail2ban-regex and pop-before-smtp.

fail2ban is Debian's; `--fail2ban` unpacks the package below .cache/servers, as the tests do with their servers. Its
filter for successful logins is FILTER. pop-before-smtp is where `--pop-before-smtp PATH` says, with CONFIG; it needs
Perl's Net::Netmask and Date::Parse (libnet-netmask-perl, libtimedate-perl). It runs as it does after a restart, with
--nowrite: it reads the log from its begin, and writes no database. It reads IPv4 alone.

Both are first held to what they find in the log: a peer that finds nothing is fast.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import tempfile
import time
from pathlib import Path

from tests.bench.generate import Recipe, make
from tests.bench.usage import Usage, completed, followed
from tests.servers.exim import cache
from tests.support.helpers import ROOT, eventually

FILTER = r"""
[Definition]
failregex = ^\s*\S+ dovecot: (?:imap|pop3)-login: Login: user=<[^<>]*>, method=\S+, rip=<HOST>, lip=
datepattern = ^%%b %%d %%H:%%M:%%S
"""
CONFIG = r"""
$pat = '^[LOGTIME] \S+ dovecot: (?:imap|pop3)-login: ' .
    'Login: user=\S+, method=\S+, rip=(\d+\.\d+\.\d+\.\d+), lip=';
$mynet_func = sub { '127.0.0.0/8' };
use vars qw($pat $mynet_func %file_tail $logto);
$file_tail{'tail'} = -1;
$file_tail{'interval'} = 1;
1;
"""
FETCH = '. "$root/packaging/setup.sh"; prepare; need_server fail2ban fail2ban'
SECONDS = 3600.0  # for a peer to come to the end of the log


def arguments(parser: argparse.ArgumentParser) -> None:
    """The options that ask for the peers."""
    parser.add_argument("--fail2ban", action="store_true", help="run Debian's fail2ban-regex; fetched if missing")
    parser.add_argument("--pop-before-smtp", metavar="PATH", type=Path, help="run this pop-before-smtp")


def fail2ban() -> Path:
    """Where Debian's package is unpacked."""
    where = cache() / "servers/fail2ban"
    if not where.exists():
        subprocess.run(["sh", "-euc", FETCH], env={**os.environ, "root": str(ROOT)}, check=True)
    return where


def run_fail2ban(log: Path, logins: int) -> Usage:
    """fail2ban-regex over the log, which must match that many lines."""
    where = fail2ban()
    with tempfile.TemporaryDirectory() as directory:
        rules = Path(directory) / "filter.conf"
        rules.write_text(FILTER, encoding="ascii")
        command: list[str | Path] = [
            "/usr/bin/python3",
            where / "usr/bin/fail2ban-regex",
            "--usedns=no",
            "--print-no-missed",
            log,
            rules,
        ]
        environment = {**os.environ, "PYTHONPATH": str(where / "usr/lib/python3/dist-packages")}
        used, output = completed(command, environment)
    matched = re.search(rb"([0-9]+) matched", output)
    assert matched is not None and int(matched[1]) == logins, output
    return used


def run_pop_before_smtp(program: Path, log: Path) -> Usage:
    """pop-before-smtp over the log, until it has read all of it and waits for more."""
    with tempfile.TemporaryDirectory() as directory:
        small, added = Path(directory) / "small.log", Path(directory) / "added"
        truth = make(Recipe(lines=2000, mix="endless", addresses=100, users=100), small)
        addresses = {address for address, _user in truth.logins if ":" not in address}
        process = _pop_before_smtp(program, Path(directory), small, f"$logto = '{added}';")
        try:
            eventually(lambda: len(_added(added)) >= len(addresses), "pop-before-smtp adds them", 30)
        finally:
            _end(process)
        assert _added(added) == addresses
        process = _pop_before_smtp(program, Path(directory), log)
        try:
            return followed(process, lambda: _waits_at_the_end(process.pid, log), 0.05, SECONDS)
        finally:
            _end(process)


def _pop_before_smtp(program: Path, directory: Path, log: Path, more: str = "") -> subprocess.Popen[bytes]:
    config = directory / "config.pl"
    config.write_text(f"{more}\n{CONFIG}", encoding="ascii")
    with program.open("rb") as file:
        perl = shlex.split(file.readline().decode()[2:])  # `/usr/bin/perl -wT`
    command: list[str | Path] = [*perl, program, f"--config={config}", "--nowrite", f"--watchlog={log}"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL)


def _added(path: Path) -> set[str]:
    text = path.read_text(encoding="ascii") if path.exists() else ""
    return set(re.findall(r"added (\S+) to DB", text))


def _waits_at_the_end(pid: int, log: Path) -> bool:
    """Whether it has read the last byte and does nothing for 20 ms."""
    size = log.stat().st_size
    for name in Path(f"/proc/{pid}/fd").iterdir():
        if name.exists() and name.samefile(log):
            place = Path(f"/proc/{pid}/fdinfo/{name.name}").read_text(encoding="ascii").split()[1]
            return int(place) == size and _sleeps(pid)
    return False


def _sleeps(pid: int) -> bool:
    for _ in range(5):
        if Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "S":
            return False
        time.sleep(0.004)
    return True


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
