"""What a host list costs: to write it, and to see a login in it, with many addresses.

    python3 -m tests.bench.bench_host_list [--addresses N] [--logins N] [--json FILE]

`written`: the processor time of writing the list of N addresses from the books, beside that of writing the same bytes.
`login -> list`: from a line written to the log until the list has its address; each login comes when nothing was
written for longer than a list of this length must wait. `login -> map`, beside it, is the relay map.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from popauthd.config import load
from popauthd.store import host_list
from popauthd.store.books import Books
from popauthd.store.relay_map import MapReader
from popauthd.watch.assembly import rules
from tests.bench.bench_revoke import fill
from tests.bench.table import Row, arguments, show
from tests.support.daemons import Installation, login_line
from tests.support.helpers import answers, eventually

TIMES = 5


def cpu(work: Callable[[], object]) -> float:
    """The median processor time of some runs, in milliseconds."""
    times = []
    for _ in range(TIMES):
        began = time.process_time()
        work()
        times.append(1000 * (time.process_time() - began))
    return statistics.median(times)


def writing(books: Books, path: Path) -> list[Row]:
    """Writing the list, and the same bytes."""
    with books.reading() as reading:
        listed = cpu(lambda: host_list.write(str(path), reading.published.host_list()))
    data = path.read_bytes()
    plain = cpu(lambda: path.write_bytes(data))
    return [
        {"what": "list written", "CPU ms": listed, "x": listed / plain},
        {"what": "the same bytes", "CPU ms": plain, "x": 1.0},
    ]


def seconds_until(true: Callable[[], bool]) -> float:
    """How long it takes until something is true."""
    began = time.perf_counter()
    eventually(true, "it is visible", pause=0.0005)
    return time.perf_counter() - began


def seen(installation: Installation, logins: int, pause: float) -> list[Row]:
    """How long it takes until a login is in the list, and in the map."""
    listed, mapped = [], []
    path, reader = installation.run_dir / "relay-hosts", MapReader(str(installation.run_dir / "relay.mdb"))
    for number in range(2 * logins):
        time.sleep(pause)
        client = f"192.0.2.{number}"
        installation.write(login_line(client))
        if number % 2:
            listed.append(seconds_until(lambda client=client: client.encode() in path.read_bytes()))  # type: ignore[misc]
        else:
            mapped.append(seconds_until(lambda client=client: reader.expiry(client) is not None))  # type: ignore[misc]
    reader.close()
    return [
        {"what": f"login -> {name}", "p50 ms": 1000 * statistics.median(times), "most ms": 1000 * max(times)}
        for name, times in (("list", listed), ("map", mapped))
    ]


def main(options: argparse.Namespace) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        installation = Installation(Path(directory), 'lifetime = "7d"\nhost_list = true')
        settings = load(str(installation.config))
        Path(settings.state_dir).mkdir()
        books = Books(settings.books_path, rules(settings))
        fill(books, options.addresses)
        rows = writing(books, Path(directory, "list"))
        books.close()
        installation.start("watch")
        eventually(lambda: answers(installation.run_dir / "control.sock"), "the watcher answers", 300)
        took = float(rows[0]["CPU ms"]) / 1000
        rows += seen(installation, options.logins, max(host_list.LONG_SECONDS, 2 * host_list.DUTY * took) + 0.2)
        installation.close()
    show("host_list", rows, options, addresses=options.addresses)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--addresses", type=int, default=100_000)
    parser.add_argument("--logins", type=int, default=20)
    main(parser.parse_args())
