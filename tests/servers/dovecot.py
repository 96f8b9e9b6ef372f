"""Dovecot on loopback: POP3 and IMAP for one user, in plain text, with a log file of its own.

Debian's binaries as installed, 2.3 or 2.4 (their configuration languages differ), with a configuration
that has nothing in common with the machine's: own base directory, own users file, own ports. The
logging part is the snippet of dovecot/ itself.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from tests.servers.clients import PASSWORD, USER, pop3_login
from tests.servers.exim import TREE, replaced
from tests.servers.place import Place, Server, free_port, listens

BINARY = Path("/usr/sbin/dovecot")
TO_SYSLOG = "log_path = syslog\ninfo_log_path =\n"  # instead of its own file
MAIL_USER = "mail"

COMMON = """
base_dir = {root}/run
state_dir = {root}/state
protocols = imap pop3
listen = 127.0.0.1, ::1
ssl = no
first_valid_uid = 1
auth_failure_delay = 1 secs
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service pop3-login {{
  inet_listener pop3 {{
    port = {pop3}
  }}
  inet_listener pop3s {{
    port = 0
  }}
}}
"""
V23 = """
disable_plaintext_auth = no
mail_location = maildir:{root}/mail/%u
passdb {{
  driver = passwd-file
  args = scheme=PLAIN {root}/users
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={root}/mail/%u
  override_fields = popauthd_session=%{{session}} popauthd_tls=%c
}}
"""
V24 = """
dovecot_config_version = {version}
dovecot_storage_version = {version}
auth_allow_cleartext = yes
mail_driver = maildir
mail_home = {root}/mail/%{{user}}
mail_path = ~/Maildir
mail_uid = mail
mail_gid = mail
passdb passwd-file {{
  passwd_file_path = {root}/users
  default_password_scheme = PLAIN
}}
userdb static {{
  fields {{
    uid = mail
    gid = mail
    home = {root}/mail/%{{user}}
    popauthd_session = %{{session}}
    popauthd_tls = %{{secured}}
  }}
}}
"""

TLS = {
    "2.3": "ssl = yes\nssl_cert = <{root}/cert.pem\nssl_key = <{root}/key.pem\n",
    "2.4": "ssl = yes\nssl_server_cert_file = {root}/cert.pem\nssl_server_key_file = {root}/key.pem\n",
}
# Users whose success is none: one that is passed on to a server that is not there, one that is not let in.
NO_LOGINS = {
    "2.3": """
passdb {
  driver = static
  username_filter = passed-on*
  args = proxy=y host=127.0.0.1 port=1 nopassword=y
}
passdb {
  driver = static
  username_filter = kept-out*
  args = nologin nopassword=y
}
auth_mechanisms = plain anonymous
""",
    "2.4": """
passdb passed-on {
  driver = static
  username_filter = passed-on*
  fields {
    proxy = yes
    host = 127.0.0.1
    port = 1
    nopassword = yes
  }
}
passdb kept-out {
  driver = static
  username_filter = kept-out*
  fields {
    nologin = yes
    nopassword = yes
  }
}
auth_mechanisms = plain anonymous
""",
}


def tls(place: Place) -> str:
    """The part of the configuration that offers TLS, with a certificate of its own."""
    request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
    subprocess.run(["openssl", *request.split()], cwd=place.root, check=True, capture_output=True)
    return TLS[branch()].format(root=place.root)


def version() -> str:
    """The installed Dovecot's version, as 2.3.19.1 or 2.4.1."""
    done = subprocess.run([BINARY, "--version"], capture_output=True, text=True, check=True)
    return done.stdout.split()[0].split("-")[0]


def branch() -> str:
    """The installed Dovecot's branch, 2.3 or 2.4, by which its snippets are named."""
    return "2.3" if version().startswith("2.3.") else "2.4"


class Dovecot:
    """A running Dovecot. `log` is the file with its logins, `pop3` and `imap` are ports by those names."""

    def __init__(self, place: Place, extra: str = "") -> None:
        self.place = place
        self.root = place.directory("dovecot")
        self.version = version()
        self.ports = {"pop3": free_port(), "imap": free_port()}
        for name in ("run", "state", "log"):
            place.directory(f"dovecot/{name}")
        place.directory("dovecot/mail", owner=MAIL_USER)
        users = self.root / "users"
        users.write_text(f"{USER}:{PASSWORD}\n")
        users.chmod(0o644)
        self.log = self.root / "log/info.log"
        text = COMMON + V23 if branch() == "2.3" else V24 + COMMON
        self.config = self.root / "dovecot.conf"
        self.config.write_text(
            text.format(root=self.root, version=self.version, **self.ports) + self._logging(branch()) + extra
        )
        self.server = self.start()

    def start(self) -> Server:
        """Start it, and wait until it accepts connections."""
        environment = {"PATH": os.environ.get("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")}
        server = self.place.start("dovecot.server", [BINARY, "-F", "-c", self.config], environment)
        server.wait_until(
            lambda: all(listens(at, port) for at in ("127.0.0.1", "::1") for port in self.ports.values()),
            "accept connections",
        )
        return server

    def logged_in(self) -> None:
        """Log in once, and wait until the log tells of it: Dovecot makes the log when it writes its first line."""
        assert pop3_login("127.0.0.1", self.ports["pop3"])
        told = (b"ogin: ", b"ogged in: ")
        self.server.wait_until(lambda: any(word in line for line in self.lines() for word in told), "log the login")

    def doveconf(self) -> Path:
        """A file with the output of `doveconf -n` for its configuration."""
        output = self.root / "doveconf.txt"
        with output.open("wb") as file:
            subprocess.run(["doveconf", "-n", "-c", self.config], stdout=file, check=True)
        output.chmod(0o644)
        return output

    def _logging(self, branch: str) -> str:
        text = (TREE / f"dovecot/popauthd-{branch}.conf").read_text()
        errors = f"log_path = {self.log.with_name('errors.log')}"
        paths = [("/var/log/dovecot-info.log", str(self.log)), ("# log_path = /var/log/dovecot.log", errors)]
        return replaced(text, paths)

    def lines(self) -> list[bytes]:
        """The whole lines of its log so far."""
        return self.log.read_bytes().split(b"\n")[:-1] if self.log.exists() else []
