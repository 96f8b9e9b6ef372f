"""How much later a POP3 login is with each push source, and whether its grant is there when the client has read
`+OK`: python3 -m tests.bench.bench_push [--runs N] [--json FILE]

Real Dovecots side by side, one for each row, asked in turn, so that what else the machine does hits all alike.
Medians, the ratio to a Dovecot that tells nobody, and in how many logins the relay map knew the address at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import statistics
import time

from popauthd.store.relay_map import MapReader
from tests.bench.table import Row, arguments, show
from tests.servers.clients import PASSWORD, USER
from tests.servers.dovecot import Dovecot
from tests.servers.place import Place, Server, free_port, wait_for
from tests.servers.popauthd import Popauthd
from tests.servers.pushes import auth_policy, listening, post_login, secret_file

STATES = ("running", "not there", "stopped")


class Site:
    """One Dovecot, and the popauthd it tells, in one of STATES."""

    def __init__(self, place: Place, way: str, state: str) -> None:
        self.name = f"{way}, popauthd {state}" if way else "nobody told"
        self.times: list[float] = []
        self.at_once = 0
        self.reader: MapReader | None = None
        self.watcher: Server | None = None
        extra, settings = "", ""
        if way == "post-login":
            extra = post_login(place, place.root / "run/push.sock")
            settings = 'post_login = true\npush_users = ["dovecot"]\n'
        elif way:
            port = free_port()
            extra = auth_policy(place, port)
            settings = f'auth_policy_listen = "127.0.0.1:{port}"\nauth_policy_secret_file = "{secret_file(place)}"\n'
        self.port = Dovecot(place, extra).ports["pop3"]
        if way and state != "not there":
            popauthd = Popauthd(place, None, settings=settings)
            self.watcher = popauthd.start("watch")["watch"]
            wait_for(lambda: listening(extra), "popauthd to listen")
            self.reader = MapReader(str(popauthd.map))
        if self.watcher is not None and state == "stopped":
            self.watcher.signal_group(signal.SIGSTOP)

    def login(self, client: str) -> None:
        """Log in once and note how long the password took to be answered."""
        with socket.create_connection(("127.0.0.1", self.port), 20, (client, 0)) as connection:
            connection.recv(1000)
            connection.sendall(f"USER {USER}\r\n".encode())
            connection.recv(1000)
            begin = time.perf_counter()
            connection.sendall(f"PASS {PASSWORD}\r\n".encode())
            reply = connection.recv(1000)
            self.times.append(time.perf_counter() - begin)
            assert reply.startswith(b"+OK"), reply
            self.at_once += self.reader is not None and self.reader.expiry(client) is not None
            connection.sendall(b"QUIT\r\n")
            connection.recv(1000)


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=100)
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        kinds = [("", ""), *((way, state) for way in ("post-login", "auth-policy") for state in STATES)]
        sites = [Site(stack.enter_context(Place()), way, state) for way, state in kinds]
        for number in range(options.runs):
            for site in sites:
                site.login(f"127.1.{number >> 8}.{number & 255}")
        for site in sites:
            if site.watcher is not None:
                os.killpg(site.watcher.pid, signal.SIGCONT)
    floor = statistics.median(sites[0].times)
    rows: list[Row] = [
        {
            "told": site.name,
            "ms": round(statistics.median(site.times) * 1000, 2),
            "of the yardstick": round(statistics.median(site.times) / floor, 2),
            "worst ms": round(max(site.times) * 1000, 1),
            "known at once": site.at_once if site.name.endswith("running") else "",
        }
        for site in sites
    ]
    show("push", rows, options, runs=options.runs)


if __name__ == "__main__":
    main()
