"""Lookups a second of the responder, beside a blocking accept loop with the same LMDB get.

    python3 -m tests.bench.bench_lookups [--entries N] [--clients N] [--seconds S] [--rounds N] [--lines N]
        [--beside NAME]... [--json FILE]

Each client process connects, asks for one address and closes, again and again. The yardstick is a loop in Python that
accepts, reads, looks into the same map and answers, without any check. Each round measures the yardstick, the
responder and the yardstick again; the table has the medians of the ratios. Conditions: alone; beside 480 clients whose
"no" is held; beside 2,000 clients that connect and say nothing; and while the watcher catches up a log of --lines
lines, on its own map, whose answers are yes or no. On a busy machine the ratio of the processor times is the one to
read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from popauthd.control_client import ask_status
from tests.bench.generate import DOVECOT_FILE, Recipe, make
from tests.bench.table import Row, arguments, show
from tests.bench.usage import TICKS, cpu_seconds
from tests.support.daemons import Installation
from tests.support.helpers import ROOT, answers, eventually

FAR = 4_000_000_000
Results: TypeAlias = "multiprocessing.SimpleQueue[list[float]]"
YARDSTICK = """
import socket, sys, lmdb
env = lmdb.open(sys.argv[1], subdir=False, readonly=True, lock=False, map_size=1 << 30)
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[2])
listener.listen(512)
while True:
    connection, _ = listener.accept()
    key = connection.recv(128)[:-1]
    if not key:
        continue
    with env.begin() as txn:
        found = txn.get(key)
    connection.send(b"yes" if found else b"no", socket.MSG_NOSIGNAL)
    connection.close()
"""
FILL = """
import ipaddress, sys
from popauthd.store.relay_map import MapWriter
from tests.support.helpers import in_blocks
first = int(ipaddress.ip_address("10.0.0.0"))
entries = {str(ipaddress.ip_address(first + number)): 4_000_000_000 for number in range(int(sys.argv[2]))}
writer = MapWriter(sys.argv[1])
writer.replace(in_blocks(entries))
writer.close()
"""


def address(number: int) -> str:
    """The address of an entry of the map."""
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


@dataclass(frozen=True, slots=True)
class Asking:
    """What the clients ask, how many they are and for how long; `any_answer` is right, or only a yes."""

    addresses: Sequence[str]
    clients: int
    seconds: float
    any_answer: bool = False


def ask_for(asking: Asking, path: str, seed: int, results: Results) -> None:
    """Ask one question a connection until the time is over, but twice at least; gives how long each took."""
    dice = random.Random(seed)
    took: list[float] = []
    until = time.perf_counter() + asking.seconds
    while (began := time.perf_counter()) < until or len(took) < 2:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(path)
            connection.sendall(dice.choice(asking.addresses).encode() + b"\n")
            answer = connection.recv(16)
            assert answer == b"yes" or (asking.any_answer and answer == b"no"), answer
        took.append(time.perf_counter() - began)
    results.put(took)


def measured(path: Path, pid: int, asking: Asking) -> tuple[list[float], float]:
    """How long each answer took, of all clients together, and the processor time of the server for one."""
    results: Results = multiprocessing.SimpleQueue()
    clients = [
        multiprocessing.Process(target=ask_for, args=(asking, str(path), seed, results))
        for seed in range(asking.clients)
    ]
    began = cpu_seconds(pid)
    for client in clients:
        client.start()
    took = [one for _ in clients for one in results.get()]
    for client in clients:
        client.join()
    return took, max(cpu_seconds(pid) - began, 1 / TICKS) / len(took)


@contextmanager
def serving(command: list[str], path: Path) -> Iterator[int]:
    """A server process that answers on a socket; gives its pid."""
    with subprocess.Popen(command, cwd=ROOT) as process:
        try:
            eventually(lambda: answers(path), f"{path} answers")
            yield process.pid
        finally:
            process.kill()
    path.unlink(missing_ok=True)


@contextmanager
def silent(path: Path, number: int, question: bytes) -> Iterator[None]:
    """Clients that have connected, ask so much, and wait."""
    with ExitStack() as stack:
        for _ in range(number):
            connection = stack.enter_context(socket.socket(socket.AF_UNIX))
            connection.connect(str(path))
            connection.sendall(question)
        yield


class Site:
    """The map and the yardstick, and a responder in one of the CONDITIONS."""

    def __init__(self, directory: Path, options: argparse.Namespace) -> None:
        self.directory = directory
        self.lines = options.lines
        self.early = False
        self.asking = Asking(range_of(options.entries), options.clients, options.seconds)
        self.map = directory / "relay.mdb"
        subprocess.run([sys.executable, "-c", FILL, str(self.map), str(options.entries)], check=True, cwd=ROOT)

    def yardstick(self) -> tuple[list[float], float]:
        """The yardstick, measured alone."""
        path = self.directory / "yardstick.sock"
        with serving([sys.executable, "-c", YARDSTICK, str(self.map), str(path)], path) as pid:
            return measured(path, pid, self.asking)

    @contextmanager
    def responder(self, hold_no: str = "0ms") -> Iterator[tuple[Path, int]]:
        """The responder on the map; gives its socket and its pid."""
        config, path = self.directory / "popauthd.toml", self.directory / "lookup.sock"
        config.write_text(
            f'run_dir = "{self.directory}"\nstate_dir = "{self.directory}"\nhold_no = "{hold_no}"\ngroup = "root"\n'
        )
        with serving([sys.executable, "-m", "popauthd", "--config", str(config), "respond"], path) as pid:
            yield path, pid

    def nobody(self) -> tuple[list[float], float]:
        """Alone."""
        with self.responder() as (path, pid):
            return measured(path, pid, self.asking)

    def held_noes(self) -> tuple[list[float], float]:
        """Beside clients whose "no" is held."""
        with self.responder("1500ms") as (path, pid), silent(path, 480, b"192.0.2.1\n"):
            return measured(path, pid, self.asking)

    def silent(self) -> tuple[list[float], float]:
        """Beside clients that say nothing."""
        with self.responder() as (path, pid), silent(path, 2000, b""):
            return measured(path, pid, self.asking)

    def catching_up(self) -> tuple[list[float], float]:
        """While the watcher reads a log; `early` tells that it was done before the clients were."""
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            installation = Installation(Path(name), 'hold_no = "0ms"\ngroup = "root"')
            truth = make(Recipe(lines=self.lines, framing=DOVECOT_FILE), installation.log)
            asking = replace(self.asking, addresses=[one for one, _user in truth.logins], any_answer=True)
            try:
                responder = installation.start("respond")
                installation.start("watch")
                installation.ready()
                found = measured(installation.run_dir / "lookup.sock", responder.pid, asking)
                read = ask_status(str(installation.run_dir / "control.sock")).today.get("lines", 0)
                self.early = read >= self.lines
            finally:
                installation.close()
        return found


CONDITIONS = {
    "nobody": Site.nobody,
    "480 held noes": Site.held_noes,
    "2,000 silent": Site.silent,
    "a watcher that catches up": Site.catching_up,
}


def range_of(entries: int) -> Sequence[str]:
    """The addresses of the map."""
    return [address(number) for number in range(entries)]


def p99(took: list[float]) -> float:
    """The time within which 99 of 100 were answered."""
    return statistics.quantiles(took, n=100)[98]


def compared(site: Site, beside: str, rounds: int) -> Row:
    """One row: the responder in one condition, against the yardstick alone."""
    ratios, of_cpu, slowest, its_slowest, used, rate = [], [], [], [], [], []
    for _ in range(rounds):
        before = site.yardstick()
        took, cpu = CONDITIONS[beside](site)
        after = site.yardstick()
        ratios.append(2 * len(took) / (len(before[0]) + len(after[0])))
        of_cpu.append((before[1] + after[1]) / 2 / cpu)
        slowest.append(p99(took))
        its_slowest.append(p99(before[0] + after[0]))
        used.append(cpu)
        rate.append(len(took) / site.asking.seconds)
    return {
        "beside": f"{beside}, done early: more --lines" if site.early else beside,
        "of the yardstick": statistics.median(ratios),
        "by CPU": statistics.median(of_cpu),
        "p99 ms": 1000 * statistics.median(slowest),
        "yardstick p99 ms": 1000 * statistics.median(its_slowest),
        "CPU us a lookup": 1e6 * statistics.median(used),
        "lookups/s": round(statistics.median(rate)),
    }


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lines", type=int, default=5_000_000)
    parser.add_argument("--beside", choices=CONDITIONS, action="append")
    options = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_NOFILE, (8192, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    with tempfile.TemporaryDirectory() as name:
        site = Site(Path(name), options)
        rows = [compared(site, beside, options.rounds) for beside in options.beside or CONDITIONS]
    show("lookups", rows, options, entries=options.entries, clients=options.clients)


if __name__ == "__main__":
    main()
