"""How many logins a second the watcher keeps up with: the rate rises until the p99 of line -> yes passes 50 ms.

    python3 -m tests.bench.bench_sustained [--first RATE] [--factor F] [--seconds S] [--most RATE] [--json FILE]

A writer appends to Dovecot's own file, a write a line as Dovecot does: a login of one of 200,000 clients, and a second
later the end of its session. Every 10 ms one login is of an address that never came before, and another process looks
into the relay map until it is there. Each rate lasts S seconds, on the same watcher, with held sessions and host list.
A rate is kept if the p99 is at most 50 ms and the writer could write that many. The yardstick of the same run is the
writer's own processor time a login: it does nothing but make and write two lines.
"""

from __future__ import annotations

import collections
import contextlib
import functools
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from popauthd.store.relay_map import MapReader
from tests.bench.table import Row, arguments, show
from tests.bench.usage import anonymous_kib, cpu_seconds
from tests.support.daemons import Installation

LIMIT = 0.050
EVERY = 0.010  # of the logins that are looked for
TICK = 0.001  # lines that are due are written so often
CLIENTS = 200_000
ENDS_AFTER = 1.0
LOST = 20.0  # seconds
PER_RUN = 100_000  # addresses that are looked for
ENOUGH = 0.95  # of the rate that was asked for
IN_MEMORY = "/dev/shm"  # a file system as /run is, where run_dir belongs


class Login(NamedTuple):
    """A login that was looked for. at: when it was written, by the clock of perf_counter; took: seconds until it
    was in the map.
    """

    at: float
    took: float


def login(stamp: str, number: int, address: str, session: str) -> bytes:
    """A login as Dovecot 2.3 writes it into its own file."""
    return (
        f"{stamp} imap-login: Info: Login: user=<user{number % CLIENTS}@example.org>, method=PLAIN, rip={address}, "
        f"lip=198.51.100.5, mpid=4242, TLS, session=<{session}>\n"
    ).encode()


def end(stamp: str, number: int, session: str) -> bytes:
    """The end of its session."""
    return (
        f"{stamp} imap(user{number % CLIENTS}@example.org)<4242><{session}>: Info: "
        "Disconnected: Logged out in=815 out=4711 deleted=0 expunged=0 trashed=0\n"
    ).encode()


def address(network: int, number: int) -> str:
    """The address of that number in an old class A network."""
    return f"{network}.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def opened(log: str) -> Callable[[bytes], object]:
    """What appends a line to a log."""
    return functools.partial(os.write, os.open(log, os.O_WRONLY | os.O_APPEND))


def write(
    rate: int, seconds: float, log: str, run: int, told: Connection, opener: Callable[[str], Callable[[bytes], object]]
) -> None:
    """Write at that rate; tells (address, when) of each login that is to be looked for, and (how many, CPU) at last.

    run: which of the runs this is: each looks for addresses of its own. opener: gives what appends a line.
    """
    append = opener(log)
    looked_for, written, ended, next_one = run * PER_RUN, 0, 0, 0.0
    enough = looked_for + 2  # for percentiles, however the machine stalls
    cpu, began = time.process_time(), time.perf_counter()
    while (passed := time.perf_counter() - began) < seconds or looked_for < enough:
        stamp = time.strftime("%b %d %H:%M:%S")
        while written < passed * rate:
            session = f"{run:03d}/{written:09d}"
            if passed < next_one:
                append(login(stamp, written, address(10, written % CLIENTS), session))
            else:
                looked_for, next_one = looked_for + 1, passed + EVERY
                told.send((address(100, looked_for), time.perf_counter()))
                append(login(stamp, written, address(100, looked_for), session))
            written += 1
        while ended < (passed - ENDS_AFTER) * rate:
            append(end(stamp, ended, f"{run:03d}/{ended:09d}"))
            ended += 1
        time.sleep(TICK)
    told.send((written, time.process_time() - cpu))


def looked_for(reader: MapReader, told: Connection) -> tuple[dict[str, Login], int, float]:
    """The logins that were looked for; how many were written, and the writer's processor time."""
    waiting: collections.deque[tuple[str, float]] = collections.deque()
    found: dict[str, Login] = {}
    over: tuple[int, float] | None = None
    while over is None or waiting:
        while over is None and told.poll():
            first, second = told.recv()
            if isinstance(first, str):
                waiting.append((first, second))
            else:
                over = first, second
        # The log is read in order: what was written first is there first.
        while waiting and reader.expiry(waiting[0][0]) is not None:
            one, at = waiting.popleft()
            found[one] = Login(at, time.perf_counter() - at)
        if waiting and time.perf_counter() - waiting[0][1] > LOST:
            found.update((one, Login(at, LOST)) for one, at in waiting)  # it has fallen far behind
            waiting.clear()
        time.sleep(0.0005)
    return found, *over


def cuts(seconds: Iterable[float]) -> list[float]:
    """The percentiles in milliseconds; the one of number 49 is the median."""
    return statistics.quantiles([1000 * one for one in seconds], n=100, method="inclusive")


@contextlib.contextmanager
def installed(settings: Callable[[Path], str] | None = None) -> Iterator[tuple[Installation, int]]:
    """Watcher and responder at work, with held sessions and run_dir in memory; and the watcher's process.

    settings: gives more of the configuration, for the directory that all lies in.
    """
    with tempfile.TemporaryDirectory() as name, tempfile.TemporaryDirectory(dir=IN_MEMORY) as run_dir:
        directory = Path(name)
        installation = Installation(
            directory, "hold_sessions = true\n" + (settings(directory) if settings else ""), Path(run_dir)
        )
        try:
            watcher = installation.start("watch").pid
            installation.start("respond")
            installation.ready()
            yield installation, watcher
        finally:
            installation.close()


def kept(row: Row) -> bool:
    """Whether a rate is kept up with."""
    return float(row["p99 ms"]) <= LIMIT * 1000 and float(row["written/s"]) >= ENOUGH * float(row["logins/s"])


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--first", type=int, default=1000, help="the first rate")
    parser.add_argument("--factor", type=float, default=1.5)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rate")
    parser.add_argument("--most", type=int, default=100_000)
    options = parser.parse_args()
    rows: list[Row] = []
    with installed() as (installation, watcher):
        reader = MapReader(f"{installation.run_dir}/relay.mdb")
        rate = float(options.first)
        while rate <= options.most and (not rows or kept(rows[-1])):
            mine, theirs = multiprocessing.Pipe(duplex=False)
            writer = multiprocessing.Process(
                target=write, args=(round(rate), options.seconds, str(installation.log), len(rows), theirs, opened)
            )
            before = cpu_seconds(watcher)
            writer.start()
            found, written, own = looked_for(reader, mine)
            writer.join()
            percentiles = cuts(one.took for one in found.values())
            rows.append(
                {
                    "logins/s": round(rate),
                    "written/s": round(written / options.seconds),
                    "p50 ms": round(percentiles[49], 2),
                    "p99 ms": round(percentiles[98], 2),
                    "watcher, CPU us a login": round((cpu_seconds(watcher) - before) / written * 1e6, 1),
                    "writer (yardstick)": round(own / written * 1e6, 1),
                    "anonymous MiB": round(anonymous_kib(watcher) / 1024, 1),
                }
            )
            rate *= options.factor
        reader.close()
    sustained = max((int(row["logins/s"]) for row in rows if kept(row)), default=0)
    show("sustained", rows, options, seconds=options.seconds, sustained=sustained)
    print(f"sustained with p99 within {LIMIT * 1000:.0f} ms: {sustained} logins/s")


if __name__ == "__main__":
    main()
