"""Courier and Perdition on loopback, each in a jail: POP3 and IMAP for the clients' one user.

Debian's packages, unpacked by packaging/setup.sh and not installed, with configurations of their own.
`ports` is by "pop3" and "imap"; `jail.logged()` is what they said to syslog.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.servers.clients import USER
from tests.servers.exim import cache
from tests.servers.jail import Jail
from tests.servers.place import Place, free_port, listens, wait_for

CRYPTED = "$1$popauthd$YTt7rP2gL1eGvzx9gbQfZ/"  # `openssl passwd -1` of clients.PASSWORD


def tree(name: str) -> Path:
    """Where the packages of a server are unpacked."""
    return cache() / "servers" / name


def wait_until_listening(ports: dict[str, int]) -> None:
    """Until every port of a server takes connections."""
    wait_for(
        lambda: all(listens("127.0.0.1", port) for port in ports.values()), "the mail server to accept connections"
    )


AUTH = "/usr/lib/courier/courier-authlib"
LOGIN = "/usr/lib/courier/courier"
COURIER = {
    "pop3": ("pop3d", f"{LOGIN}/courierpop3login", f"{LOGIN}/courierpop3d"),
    "imap": ("imapd", f"{LOGIN}/imaplogin", "/usr/bin/imapd"),
}


class Courier:
    """Courier's pop3d and imapd behind its couriertcpd, with its authentication daemon and its userdb."""

    def __init__(self, place: Place) -> None:
        self.jail = jail = Jail(place, "courier", tree("courier"))
        self.ports = {"pop3": free_port(), "imap": free_port()}
        jail.add(f"{AUTH}/authdaemond", f"{AUTH}/makedatprog", "/usr/sbin/couriertcpd")
        jail.add("/usr/sbin/courierlogger", "/usr/lib/courier-authlib/libauthuserdb.so.0")
        for _, login, server in COURIER.values():
            jail.add(login, server)
        self._authentication()
        for name in ("cur", "new", "tmp"):
            (jail.root / "mail/joe/Maildir" / name).mkdir(parents=True)
        for path in (jail.root / "mail", *(jail.root / "mail").rglob("*")):
            shutil.chown(path, "mail", "mail")
        environment = {"IMAP_CAPABILITY": "IMAP4rev1", "IMAP_USELOCKS": "0", "IMAP_ENHANCEDIDLE": "0"}
        for protocol, (name, login, server) in COURIER.items():
            jail.start(
                "/usr/sbin/couriertcpd", "-address=127.0.0.1", "-nodnslookup", "-maxperip=40",
                "-stderrlogger=/usr/sbin/courierlogger", f"-stderrloggername={name}", str(self.ports[protocol]),
                login, server, "Maildir", environment=environment,
            )  # fmt: skip
        wait_until_listening(self.ports)

    def _authentication(self) -> None:
        jail = self.jail
        (jail.root / "run/courier/authdaemon").mkdir(parents=True)
        jail.write(
            "etc/courier/authdaemonrc",
            'authmodulelist="authuserdb"\nauthmodulelistorig="authuserdb"\ndaemons=1\n'
            'authdaemonvar=/run/courier/authdaemon\nDEBUG_LOGIN=0\nDEFAULTOPTIONS=""\n',
        )
        fields = "uid=8|gid=8|home=/mail/joe|mail=/mail/joe/Maildir"
        for name, record in (("userdb", fields), ("userdbshadow", f"systempw={CRYPTED}")):
            path = f"/etc/courier/{name}"
            jail.run(f"{AUTH}/makedatprog", "-", f"{path}.tmp", f"{path}.dat", text=f"{USER}\t{record}\n.\n".encode())
        jail.start(f"{AUTH}/authdaemond")
        wait_for((jail.root / "run/courier/authdaemon/socket").exists, "Courier's authentication daemon")


class Perdition:
    """Perdition's pop3 and imap4 proxies in front of another server on 127.0.0.1. backend: its ports."""

    def __init__(self, place: Place, backend: dict[str, int]) -> None:
        self.jail = jail = Jail(place, "perdition", tree("perdition"))
        self.ports = {"pop3": free_port(), "imap": free_port()}
        jail.write("etc/perdition/perdition.conf", "")
        for protocol, program in (("pop3", "perdition.pop3"), ("imap", "perdition.imap4")):
            jail.add(f"/usr/sbin/{program}")
            jail.start(
                f"/usr/sbin/{program}", "--no_daemon", "--bind_address", "127.0.0.1", "--pid_file", "",
                "--listen_port", str(self.ports[protocol]), "--outgoing_server", f"127.0.0.1:{backend[protocol]}",
                "--ssl_mode", "none", "--no_lookup", "--map_library", "", "--username", "nobody", "--group", "nogroup",
            )  # fmt: skip
        wait_until_listening(self.ports)
