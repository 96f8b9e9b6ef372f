"""Debian's own Exim configuration in a directory of its own, as update-exim4.conf makes it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers.exim import (
    USER,
    cache,
    debian_configuration,
    play,
    stock,
)
from tests.servers.place import Place, lend

UE4CC = """
dc_eximconfig_configtype='internet'
dc_other_hostnames='example.org'
dc_local_interfaces=''
dc_readhost=''
dc_relay_domains='backup.example.org'
dc_minimaldns='false'
dc_relay_nets='198.51.100.0/24'
dc_smarthost=''
CFILEMODE='644'
dc_use_split_config='{split}'
dc_hide_mailname=''
dc_mailname_in_oh='true'
dc_localdelivery='mail_spool'
"""
OURS = "MAIN_HOST_LOOKUP =\nMAIN_HARDCODE_PRIMARY_HOSTNAME = mail.example.org\n"


@dataclass(frozen=True, slots=True)
class Debian:
    """Debian's configuration in directories of its own."""

    root: Path
    binary: Path
    split: bool

    @property
    def config(self) -> Path:
        """What update-exim4.conf generates."""
        return self.root / "generated"

    @property
    def pid_file(self) -> Path:
        """Where a daemon of it writes its pid."""
        return self.root / "exim.pid"

    @property
    def acl(self) -> Path:
        """What is /etc/popauthd/exim-acl on a real system."""
        return self.root / "exim-acl"

    def install(self, macros: str) -> None:
        """The two steps of exim/README.md, for either kind of configuration."""
        if self.split:
            (self.root / "exim4/conf.d/main/00_popauthd").write_text(macros)
        else:
            with (self.root / "exim4/exim4.conf.localmacros").open("a") as file:
                file.write(macros)

    def generate(self) -> None:
        """Run update-exim4.conf, and let Exim read the result."""
        script = self.root / "update-exim4.conf"
        subprocess.run(
            ["/bin/sh", script, "-d", self.root / "exim4", "-o", self.config], check=True, capture_output=True
        )
        subprocess.run([self.binary, "-C", self.config, "-bV"], check=True, capture_output=True)

    def says(self, source: str, to: str) -> str:
        """What that client reads after RCPT."""
        return play(self.binary, self.config, source, to)


def relocated(place: Place, flavour: str, split: bool) -> Debian:
    """Debian's files below `place`, with every path of the system replaced."""
    root = place.directory(f"debian-{flavour}-{'split' if split else 'unsplit'}")
    debian = Debian(root, root / "exim", split)
    lend(stock(flavour), debian.binary)
    shutil.copytree(debian_configuration(), root / "exim4")
    lend(cache() / "exim/config/usr/sbin/update-exim4.conf", root / "update-exim4.conf")
    paths = [
        ("/usr/sbin/exim4", debian.binary),
        ("/etc/exim4", root / "exim4"),
        ("/etc/mailname", root / "mailname"),
        ("/var/spool/exim4", place.directory(f"{root.name}/spool")),
    ]
    for path in [root / "update-exim4.conf", *(root / "exim4").rglob("*")]:
        if path.is_file():
            text = path.read_text()
            for old, new in paths:
                text = text.replace(old, str(new))
            path.write_text(text)
    (root / "mailname").write_text("mail.example.org\n")
    (root / "exim4/update-exim4.conf.conf").write_text(UE4CC.format(split=str(split).lower()))
    # Without this Exim writes into the machine's /var/log/exim4, and ends where there is none.
    log = place.directory(f"{root.name}/log", owner=USER)
    for name in ("conf.d/main/000_local", "exim4.conf.localmacros"):
        (root / "exim4" / name).write_text(
            f"{OURS}log_file_path = {log}/%slog\npid_file_path = {debian.pid_file}\nnotifier_socket =\n"
        )
    return debian
