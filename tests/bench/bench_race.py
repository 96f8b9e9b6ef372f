"""Login, then RCPT at once: how many clients are refused, and from when on they would not be.

    python3 -m tests.bench.bench_race [--tries N] [--source NAME]... [--busy N]... [--way NAME]... [--json FILE]
        [--catch-up-lines N]

A real Dovecot, the real popauthd and a real Exim (light) for each way to ask. A client logs in by POP3 and asks for a
recipient as soon as it has read `+OK`: on a connection that is open already (EHLO and MAIL are said), or on a new one.
Each try has an address of its own. Ways and connections take turns, so whatever else the machine does hits all alike.
Beside so many busy processes; popauthd learns of logins from Dovecot's file, from the journal (a journald of our own),
or by the post-login script; the last also while it catches up a log (--catch-up-lines), for as long as that takes.

The yardsticks are the first rows: a naive watcher, which reads the log every 100 ms and writes the host list anew; and
RCPT of an address that was granted long before. "yes after" counts from `+OK`: until the accepting reply, or, where the
client was refused, until the map or the list has its address. Ctrl-C ends it with the table so far.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from popauthd.control_client import ask_status
from popauthd.store.relay_map import MapReader
from tests.bench.bench_sustained import IN_MEMORY
from tests.bench.generate import Recipe, make
from tests.bench.table import Row, arguments, show
from tests.servers.clients import PASSWORD, SENDER, USER, ask_rcpt, smtp
from tests.servers.dovecot import TO_SYSLOG, Dovecot
from tests.servers.exim import REMOTE, WAYS, Exim
from tests.servers.place import Place, wait_for
from tests.servers.popauthd import Popauthd
from tests.servers.pushes import listening, post_login
from tests.support.journals import Inside, Journald

POST_LOGIN, CATCHING_UP, NAIVE = "post-login", "post-login, catching up", "naive watcher"
SOURCES = ("file", "journal", POST_LOGIN, CATCHING_UP)
CONNECTIONS = ("open", "new")
YARDSTICK_TRIES = 100
LATEST = 10.0  # seconds; a login that is not granted then never is
BUSY = "while True: pass"
PUSHED = 'post_login = true\npush_users = ["dovecot"]\n'
NAIVE_WATCHER = """
import os, re, sys, time
log, listed = sys.argv[1:]
place, entries = 0, {}
while True:
    text = b""
    if os.path.exists(log):
        with open(log, "rb") as file:
            file.seek(place)
            text = file.read()
            place += len(text)
    found = re.findall(rb" Login: user=<[^<>]*>, method=[A-Z0-9-]*, rip=([0-9.]+),", text)
    entries.update((address.decode(), int(time.time()) + 900) for address in found)
    if found or not os.path.exists(listed):
        with open(listed + ".new", "w") as file:
            file.writelines(f"{address}: {expiry}\\n" for address, expiry in entries.items())
        os.rename(listed + ".new", listed)
    time.sleep(0.1)
"""


@dataclass(slots=True)
class Cell:
    """What came of the tries of one kind. after: seconds from `+OK` to yes."""

    refused: int = 0
    after: list[float] = field(default_factory=list)


class Site:
    """A mail server as its users meet it; popauthd, or the naive watcher, learns of logins from `source`."""

    def __init__(self, place: Place, source: str, ways: list[str], catch_up_lines: int, run_dir: Path) -> None:
        self.lines = catch_up_lines if source == CATCHING_UP else 0
        pushed = post_login(place, run_dir / "push.sock") if source in (POST_LOGIN, CATCHING_UP) else ""
        journal = Journald(place).journal if isinstance(place, Inside) else None
        dovecot = Dovecot(place, TO_SYSLOG if journal else pushed)
        self.pop3 = dovecot.ports["pop3"]
        self.popauthd = Popauthd(place, None, settings=PUSHED if pushed else "", run_dir=run_dir)
        if source == NAIVE:
            run_dir.mkdir()
            place.start("naive", [sys.executable, "-c", NAIVE_WATCHER, dovecot.log, self.popauthd.host_list])
            wait_for(self.popauthd.host_list.exists, "the naive watcher's list")
        else:
            log = place.root / "mail.log"
            if self.lines:
                make(Recipe(lines=self.lines), log)
            follows = {
                "file": f'[[source]]\npath = "{dovecot.log}"\n',
                "journal": f'[[source]]\ntype = "journal"\npath = "{journal}"\n',
                CATCHING_UP: f'[[source]]\npath = "{log}"\nframing = "syslog"\n',
            }
            with self.popauthd.config.open("a", encoding="utf-8") as file:
                file.write(follows.get(source, ""))
            self.popauthd.start("watch", "respond")
        if pushed:
            wait_for(lambda: listening(pushed), "popauthd to listen")
        self.exims = {way: Exim(place, "light", way, self.popauthd.run_dir) for way in ways}
        for exim in self.exims.values():  # the first connection of all is slow
            assert ask_rcpt("127.0.0.3", exim.port, REMOTE).refused
        self.map = None if source == NAIVE else MapReader(str(self.popauthd.map))

    def caught_up(self) -> bool:
        """Whether the log is read."""
        status = ask_status(str(self.popauthd.run_dir / "control.sock"))
        return status.today.get("lines", 0) >= self.lines

    def knows(self, way: str, client: str) -> bool:
        """Whether the next question would be answered with yes."""
        if way == "hostlist" or self.map is None:
            return self.popauthd.listed(client)
        return self.map.expiry(client) is not None

    def close(self) -> None:
        """Close the map."""
        if self.map is not None:
            self.map.close()


@contextlib.contextmanager
def site(source: str, ways: list[str], catch_up_lines: int) -> Iterator[Site]:
    """A site, gone at the end."""
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(Inside() if source == "journal" else Place())
        run_dir = place.root / "run"
        if not isinstance(place, Inside):  # whose /dev is another one
            in_memory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=IN_MEMORY)))
            in_memory.chmod(0o755)  # Exim is another user
            run_dir = in_memory / "run"
        yield stack.enter_context(contextlib.closing(Site(place, source, ways, catch_up_lines, run_dir)))


@contextlib.contextmanager
def busy(number: int) -> Iterator[None]:
    """So many processes that do nothing but use the processor."""
    others = [subprocess.Popen([sys.executable, "-c", BUSY]) for _ in range(number)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


@contextlib.contextmanager
def logged_in(client: str, port: int) -> Iterator[None]:
    """Log in by POP3, as somebody who has read `+OK` and stays connected."""
    with socket.create_connection(("127.0.0.1", port), 60, (client, 0)) as connection:
        for line in ("", f"USER {USER}\r\n", f"PASS {PASSWORD}\r\n"):
            connection.sendall(line.encode())
            reply = connection.recv(1000)
            assert reply.startswith(b"+OK"), reply
        yield
        connection.sendall(b"QUIT\r\n")
        connection.recv(1000)


def once(where: Site, way: str, connection: str, client: str, cell: Cell) -> None:
    """One try."""
    port = where.exims[way].port
    session = smtp(client, port) if connection == "open" else None
    if session is not None:
        session.mail(SENDER)
    with logged_in(client, where.pop3):
        began = time.perf_counter()
        if session is None:
            session = smtp(client, port)
            session.mail(SENDER)
        code, _text = session.rcpt(REMOTE)
        if code != 250:
            assert code == 550, code
            cell.refused += 1
            wait_for(lambda: where.knows(way, client), f"the grant of {client}", LATEST)
        cell.after.append(time.perf_counter() - began)
    session.close()


def addresses() -> Iterator[str]:
    """Loopback addresses of which none comes twice."""
    return (f"127.{one >> 16}.{one >> 8 & 255}.{one & 255}" for one in itertools.count(1 << 16))


def granted_before(where: Site, ways: list[str], tries: int) -> list[Row]:
    """RCPT on a new connection from an address that was granted before, for each way."""
    client = "127.0.0.2"
    with logged_in(client, where.pop3):
        wait_for(lambda: where.popauthd.settled(client, True), "the grant")
    rows = []
    for way in ways:
        cell = Cell()
        for _ in range(tries):
            began = time.perf_counter()
            cell.refused += not ask_rcpt(client, where.exims[way].port, REMOTE).accepted
            cell.after.append(time.perf_counter() - began)
        rows.append({"source": "granted before", "beside": 0, "way": way, "connection": "new", **figures(cell)})
    return rows


def figures(cell: Cell) -> Row:
    """The figures of a cell."""
    cuts = statistics.quantiles(cell.after, n=100, method="inclusive") if len(cell.after) > 1 else cell.after * 99
    return {
        "refused": cell.refused,
        "of": len(cell.after),
        "yes after ms, p50": round(cuts[49] * 1000, 2),
        "p99": round(cuts[98] * 1000, 2),
        "worst": round(max(cell.after) * 1000, 2),
    }


def race(
    rows: list[Row], where: Site, source: str, beside: int, ways: list[str], tries: int, clients: Iterator[str]
) -> None:
    """Add the rows of one source beside so many busy processes; a run that is stopped adds what there is so far.

    While a log is caught up there are as many tries as that takes.
    """
    cells = {kind: Cell() for kind in itertools.product(ways, CONNECTIONS)}
    try:
        with busy(beside):
            for number in itertools.count():
                if where.caught_up() if where.lines else number >= tries:
                    break
                for (way, connection), cell in cells.items():
                    once(where, way, connection, next(clients), cell)
    finally:
        rows += [
            {"source": source, "beside": beside, "way": way, "connection": connection, **figures(cell)}
            for (way, connection), cell in cells.items()
            if cell.after
        ]


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--tries", type=int, default=10_000, help="of each way and connection")
    parser.add_argument("--source", choices=SOURCES, action="append")
    parser.add_argument("--busy", type=int, action="append", help="so many busy processes beside (0, 4 and 16)")
    parser.add_argument("--way", choices=WAYS, action="append")
    parser.add_argument("--catch-up-lines", type=int, default=Recipe().lines)
    options = parser.parse_args()
    ways = options.way or list(WAYS)
    few = min(options.tries, YARDSTICK_TRIES)
    rows: list[Row] = []
    try:
        with site(NAIVE, ["hostlist"], 0) as where:
            race(rows, where, NAIVE, 0, ["hostlist"], few, addresses())
        for number, source in enumerate(options.source or SOURCES):
            with site(source, ways, options.catch_up_lines) as where:
                if not number:
                    rows += granted_before(where, ways, few)
                clients = addresses()
                # What is caught up is caught up once.
                for beside in [0] if where.lines else options.busy or [0, 4, 16]:
                    race(rows, where, source, beside, ways, options.tries, clients)
    except KeyboardInterrupt:  # 10,000 tries of all take hours
        print("stopped")
    show("race", rows, options, tries=options.tries, catch_up_lines=options.catch_up_lines)


if __name__ == "__main__":
    main()
