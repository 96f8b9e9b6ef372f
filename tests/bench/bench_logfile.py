"""What following a log costs against plain reading, and how fast a start on a huge log is.

    python3 -m tests.bench.bench_logfile [--directory DIR] [--lines N] [--one-by-one N] [--gigabytes N] [--json FILE]

The huge log is real text over its whole length, written once and removed at the end.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from popauthd.sources.file.source import LogFile
from tests.bench.table import Row, arguments, show

NOW = 1795469400
LINE = (
    b"%d imap-login: Info: Login: user=<user%06d@example.org>, method=PLAIN, rip=192.0.2.%d, "
    b"lip=198.51.100.5, mpid=%d, TLS, session=<aKTnLvhgIrN/AAAB>\n"
)


def stamp(line: bytes, _now: int) -> int | None:
    head = line[:10]
    return int(head) if head.isdigit() else None


def lines(first: int, last: int, count: int) -> bytes:
    """`count` lines with stamps spread evenly over [first, last)."""
    step = (last - first) / count
    return b"".join(
        LINE % (first + int(number * step), number % 1_000_000, number % 250 + 1, number % 90_000)
        for number in range(count)
    )


def follow(path: Path, oldest: int) -> tuple[float, int, float]:
    """Seconds until the first block, number of lines, seconds until the end."""
    begin = time.perf_counter()
    log = LogFile(str(path), stamp)
    log.resume(None, oldest)
    first, count = 0.0, 0
    while chunk := log.read(NOW):
        first = first or time.perf_counter() - begin
        count += chunk.block.count(b"\n")
    log.close()
    return first, count, time.perf_counter() - begin


def plain(path: Path) -> tuple[int, float]:
    begin = time.perf_counter()
    count = 0
    with path.open("rb", buffering=0) as log:
        while block := log.read(262144):
            count += block.count(b"\n")
    return count, time.perf_counter() - begin


def per_line(directory: Path, count: int) -> Row:
    path = directory / "mail.log"
    path.write_bytes(lines(NOW - 800, NOW, count))
    plain(path)
    # The best of three each, in turns: the machine may be busy with other things.
    both = [(plain(path)[1], follow(path, NOW - 900)[2]) for _ in range(3)]
    read, followed = (min(column) for column in zip(*both, strict=True))
    path.unlink()
    return {
        "what": f"{count} lines followed",
        "took s": round(followed, 3),
        "yardstick s": round(read, 3),  # plain binary reading
        "ratio": round(followed / read, 2),
        "more, us a line": round((followed - read) / count * 1e6, 3),
    }


def one_by_one(directory: Path, count: int) -> Row:
    path = directory / "mail.log"
    path.touch()
    log = LogFile(str(path), stamp)
    log.resume(None, NOW - 900)
    log.read(NOW)
    spent = 0.0
    with path.open("ab", buffering=0) as writer:
        for number in range(count):
            writer.write(LINE % (NOW, number, 1, 1))
            begin = time.perf_counter()
            while log.read(NOW):
                pass
            spent += time.perf_counter() - begin
    log.close()
    path.unlink()
    return {
        "what": f"{count} lines one by one, with the look that finds nothing more",
        "took s": round(spent, 3),
        "more, us a line": round(spent / count * 1e6, 1),
    }


def huge(directory: Path, gigabytes: float) -> Row:
    path = directory / "mail.log"
    part, parts = 200_000, 0
    sample = len(lines(0, 1, part))
    parts = max(2, int(gigabytes * (1 << 30) / sample))
    span = 7 * 86400 / parts  # a week of log
    with path.open("wb") as log:
        for number in range(parts):
            first = NOW - int((parts - number) * span)
            log.write(lines(first, NOW - int((parts - number - 1) * span), part))
    first_block, count, _ = follow(path, NOW - 900)
    size = path.stat().st_size
    path.unlink()
    assert 0 < count < part * parts
    return {"what": f"the first block of {size / (1 << 30):.1f} GiB; {count} lines read", "took s": first_block}


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--directory", default=None)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--one-by-one", type=int, default=20_000)
    parser.add_argument("--gigabytes", type=float, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        directory = Path(name)
        rows = [
            per_line(directory, options.lines),
            one_by_one(directory, options.one_by_one),
            huge(directory, options.gigabytes),
        ]
    show("logfile", rows, options, lines=options.lines, gigabytes=options.gigabytes)


if __name__ == "__main__":
    main()
