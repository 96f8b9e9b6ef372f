"""The snippets put into Debian's own generated configuration, split and unsplit, as exim/README.md says.

Debian's update-exim4.conf and templates, unpacked from exim4-config, with nothing changed but the
directories; sessions are played with `exim -bh`, from addresses that aren't loopback.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.exim import (
    FLAVOURS,
    LOCAL,
    REFUSAL,
    REMOTE,
    USER,
    WAYS,
    cache,
    debian_configuration,
    play,
    stock,
    write_snippets,
)
from tests.servers.place import Place, lend
from tests.support.helpers import write_map

pytestmark = pytest.mark.system

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
# Nothing is asked of the world's name servers.
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


@pytest.fixture(scope="module", params=[False, True], ids=["unsplit", "split"])
def split(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module", params=FLAVOURS)
def debian(request: pytest.FixtureRequest, split: bool) -> Iterator[Debian]:
    with Place() as place:
        yield relocated(place, request.param, split)


@pytest.fixture(scope="module")
def installed(debian: Debian) -> Debian:
    """With popauthd's macros in; a map and a list in which two addresses are granted, and no socket."""
    run_dir = debian.root / "run"
    run_dir.mkdir()
    later = int(time.time()) + 86400
    write_map(run_dir / "relay.mdb", {"192.0.2.10": later, "2001:db8::7": later})
    (run_dir / "relay.mdb").chmod(0o644)
    (run_dir / "relay-hosts").write_text(f'192.0.2.10: {later}\n"2001:db8::7": {later}\n')
    (run_dir / "relay-hosts").chmod(0o644)
    debian.install(write_snippets(debian.root, "hostlist", run_dir).read_text())
    debian.generate()
    return debian


CASES = [
    ("a stranger relays", "192.0.2.99", REMOTE, f"550 {REFUSAL}"),
    ("a stranger relays over IPv6", "2001:db8::99", REMOTE, f"550 {REFUSAL}"),
    ("a stranger writes to us", "192.0.2.99", LOCAL, "250 Accepted"),
    ("a granted address writes to us", "192.0.2.10", LOCAL, "250 Accepted"),
    ("a relay network of the administrator", "198.51.100.9", REMOTE, "250 Accepted"),
    ("this host", "127.0.0.1", REMOTE, "250 Accepted"),
    ("a bad local part", "192.0.2.10", "/etc/passwd@example.com", "550 restricted characters in address"),
]
GRANTED = {
    "socket": f"550 {REFUSAL}",  # there is none: fail closed
    "readlookup": "250 Accepted",
    "hostlist": "250 Accepted",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("source", "to", "reply"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_debians_rules_stay_in_force(installed: Debian, way: str, source: str, to: str, reply: str) -> None:
    write_snippets(installed.root, way, installed.root / "run")
    assert installed.says(source, to) == reply


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("source", ["192.0.2.10", "2001:db8::7"])
def test_a_granted_address_relays(installed: Debian, way: str, source: str) -> None:
    write_snippets(installed.root, way, installed.root / "run")
    assert installed.says(source, REMOTE) == GRANTED[way]


def test_without_the_acl_file_it_is_debians_exim(installed: Debian) -> None:
    installed.acl.rename(installed.root / "aside")
    try:
        for source in ("192.0.2.99", "192.0.2.10"):
            assert installed.says(source, REMOTE) == "550 relay not permitted"
        assert installed.says("198.51.100.9", REMOTE) == "250 Accepted"
        assert installed.says("192.0.2.99", LOCAL) == "250 Accepted"
    finally:
        (installed.root / "aside").rename(installed.acl)


def test_the_text_is_a_macro(installed: Debian) -> None:
    text = "Please fetch your mail first (see https://example.org/help)"
    name = "conf.d/main/000_local" if installed.split else "exim4.conf.localmacros"
    path = installed.root / "exim4" / name
    before = path.read_text()
    path.write_text(f"POPAUTHD_REFUSAL = {text}\n{before}")
    try:
        installed.generate()
        assert installed.says("192.0.2.99", REMOTE) == f"550 {text}"
    finally:
        path.write_text(before)
        installed.generate()


def test_an_administrators_own_acl_is_kept(installed: Debian) -> None:
    name = "conf.d/main/000_local" if installed.split else "exim4.conf.localmacros"
    path = installed.root / "exim4" / name
    before = path.read_text()
    path.write_text(f"MAIN_ACL_CHECK_RCPT = deny message = mine\n{before}")
    try:
        installed.generate()
        assert installed.says("192.0.2.10", REMOTE) == "550 mine"
    finally:
        path.write_text(before)
        installed.generate()
