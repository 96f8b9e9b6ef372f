"""How long readlookup takes against the floor, `python3 -I -S -c pass`: python3 tests/bench/bench_readlookup.py [RUNS]

Alternating runs, so that what else the machine does hits both alike; medians, and the ratio. The map
has 100,000 addresses; a granted and an unknown one are asked. Exit 1 if a ratio is above 1.6.
Needs Debian's python3-lmdb.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 1.6
SCRIPT = Path(__file__).resolve().parents[2] / "exim/readlookup"
ADDRESSES = 100_000
FILL = """
import sys, lmdb
env = lmdb.open(sys.argv[1], subdir=False, map_size=1 << 28)
with env.begin(write=True) as transaction:
    for number in range(int(sys.argv[2])):
        address = "10.%d.%d.%d" % (number >> 16, number >> 8 & 255, number & 255)
        transaction.put(address.encode(), b"4000000000 " + address.encode())
"""


def seconds(command: list[str]) -> float:
    """The wall time of one run."""
    begin = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=False, close_fds=False)
    return time.perf_counter() - begin


def main() -> int:
    """Measure and print; the exit status."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    with tempfile.TemporaryDirectory() as directory:
        path = f"{directory}/relay.mdb"
        subprocess.run(["/usr/bin/python3", "-c", FILL, path, str(ADDRESSES)], check=True)
        rows = {
            "python3 -I -S -c pass": ["/usr/bin/python3", "-I", "-S", "-c", "pass"],
            "readlookup, yes": [str(SCRIPT), "--map", path, "10.0.1.1"],
            "readlookup, no": [str(SCRIPT), "--map", path, "192.0.2.1"],
        }
        times: dict[str, list[float]] = {name: [] for name in rows}
        for turn in range(runs + 5):
            for name, command in rows.items():
                took = seconds(command)
                if turn >= 5:
                    times[name].append(took)
    medians = {name: statistics.median(values) for name, values in times.items()}
    floor = medians["python3 -I -S -c pass"]
    for name, median in medians.items():
        print(f"{name:24} {median * 1000:6.2f} ms  x {median / floor:.2f}")
    return int(max(medians.values()) / floor > LIMIT)


if __name__ == "__main__":
    sys.exit(main())
