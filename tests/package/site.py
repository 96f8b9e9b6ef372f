"""A mail server in a root, configured as an administrator would, and started without systemd.

Dovecot and Exim are Debian's, on their usual ports and with their packages' own configuration; what is set here is
what a small provider sets: plain logins (nothing of this leaves the root), a log file of Dovecot's own, Exim as an
internet site with a smarthost, which stands for the world.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.package.roots import ENVIRONMENT, SERVER, Root
from tests.package.units import Listener, Service
from tests.package.world import ADDRESS as WORLD
from tests.package.world import World
from tests.support.helpers import ROOT, eventually

USER, PASSWORD = "anna", "annas-word"
REMOTE, LOCAL = "somebody@example.com", "anna@mail.example.org"
RELAY_NET_CLIENT = "192.0.2.12"
EXIM = {
    "dc_eximconfig_configtype": "smarthost",
    "dc_other_hostnames": "mail.example.org",
    "dc_local_interfaces": "",
    "dc_relay_nets": RELAY_NET_CLIENT,
    "dc_minimaldns": "true",
}
LOGIN = {"bookworm": "disable_plaintext_auth = no\n", "trixie": "auth_allow_cleartext = yes\n"}
LOCAL_MACROS = {"bookworm": "", "trixie": "# no line feed at the end"}
BRANCH = {"bookworm": "2.3", "trixie": "2.4"}


class Daemon:
    """A server in the foreground, or one that forks; ended by its own process or with the root."""

    def __init__(self, root: Root, *command: str) -> None:
        self.log = root.path / "var/log" / f"test-{Path(command[0]).name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                root.inside(*command), env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def send(self, number: int) -> None:
        """Signal the server itself (nsenter stands before it)."""
        pid = self.process.pid
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            os.kill(int(child), number)

    def stop(self) -> None:
        """End it."""
        self.send(signal.SIGTERM)
        self.process.wait(20)


class Site:
    """The mail server; `exim`, `dovecot`, `lookup` and `watcher` once started."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.world = World(root)
        self.before: dict[str, str] = {}
        self.exim: Daemon | None = None
        self._configure()
        self.dovecot = Daemon(root, "/usr/sbin/dovecot", "-F")
        eventually(lambda: self._listens(110), "Dovecot listens")

    def _configure(self) -> None:
        self.root.run("useradd", "-m", USER)
        self.root.run("sh", "-c", f"echo {USER}:{PASSWORD} | chpasswd")
        (self.root.path / "etc/hosts").write_text(f"127.0.0.1 localhost\n{SERVER} mail.example.org mail\n")
        (self.root.path / "etc/mailname").write_text("mail.example.org\n")
        local = "ssl = no\n" + LOGIN[self.root.suite]
        (self.root.path / "etc/dovecot/conf.d/99-site.conf").write_text(local)
        # As README.Debian says: the snippet, and a log that the group adm may read.
        snippet = (ROOT / f"dovecot/popauthd-{BRANCH[self.root.suite]}.conf").read_text()
        (self.root.path / "etc/dovecot/conf.d/90-popauthd.conf").write_text(snippet)
        self.root.run("install", "-m", "640", "-o", "root", "-g", "adm", "/dev/null", "/var/log/dovecot-info.log")
        if macros := LOCAL_MACROS[self.root.suite]:
            (self.root.path / "etc/exim4/exim4.conf.localmacros").write_text(macros)
        self.set_exim(**EXIM, dc_smarthost=f"{WORLD}::{self.world.port}")

    def set_exim(self, **values: str) -> None:
        """Set answers of exim4-config, and have Debian make Exim's configuration anew."""
        path = self.root.path / "etc/exim4/update-exim4.conf.conf"
        text = path.read_text()
        for key, value in values.items():
            text = re.sub(rf"^{key}=.*$", f"{key}='{value}'", text, flags=re.MULTILINE)
        path.write_text(text)
        self.root.run("update-exim4.conf")

    @property
    def split(self) -> bool:
        """Whether Exim's configuration is split into many files."""
        return "dc_use_split_config='true'" in (self.root.path / "etc/exim4/update-exim4.conf.conf").read_text()

    def start_exim(self) -> None:
        """Start Exim, stopping one that runs."""
        if self.exim is not None:
            self.exim.stop()
        # As tmpfiles.d or the init script does at boot.
        self.root.run("install", "-d", "-o", "Debian-exim", "-g", "Debian-exim", "-m", "750", "/run/exim4")
        self.exim = Daemon(self.root, "/usr/sbin/exim4", "-bdf", "-q30m")
        self.listens()

    def listens(self) -> None:
        """Wait until Exim takes connections."""
        eventually(lambda: self._listens(25), "Exim listens")

    def _listens(self, port: int) -> bool:
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1).close()"
        words = [*self.root.enter("net"), sys.executable, "-c", code]
        return subprocess.run(words, capture_output=True, check=False).returncode == 0

    def start_popauthd(self) -> None:
        """Start the three units, as they would be at boot."""
        self.socket = Listener(self.root, "popauthd-lookup.socket")
        self.lookup = Service(self.root, "popauthd-lookup.service", self.socket)
        self.watcher = Service(self.root, "popauthd.service")
        self.lookup.start()
        self.watcher.start()

    def stop_popauthd(self) -> None:
        """Stop them, as systemd does before the package is removed."""
        self.watcher.stop()
        self.lookup.stop()
        self.socket.close()

    def close(self) -> None:
        """Stop Exim, Dovecot and the world."""
        for daemon in (self.exim, self.dovecot):
            if daemon is not None:
                daemon.stop()
        self.world.close()

    def login(self, protocol: str, client: str) -> bool:
        """A real login from an address."""
        done: bool = self.root.client(f"{protocol}_login", client, {"pop3": 110, "imap": 143}[protocol], USER, PASSWORD)
        return done

    def rcpt(self, client: str, to: str) -> int:
        """Exim's answer to one recipient."""
        reply: dict[str, Any] = self.root.client("ask_rcpt", client, 25, to)
        return int(reply["code"])

    def send(self, client: str, text: str) -> int:
        """Send a message to the world, and see it arrive if it was taken."""
        reply: dict[str, Any] = self.root.client("send", client, 25, REMOTE, text)
        if reply["code"] == 250:
            assert text in self.world.next_message()
        return int(reply["code"])

    def relays(self, client: str, seconds: float = 10.0) -> None:
        """Wait until popauthd lets the address relay."""
        eventually(lambda: self.socket.ask(client) == "yes", f"{client} may relay", seconds)

    @staticmethod
    def next_second() -> None:
        """Let this second pass: a log tells whole seconds, and a login must be newer than what was revoked."""
        second = int(time.time())
        eventually(lambda: int(time.time()) > second, "the next second")
