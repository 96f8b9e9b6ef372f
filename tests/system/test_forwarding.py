"""Two hosts: a login on one opens the relay of the other, by rsyslog and as dovecot/README.md says, word for word."""

from __future__ import annotations

import re
import socket
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.clients import ask_rcpt, pop3_login
from tests.servers.dovecot import TO_SYSLOG, Dovecot
from tests.servers.exim import TREE, Exim, replaced
from tests.servers.mailservers import tree
from tests.servers.place import Place, free_port, listens
from tests.servers.popauthd import Popauthd
from tests.servers.rsyslog import Rsyslog
from tests.support.helpers import eventually
from tests.support.journals import Inside, Journald, login

pytestmark = pytest.mark.system

PAGE = (TREE / "dovecot/README.md").read_text().partition("## Two hosts")[2].partition("\n## ")[0]
CERTIFICATES = textwrap.dedent(re.findall(r"(?m)(?:^ {7}.*\n|^\n(?= {7}))+", PAGE)[0])
HERE = socket.gethostname().partition(".")[0]
LOG = "/var/log/popauthd-logins.log"


def snippet(side: str, certificates: Path, port: int, *more: tuple[str, str]) -> str:
    """A snippet of dovecot/, with our certificates and our port, and `more` replaced."""
    pairs = [("/etc/rsyslog-popauthd", str(certificates)), ("2514", str(port)), *more]
    return replaced((TREE / f"dovecot/rsyslog-{side}-host.conf").read_text(), pairs)


class TwoHosts:
    """The login host with journald, Dovecot and rsyslog; the relay host with rsyslog, popauthd and Exim."""

    def __init__(self, login_host: Inside, relay_host: Place) -> None:
        self.certificates = relay_host.directory("certificates")
        subprocess.run(["sh", "-ec", CERTIFICATES], cwd=self.certificates, check=True, capture_output=True)
        self.port = free_port()
        self.log = relay_host.root / "popauthd-logins.log"
        self.receiver = Rsyslog(
            relay_host, "receiver", snippet("relay", self.certificates, self.port, (LOG, str(self.log)))
        )
        self.receiver.server.wait_until(lambda: listens("127.0.0.1", self.port), "listen")
        self.journald = Journald(login_host)
        here = ('target="relay.example.org"', 'target="127.0.0.1"'), ('interval="10"', 'interval="1"')
        self.sender = Rsyslog(login_host, "sender", snippet("login", self.certificates, self.port, *here))
        self.dovecot = Dovecot(login_host, TO_SYSLOG)
        source = re.findall(r"(?m)^ {7}(\[\[source\]\](?:\n {7}.*)+)", PAGE)[0]
        settings = replaced(textwrap.dedent("       " + source), [(LOG, str(self.log)), ('"login"', f'"{HERE}"')])
        self.popauthd = Popauthd(relay_host, None)
        with self.popauthd.config.open("a") as config:
            config.write("\n" + settings + "\n")
        self.popauthd.start()
        self.exim = Exim(relay_host, "light", "socket", self.popauthd.run_dir)

    def relays(self, address: str) -> bool:
        """Whether Exim of the relay host takes a message to elsewhere from there."""
        return ask_rcpt(address, self.exim.port, "someone@example.com").code == 250

    def logged_in(self, address: str) -> None:
        """Log in from there by POP3, and wait until the address may relay."""
        assert pop3_login(address, self.dovecot.ports["pop3"])
        eventually(lambda: self.relays(address), "a relayed message")

    def lines(self) -> str:
        """What has come to the relay host."""
        return self.log.read_text() if self.log.exists() else ""


@pytest.fixture(scope="module")
def hosts() -> Iterator[TwoHosts]:
    login_host = Inside()
    with login_host, Place() as relay_host:
        yield TwoHosts(login_host, relay_host)


def test_a_login_on_one_host_relays_through_the_other(hosts: TwoHosts) -> None:
    assert not hosts.relays("127.0.3.1")
    hosts.logged_in("127.0.3.1")
    assert not hosts.relays("127.0.3.2")


def test_what_comes_while_the_relay_host_is_away_is_not_lost(hosts: TwoHosts) -> None:
    hosts.receiver.server.stop()
    assert pop3_login("127.0.3.3", hosts.dovecot.ports["pop3"])
    hosts.receiver.start()
    eventually(lambda: hosts.relays("127.0.3.3"), "a relayed message")


def test_nobody_but_dovecot_s_service_is_heard(hosts: TwoHosts) -> None:
    hosts.journald.run("logger", "-t", "dovecot", login("127.0.3.4"), uid=65534)
    hosts.journald.run("logger", "-t", "dovecot", login("127.0.3.4"))
    hosts.logged_in("127.0.3.5")
    assert "127.0.3.4" not in hosts.lines()
    assert not hosts.relays("127.0.3.4")


def test_a_line_of_a_host_that_is_not_named_is_refused(hosts: TwoHosts) -> None:
    hosts.logged_in("127.0.3.10")
    line = next(line for line in hosts.lines().splitlines() if "rip=127.0.3.10" in line)
    with hosts.log.open("a") as file:
        file.write(line.replace(f" {HERE} ", " elsewhere ").replace("127.0.3.10", "127.0.3.6") + "\n")
    eventually(lambda: "other-host" in hosts.popauthd.control("status", "--json").stdout, "a refusal")
    assert not hosts.relays("127.0.3.6")


def test_its_file_may_be_rotated_as_the_page_says(hosts: TwoHosts) -> None:
    rule = textwrap.dedent(re.findall(r"(?m)^ {4}/var/log/popauthd-logins\.log \{\n(?: {4}.*\n)+", PAGE)[0])
    (script,) = re.findall(r"/usr/lib/rsyslog/\S+", rule)
    assert "kill -s HUP rsyslog.service" in (tree("rsyslog") / script.lstrip("/")).read_text()
    hosts.logged_in("127.0.3.11")
    told = hosts.log.with_name("rotate.sh")
    told.write_text(f"#!/bin/sh\nkill -HUP {hosts.receiver.server.pid}\n")
    told.chmod(0o755)
    config = hosts.log.with_name("logrotate.conf")
    config.write_text(replaced(rule, [(LOG, str(hosts.log)), (script, str(told))]))
    state = hosts.log.with_name("logrotate.state")
    subprocess.run(["logrotate", "--force", "--state", state, config], check=True, capture_output=True)
    hosts.logged_in("127.0.3.9")
    assert "127.0.3.9" in hosts.lines()
    assert "127.0.3.11," in hosts.log.with_name(hosts.log.name + ".1").read_text()


STRANGERS = [
    ("no certificate", []),
    ("a certificate by another name", ["-cert", "relay.example.org.pem", "-key", "relay.example.org.key"]),
    ("a certificate of another authority", ["-cert", "own.pem", "-key", "own.key"]),
]


@pytest.mark.parametrize(
    ("number", "words"),
    [(number, words) for number, (_label, words) in enumerate(STRANGERS)],
    ids=[label for label, _words in STRANGERS],
)
def test_who_has_no_certificate_by_the_right_name_is_not_heard(hosts: TwoHosts, number: int, words: list[str]) -> None:
    stranger, known = f"127.0.4.{number}", f"127.0.5.{number}"
    own = "openssl req -x509 -newkey rsa:2048 -nodes -subj /CN=login.example.org -keyout own.key -out own.pem"
    subprocess.run(
        [*own.split(), "-addext", "subjectAltName=DNS:login.example.org"],
        cwd=hosts.certificates, check=True, capture_output=True,
    )  # fmt: skip
    say(hosts, words, stranger)
    say(hosts, ["-cert", "login.example.org.pem", "-key", "login.example.org.key"], known)
    eventually(lambda: f"rip={known}," in hosts.lines(), "the line of the login host")
    assert f"rip={stranger}," not in hosts.lines()


def say(hosts: TwoHosts, words: list[str], address: str) -> None:
    """Send a login's line as a RELP client with this certificate."""
    offer = b"relp_version=0\ncommands=syslog"
    line = f"<22>1 2026-11-26T20:00:00Z {HERE} dovecot - - - {login(address)}".encode()
    frames = b"1 open %d %b\n2 syslog %d %b\n3 close 0\n" % (len(offer), offer, len(line), line)
    client = ["openssl", "s_client", "-quiet", "-connect", f"127.0.0.1:{hosts.port}", *words]
    subprocess.run(client, cwd=hosts.certificates, input=frames, capture_output=True, timeout=30, check=False)
