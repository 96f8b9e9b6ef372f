"""From a line written to visible in the relay map, one line at a time or many a second, and what the watcher uses.

    python3 -m tests.bench.bench_visible [--source NAME]... [--rate N]... [--seconds S] [--json FILE]

A writer appends logins and session ends at each rate, to Dovecot's own file, a write a line; or it hands them to
systemd-journal-remote, which appends records to a journal file as journald does. Another process looks into the map
until the address of a login is there, for one of them every 10 ms. Rate 0: nobody logs in. Sessions are held, and the
host list is written. Read the processor time and the wakings where the machine does something else too.

The yardstick of the same run is a process that waits by inotify alone, or in sd_journal_wait, and finds the address.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import select
import subprocess
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

from popauthd.sources.journal.reader import library
from popauthd.store.relay_map import MapReader
from tests.bench.bench_sustained import cuts, installed, looked_for, opened, write
from tests.bench.table import Row, arguments, show
from tests.bench.usage import cpu_seconds
from tests.support.helpers import eventually
from tests.support.journals import REMOTE, record

RATES = (0, 1, 1000, 5000)
JOURNAL = "journal/remote.journal"
LOOKED_FOR = re.compile(rb"rip=(100\.[0-9.]+)")
IN_MODIFY = 2  # inotify(7)
HEARD_SECONDS = 0.1  # how often the yardstick looks whether it is over

Append = Callable[[bytes], object]


def to_journal(path: str) -> Append:
    """What appends a line to a journal file, as a record of Dovecot's."""
    command = [REMOTE, "-o", path, "--split-mode=none", "-"]
    remote = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert remote.stdin is not None
    pipe = remote.stdin.fileno()

    def append(line: bytes) -> None:
        message = line[len("Nov 23 21:00:00 ") :].rstrip().replace(b": Info: ", b": ", 1)
        os.write(pipe, record(time.time(), message))

    return append


def by_inotify(path: str) -> Callable[[], bytes]:
    """What waits for a write to a file, and returns what was written."""
    libc = ctypes.CDLL(None)
    descriptor = libc.inotify_init1(os.O_NONBLOCK)
    assert libc.inotify_add_watch(descriptor, path.encode(), IN_MODIFY) >= 0
    log = os.open(path, os.O_RDONLY)
    os.lseek(log, 0, os.SEEK_END)

    def heard() -> bytes:
        if select.select([descriptor], [], [], HEARD_SECONDS)[0]:
            os.read(descriptor, 65536)
        return os.read(log, 1 << 20)

    return heard


def by_journal(path: str) -> Callable[[], bytes]:
    """The same for a journal file."""
    reader = library().Reader(path=str(Path(path).parent), converters={"MESSAGE": bytes})
    reader.seek_realtime(time.time())

    def heard() -> bytes:
        reader.wait(HEARD_SECONDS)
        messages = []
        while found := reader.get_next():
            messages.append(bytes(found["MESSAGE"]))
        return b"\n".join(messages)

    return heard


# What writes, and what waits, by the name of the source.
SOURCES: dict[str, tuple[Callable[[str], Append], Callable[[str], Callable[[], bytes]]]] = {
    "file": (opened, by_inotify),
    "journal": (to_journal, by_journal),
}


def listen(source: str, path: str, told: Connection) -> None:
    """The yardstick: when each address was there, until it is told to end."""
    seen: dict[str, float] = {}
    heard = SOURCES[source][1](path)
    told.send(None)
    over = False
    while not over:
        over = told.poll()  # what was written before that is still heard
        text = heard()
        now = time.perf_counter()
        for one in LOOKED_FOR.findall(text):
            seen.setdefault(one.decode(), now)
    told.send(seen)


def wakings(pid: int) -> int:
    """How often the threads of a process have gone to sleep."""
    texts = [path.read_text(encoding="ascii") for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(text.partition("\nvoluntary_ctxt_switches:")[2].split()[0]) for text in texts)


def measure(watcher: int, reader: MapReader, source: str, path: str, rate: int, seconds: float, run: int) -> Row:
    """One row."""
    row: Row = {"source": source, "logins/s": rate}
    before = cpu_seconds(watcher), wakings(watcher)
    if not rate:
        time.sleep(seconds)
        used, woken = cpu_seconds(watcher) - before[0], wakings(watcher) - before[1]
        return row | {"CPU ms a second": 1000 * used / seconds, "wakings a second": woken / seconds}
    (mine, theirs), (ours, listens) = multiprocessing.Pipe(duplex=False), multiprocessing.Pipe()
    yardstick = multiprocessing.Process(target=listen, args=(source, path, listens))
    writer = multiprocessing.Process(target=write, args=(rate, seconds, path, run, theirs, SOURCES[source][0]))
    yardstick.start()
    ours.recv()
    writer.start()
    found, written, _own = looked_for(reader, mine)
    writer.join()
    used, woken = cpu_seconds(watcher) - before[0], wakings(watcher) - before[1]
    ours.send(None)
    seen = ours.recv()
    yardstick.join()
    ready = cuts(one.took for one in found.values())
    told = cuts(seen[address] - one.at for address, one in found.items())
    return row | {
        "p50 ms": round(ready[49], 2),
        "p99 ms": round(ready[98], 2),
        "yardstick p50": round(told[49], 2),
        "yardstick p99": round(told[98], 2),
        "CPU us a login": round(used / written * 1e6, 1),
        "CPU ms a second": 1000 * used / seconds,
        "wakings a second": woken / seconds,
    }


def in_journal(directory: Path) -> str:
    """The source that is a journal, which is there when this returns."""
    journal = directory / JOURNAL
    journal.parent.mkdir()
    to_journal(str(journal))(b"Nov 23 21:00:00 imap-login: Info: begins\n")
    eventually(journal.exists, "a journal file")
    return f'[[source]]\ntype = "journal"\npath = "{journal.parent}"\n'


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--source", choices=SOURCES, action="append")
    parser.add_argument("--rate", type=int, action="append", help="logins a second (0, 1, 1000 and 5000)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each rate")
    options = parser.parse_args()
    rows: list[Row] = []
    for source in options.source or SOURCES:
        with installed(in_journal if source == "journal" else None) as (installation, watcher):
            reader = MapReader(f"{installation.run_dir}/relay.mdb")
            path = str(installation.directory / JOURNAL if source == "journal" else installation.log)
            for run, rate in enumerate(options.rate or RATES):
                rows.append(measure(watcher, reader, source, path, rate, options.seconds, run))
            reader.close()
    show("visible", rows, options, seconds=options.seconds)


if __name__ == "__main__":
    main()
