"""What recognising costs, against grep: blocks in columns, and `popauthctl recognise`. Processor time counts.

    python3 -m tests.bench.bench_recognise [--lines N] [--rounds N] [--block-bytes N] [--directory DIR] [--json FILE]

For each log (see generate.py) the columns of all its blocks are made and dropped, in a process of its own
(read_columns.py); logins and ends must be as many as the generator says. `popauthctl recognise` reads the log "real",
with its answers into a file. The yardstick, `grep -c 'Login: '` over the same
file, runs before and after each.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from popauthd.sources.file.tail import BLOCK_BYTES
from tests.bench.bench_catch_up import compared
from tests.bench.generate import DOVECOT_FILE, ISO, Recipe, Truth, make
from tests.bench.table import Row, arguments, show
from tests.bench.usage import Usage, completed, grep

RECIPES = {
    "real": Recipe(),
    "quiet": Recipe(mix="quiet"),
    "ISO stamps": Recipe(framing=ISO),
    "Dovecot's own file": Recipe(framing=DOVECOT_FILE),
    "odd line every 40": Recipe(odd_every=40),
}


def read_alone(path: Path, recipe: Recipe, truth: Truth, block_bytes: int) -> Usage:
    """What it takes to read a log in columns, in a process of its own, with the start of Python."""
    framing = DOVECOT_FILE if recipe.framing == DOVECOT_FILE else "syslog"
    used, said = completed([sys.executable, "-m", "tests.bench.read_columns", path, framing, str(block_bytes)])
    expected = (truth.lines["login"] + truth.lines["odd login"], truth.lines["end"])
    assert said.decode().split() == [*map(str, expected)], said
    return used


def answered(path: Path) -> Usage:
    """What `popauthctl recognise` uses, with its answers in a file."""
    configuration = path.with_suffix(".toml")
    configuration.write_text(f'[[source]]\npath = "{path}"\nframing = "syslog"\n', encoding="ascii")
    command: list[str | Path] = [sys.executable, "-m", "popauthd.cli", "--config", configuration, "recognise", path]
    return completed(["sh", "-c", 'exec "$@" >"$0"', path.with_suffix(".answers"), *command])[0]


def measured(name: str, recipe: Recipe, directory: Path, options: argparse.Namespace) -> list[Row]:
    """The rows of one log."""
    path = directory / "mail.log"
    truth = make(recipe, path)
    runs, marks = [], [grep([path])]
    for _ in range(options.rounds):
        runs.append(read_alone(path, recipe, truth, options.block_bytes))
        marks.append(grep([path]))
    rows = [compared(name, recipe.lines, runs, marks)]
    if name == "real":
        marks = [grep([path])]
        runs = [answered(path)]
        rows.append(compared("popauthctl recognise, real", recipe.lines, runs, [*marks, grep([path])]))
    size = round(path.stat().st_size / 1e6)
    path.unlink()
    return [{**row, "MB": size} for row in rows]


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--lines", type=int, default=2_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--block-bytes", type=int, default=BLOCK_BYTES)
    parser.add_argument("--directory", type=Path, help="where the logs are made")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        for log, recipe in RECIPES.items():
            rows += measured(log, replace(recipe, lines=options.lines), Path(name), options)
    show("recognise", rows, options, lines=options.lines, block_bytes=options.block_bytes)


if __name__ == "__main__":
    main()
