"""Exim as Debian ships it, light or heavy, on loopback, with popauthd's snippets around Debian's own ACLs.

The binary and Debian's configuration come unpacked from the packages (packaging/setup.sh puts them
below .cache/), so they are stock whatever this machine runs. The main section, the routers and an
authenticator are our own, small ones; the ACLs are Debian's files, unchanged.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.servers.place import Place, Server, ServerError, free_port, lend, listens

TREE = Path(__file__).resolve().parents[2]
USER = "Debian-exim"
FLAVOURS = ("light", "heavy")
WAYS = ("socket", "readlookup", "hostlist")
LOCAL = "postmaster@example.org"  # mail for this server
LOCAL_USER = "joe@example.org"
BACKUP = "anna@backup.example.org"  # for a domain this server is a backup for
REMOTE = "friend@example.com"  # relaying
RELAY_HOST = "127.0.0.99"  # an address the administrator lists in relay_from_hosts
AUTH = ("boss", "bosspassword")
REFUSAL = "Relay access denied: check mail, then send within 15 minutes"

CONFIG = r"""
exim_path = {binary}
spool_directory = {root}/spool
log_file_path = {root}/log/%slog
pid_file_path = {root}/exim.pid
CONFDIR = {debian}
primary_hostname = mail.example.org
domainlist local_domains = example.org
domainlist relay_to_domains = backup.example.org
hostlist relay_from_hosts = {relay_host}
local_interfaces = <; [127.0.0.1]:{port} ; [::1]:{port}
{hook}
.ifndef MAIN_ACL_CHECK_RCPT
MAIN_ACL_CHECK_RCPT = acl_check_rcpt
.endif
acl_smtp_rcpt = MAIN_ACL_CHECK_RCPT
# No TLS, no look-ups in the world's name servers, nothing run as root.
tls_advertise_hosts =
host_lookup =
rfc1413_hosts =
dns_ipv4_lookup = *
deliver_drop_privilege = true
keep_environment =
add_environment = <; PATH=/bin:/usr/bin
message_logs = false
begin acl
{acl}
begin routers
mine:
  driver = redirect
  domains = +local_domains
  local_parts = postmaster : joe
  data = :blackhole:
others:
  driver = manualroute
  domains = ! +local_domains
  route_list = * 127.0.0.1::{sink} byname
  self = send
  transport = onwards
begin transports
onwards:
  driver = smtp
  allow_localhost
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_advertise_condition = true
  server_prompts = :
  server_condition = ${{if and{{{{eq{{$auth2}}{{{auth[0]}}}}}{{eq{{$auth3}}{{{auth[1]}}}}}}}}}
  server_set_id = $auth2
"""
DEBIAN_ACL = """
.include {debian}/conf.d/acl/20_exim4-config_local_deny_exceptions
.include {debian}/conf.d/acl/30_exim4-config_check_rcpt
"""


def cache() -> Path:
    """Where packaging/setup.sh put what it fetched for this Debian release."""
    return TREE / ".cache" / platform.freedesktop_os_release()["VERSION_CODENAME"]


def stock(flavour: str) -> Path:
    """Debian's binary, as unpacked."""
    path = cache() / "exim" / flavour / "usr/sbin/exim4"
    if not path.exists():
        raise ServerError(f"{path} is missing; sh tests/run.sh fetches it")
    return path


def debian_configuration() -> Path:
    """What the package exim4-config ships: its /etc/exim4."""
    return cache() / "exim/config/etc/exim4"


def replaced(text: str, pairs: Sequence[tuple[str, str]]) -> str:
    """Replace each pair's first text, which must be there, by its second."""
    for old, new in pairs:
        if old not in text:
            raise ServerError(f"nothing to replace: {old}")
        text = text.replace(old, new)
    return text


def write_snippets(where: Path, way: str, run_dir: Path) -> Path:
    """Copy exim/acl-<way>, popauthd-macros and readlookup into `where`, with our paths for the system's.

    Returns the macros' file, which names the ACL file.
    """
    lend(TREE / "exim/readlookup", where / "readlookup")
    paths = {
        "socket": [("/run/popauthd/", f"{run_dir}/")],
        "readlookup": [("/usr/lib/popauthd/readlookup ", f"{where}/readlookup --map {run_dir}/relay.mdb ")],
        "hostlist": [("/run/popauthd/", f"{run_dir}/")],
    }
    acl = (TREE / f"exim/acl-{way}").read_text()
    (where / "exim-acl").write_text(replaced(acl, paths[way]))
    macros = (TREE / "exim/popauthd-macros").read_text()
    (where / "popauthd-macros").write_text(replaced(macros, [("/etc/popauthd/exim-acl", f"{where}/exim-acl")]))
    return where / "popauthd-macros"


class Exim:
    """A running Exim. `way` is one of WAYS, or "" for its ACL alone; `sink` is the port mail goes on to.

    acl: an acl_check_rcpt of one's own, instead of Debian's.
    """

    def __init__(self, place: Place, flavour: str, way: str, run_dir: Path, sink: int = 1, acl: str = "") -> None:
        self.port = free_port()
        self.root = place.directory(f"exim-{flavour}-{way or 'plain'}-{self.port}")
        for name in ("spool", "log"):
            place.directory(f"{self.root.name}/{name}", 0o755, USER)
        self.binary = lend(stock(flavour), self.root / "exim4")
        shutil.copytree(debian_configuration(), self.root / "debian")
        hook = f".include {write_snippets(self.root, way, run_dir)}" if way else ""
        self.config = self.root / "exim.conf"
        self.config.write_text(
            CONFIG.format(
                binary=self.binary,
                root=self.root,
                debian=self.root / "debian",
                port=self.port,
                sink=sink,
                relay_host=RELAY_HOST,
                hook=hook,
                acl=acl or DEBIAN_ACL.format(debian=self.root / "debian"),
                auth=AUTH,
            )
        )
        self.server: Server = place.start(
            self.root.name, [self.binary, "-C", self.config, "-bdf", "-oX", self.interfaces]
        )
        self.server.wait_until(lambda: listens("::1", self.port), "accept connections")

    @property
    def interfaces(self) -> str:
        """What it listens on, in Exim's words."""
        return f"<; [127.0.0.1]:{self.port} ; [::1]:{self.port}"

    def version(self) -> str:
        """Its name and version, as `Exim 4.96`."""
        done = subprocess.run([self.binary, "-C", self.config, "-bV"], capture_output=True, text=True, check=True)
        return "Exim " + done.stdout.split()[2]

    def log(self) -> str:
        """Its main log so far."""
        path = self.root / "log/mainlog"
        return path.read_text(errors="replace") if path.exists() else ""

    def faults(self) -> str:
        """Its panic log: empty unless something is wrong with the configuration."""
        path = self.root / "log/paniclog"
        return path.read_text(errors="replace") if path.exists() else ""


def play(binary: Path, config: Path, source: str, to: str) -> str:
    """Play an SMTP session as `source` (`exim -bh`, nothing is sent): the reply to RCPT for one recipient."""
    session = f"EHLO client.example.net\r\nMAIL FROM:<joe@example.org>\r\nRCPT TO:<{to}>\r\nQUIT\r\n"
    done = subprocess.run(
        [binary, "-C", config, "-bh", source], input=session, capture_output=True, text=True, timeout=60, check=False
    )
    replies = [line for line in done.stdout.splitlines() if line[3:4] == " "]
    if len(replies) < 4:
        raise ServerError(f"exim -bh ended early: {done.stdout}{done.stderr}")
    return replies[3]
