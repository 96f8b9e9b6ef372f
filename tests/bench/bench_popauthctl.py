"""How long popauthctl takes to start: each command against a Python that does nothing.

    python3 -m tests.bench.bench_popauthctl [--runs N] [--json FILE]

Each command runs as a process of its own, so many times, in turn with `python3 -I -c pass`. The
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
from tests.bench.table import Row, arguments, show
from tests.support.helpers import ROOT

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


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
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
        for _ in range(options.runs):
            for title, command in table.items():
                least[title] = min(least[title], seconds(command))
    yardstick = least["python3 -c pass"]
    rows: list[Row] = [
        {"command": title, "ms": round(took * 1000, 1), "of the yardstick": round(took / yardstick, 2)}
        for title, took in least.items()
    ]
    show("popauthctl", rows, options, runs=options.runs)


if __name__ == "__main__":
    main()
