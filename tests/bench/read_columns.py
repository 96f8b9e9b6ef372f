"""Reads a log in columns and drops them, for bench_recognise: in a process that loads nothing else.

    python3 -m tests.bench.read_columns FILE FRAMING BLOCK_BYTES

It prints how many logins and session ends there were.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser


def columns(path: Path, framing: str, block_bytes: int) -> tuple[int, int]:
    """Read a log in blocks, in columns; how many logins and session ends it has."""
    reader, now = Recogniser(Options(framing)), int(time.time())
    offset = logins = ends = 0
    with path.open("rb", buffering=0) as log:
        while block := os.pread(log.fileno(), block_bytes, offset):
            whole = block.rfind(b"\n") + 1
            if not whole:
                break
            found = reader.columns(block[:whole], now)
            offset += whole
            others = [type(event).__name__ for _place, event in found.others]
            logins += len(found.logins.at) + others.count("Login")
            ends += len(found.ends.at) + others.count("SessionEnd")
    return logins, ends


if __name__ == "__main__":
    print(*columns(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])))
