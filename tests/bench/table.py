"""What the benchmarks share: a table of figures, and one line of JSON in a file that is asked for."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, str | int | float]


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """The parser of a benchmark, with --json FILE."""
    parser = argparse.ArgumentParser(description=(doc or "").partition("\n")[0])
    parser.add_argument("--json", metavar="FILE", help="append the table to FILE as one line of JSON")
    return parser


def show(name: str, rows: Sequence[Row], options: argparse.Namespace, **conditions: Any) -> None:
    """Print the rows as a table, and append them to the file that was asked for.

    conditions: what the figures depend on, such as the number of lines.
    """
    heads = list(dict.fromkeys(key for row in rows for key in row))
    cells = [heads, *[[_text(row.get(head, "")) for head in heads] for row in rows]]
    widths = [max(len(line[column]) for line in cells) for column in range(len(heads))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    if options.json:
        told = {
            "bench": name,
            "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "python": platform.python_version(),
            **conditions,
            "rows": list(rows),
        }
        with Path(options.json).open("a", encoding="ascii") as file:
            file.write(json.dumps(told) + "\n")


def _text(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)
