"""What the watcher holds in memory while many log in for long.

    python3 -m tests.bench.bench_memory [--rate N] [--minutes M] [--every S] [--json FILE]

A writer appends logins of 200,000 clients and the ends of their sessions to Dovecot's own file. A row every S seconds:
the anonymous memory of the watcher (with the process that writes its host list) and of the responder, and the size of
the books. `growth` is what the watcher gained since the first third of the time; in it, the clients are still new.
"""

from __future__ import annotations

import multiprocessing
import time

from tests.bench.bench_sustained import installed, opened, write
from tests.bench.table import Row, arguments, show
from tests.bench.usage import anonymous_kib


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--rate", type=int, default=1000, help="logins a second")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=30.0, help="seconds")
    options = parser.parse_args()
    rows: list[Row] = []
    with installed() as (installation, watcher):
        responder = installation.processes[-1].pid
        mine, theirs = multiprocessing.Pipe(duplex=False)
        given = (options.rate, 60 * options.minutes, str(installation.log), 0, theirs, opened)
        writer = multiprocessing.Process(target=write, args=given)
        began = time.monotonic()
        writer.start()
        while writer.is_alive():
            writer.join(options.every)
            while mine.poll():  # nobody looks for the logins
                mine.recv()
            rows.append(
                {
                    "seconds": round(time.monotonic() - began, 1),
                    "watcher MiB": round(anonymous_kib(watcher) / 1024, 1),
                    "responder MiB": round(anonymous_kib(responder) / 1024, 1),
                    "books MiB": round((installation.directory / "state/books.mdb").stat().st_size / (1 << 20), 1),
                }
            )
    show("memory", rows, options, rate=options.rate, minutes=options.minutes)
    held = [float(row["watcher MiB"]) for row in rows]
    print(f"most: {max(held)} MiB; growth: {held[-1] - held[len(held) // 3]:+.1f} MiB")


if __name__ == "__main__":
    main()
