"""How long a watcher takes to start with many grants: until it is ready, until it has read the log, and in what memory.

    python3 -m tests.bench.bench_starts [--grants N] [--json FILE]

`answer`: from the start of the process until the map is right and a line that was written meanwhile is visible in it;
`ready`: until the control socket answers. Beside an ordinary start: one after kill -9, one without a map, one after a
network was added to `never` (nothing that stands changes), and one after a shorter `lifetime` (everything does).
The yardstick is reading the books' file once.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from popauthd.config import load
from popauthd.store.books import Books
from popauthd.store.relay_map import MapReader
from popauthd.watch.assembly import rules
from tests.bench.bench_revoke import fill
from tests.bench.table import Row, arguments, show
from tests.bench.usage import cpu_seconds, followed
from tests.support.daemons import Installation, login_line
from tests.support.helpers import answers

LONG, SHORT = 'lifetime = "7d"\n', 'lifetime = "6d"\n'
NEVER = 'never = ["203.0.113.0/24"]\n'


def read_once(path: Path) -> float:
    """Seconds to read a file once."""
    began = time.perf_counter()
    with path.open("rb") as file:
        while file.read(1 << 20):
            pass
    return time.perf_counter() - began


def write_settings(installation: Installation, before: str, after: str) -> None:
    """Change settings in the configuration."""
    text = installation.config.read_text(encoding="utf-8")
    assert before in text
    installation.config.write_text(text.replace(before, after), encoding="utf-8")


def started(installation: Installation, number: int) -> Row:
    """Start the watcher; what that took."""
    client = f"192.0.2.{number}"
    installation.write(login_line(client))
    began = time.perf_counter()
    process = installation.start("watch")
    ready: list[float] = []

    def done() -> bool:
        if not ready and answers(installation.run_dir / "control.sock"):
            ready.append(time.perf_counter() - began)
        return bool(ready) and visible(installation, client)

    usage = followed(process, done, 0.01, 600)
    return {"ready s": ready[0], "answer s": usage.wall, "CPU s": usage.cpu, "peak MiB": usage.peak_kib / 1024}


def idle(process: subprocess.Popen[bytes]) -> None:
    """Wait until a watcher has nothing left to do, such as judging again since it has learnt an address of its own."""
    before = -1.0
    while (now := cpu_seconds(process.pid)) > before + 0.05:
        before = now
        time.sleep(0.3)


def visible(installation: Installation, client: str) -> bool:
    """Whether the map lets an address relay."""
    reader = MapReader(str(installation.run_dir / "relay.mdb"))
    try:
        return (reader.expiry(client) or 0) > time.time()
    finally:
        reader.close()


def main(options: argparse.Namespace) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        installation = Installation(Path(directory), LONG)
        settings = load(str(installation.config))
        Path(settings.state_dir).mkdir()
        books = Books(settings.books_path, rules(settings))
        fill(books, options.grants)
        books.close()
        yardstick = read_once(Path(settings.books_path))
        steps: tuple[tuple[str, int, Callable[[], object]], ...] = (
            ("the first", signal.SIGTERM, lambda: None),
            ("ordinary", signal.SIGKILL, lambda: None),
            ("after kill -9", signal.SIGTERM, lambda: None),
            ("without a map", signal.SIGTERM, lambda: Path(settings.map_path).unlink()),
            ("`never` added", signal.SIGTERM, lambda: write_settings(installation, LONG, LONG + NEVER)),
            ("shorter `lifetime`", signal.SIGTERM, lambda: write_settings(installation, LONG, SHORT)),
        )
        rows: list[Row] = []
        for number, (name, stop, prepare) in enumerate(steps):
            prepare()
            row = started(installation, number + 1)
            rows.append({"start": name, **row, "x": float(row["answer s"]) / yardstick})
            process = installation.processes[-1]
            idle(process)
            process.send_signal(stop)
            process.wait()
        installation.close()
    show("starts", rows, options, grants=options.grants, yardstick_s=yardstick)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--grants", type=int, default=1_000_000)
    main(parser.parse_args())
