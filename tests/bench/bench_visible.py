"""From a line written to visible in the map for another process, and what both processes hold in memory.

    python3 -m tests.bench.bench_visible [LOGINS]

Prints p50 and p99 in milliseconds, beside a yardstick of the same run (a unix socket round trip to the
responder), and the resident memory of watcher and responder.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

from popauthd.store.relay_map import MapReader
from tests.support.daemons import Installation, login_line


def resident(pid: int) -> str:
    """VmRSS and its anonymous part, as the kernel tells them."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    facts = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    return f"VmRSS {facts['VmRSS'].strip()}, RssAnon {facts['RssAnon'].strip()}"


def show(name: str, seconds: list[float]) -> None:
    """One line of figures."""
    cuts = statistics.quantiles(seconds, n=100)
    print(f"{name}: p50 {cuts[49] * 1000:.2f} ms, p99 {cuts[98] * 1000:.2f} ms, n {len(seconds)}")


def main(logins: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        installation = Installation(Path(directory), 'hold_no = "0ms"')
        parts = {part: installation.start(part) for part in ("watch", "respond")}
        installation.ready()
        time.sleep(1)
        reader = MapReader(f"{installation.run_dir}/relay.mdb")
        visible, asked = [], []
        for number in range(logins):
            address = f"10.1.{number >> 8}.{number & 255}"
            line = login_line(address)
            began = time.perf_counter()
            installation.write(line)
            while reader.expiry(address) is None:
                pass
            visible.append(time.perf_counter() - began)
            began = time.perf_counter()
            assert installation.ask(address) == "yes"
            asked.append(time.perf_counter() - began)
            time.sleep(0.003)
        show("line written -> visible in the map", visible)
        show("yardstick: one question to the responder", asked)
        for part, process in parts.items():
            print(f"{part}: {resident(process.pid)}")
        installation.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
