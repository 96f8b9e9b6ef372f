"""How long popauthctl takes to start: each command against a Python that does nothing.

    python3 -m tests.bench.bench_popauthctl [RUNS]

Each command runs as a process of its own, RUNS times (20 unless told), in turn with `python3 -I -c pass`. The
table shows the least time of each, and its ratio to the yardstick's. The commands that need them find a relay map,
books and a configuration in a temporary directory; no watcher runs. `-S` leaves out site-packages' start-up files, as
Debian's python3 has none.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from popauthd.store.books import Books
from popauthd.store.relay_map import MapWriter

ROOT = Path(__file__).resolve().parents[2]
START = "import sys; sys.path.insert(0, sys.argv.pop(1)); from popauthd.cli import main; sys.exit(main())"
COMMANDS = {
    "--help": ["--help"],
    "check ADDRESS": ["check", "192.0.2.7"],
    "list": ["list"],
    "status": ["status"],
    "config check": ["config", "check"],
    "doctor --help": ["doctor", "--help"],
}


def seconds(command: list[str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    return time.perf_counter() - began


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        MapWriter(str(place / "relay.mdb")).close()
        Books(str(place / "books.mdb")).close()
        (place / "mail.log").touch()
        config = place / "popauthd.toml"
        config.write_text(f'run_dir = "{place}"\nstate_dir = "{place}"\n[[source]]\npath = "{place}/mail.log"\n')
        python = [sys.executable, "-I"]
        table = {"python3 -c pass": [*python, "-c", "pass"]}
        for title, words in COMMANDS.items():
            table[title] = [*python, "-c", START, str(ROOT), "--config", str(config), *words]
        least = dict.fromkeys(table, float("inf"))
        for _ in range(runs):
            for title, command in table.items():
                least[title] = min(least[title], seconds(command))
    yardstick = least["python3 -c pass"]
    for title, took in least.items():
        print(f"{title:20} {took * 1000:7.1f} ms {took / yardstick:6.2f} x")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
