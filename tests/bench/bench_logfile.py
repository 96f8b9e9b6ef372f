"""What following a log costs against plain reading, and how fast a start on a huge log is.

    python3 -m tests.bench.bench_logfile [--directory DIR] [--lines 1000000] [--gigabytes 5]

The huge log is real text over its whole length, written once and removed at the end.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from popauthd.sources.file.source import LogFile

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


def per_line(directory: Path, count: int) -> None:
    path = directory / "mail.log"
    path.write_bytes(lines(NOW - 800, NOW, count))
    plain(path)
    # The best of three each, in turns: the machine may be busy with other things.
    read = min(plain(path)[1] for _ in range(3))
    followed = min(follow(path, NOW - 900)[2] for _ in range(3))
    print(f"{count} lines, {path.stat().st_size >> 20} MiB: plain binary reading {read:.3f} s, followed")
    print(f"{followed:.3f} s, {followed / read:.2f} x, {(followed - read) / count * 1e9:.0f} ns more a line")
    path.unlink()


def one_by_one(directory: Path, count: int = 20_000) -> None:
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
    print(f"lines one by one: {spent / count * 1e6:.1f} µs for a line and the look that finds nothing more")


def huge(directory: Path, gigabytes: float) -> None:
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
    print(f"{path.stat().st_size / (1 << 30):.1f} GiB: first block after {first_block * 1000:.1f} ms,")
    print(f"{count} lines read of {part * parts}")
    path.unlink()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", default=None)
    parser.add_argument("--lines", type=int, default=1_000_000)
    parser.add_argument("--gigabytes", type=float, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as name:
        per_line(Path(name), options.lines)
        one_by_one(Path(name))
        huge(Path(name), options.gigabytes)


if __name__ == "__main__":
    main()
