"""What processes use: wall time, processor time, and the most anonymous memory, with that of their children."""

from __future__ import annotations

import contextlib
import os
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from popauthd.processes import pids

TICKS = os.sysconf("SC_CLK_TCK")
GREP = ("grep", "-c", "Login: ")  # the yardstick; into /dev/null it would stop at the first hit


@dataclass(frozen=True, slots=True)
class Usage:
    """Seconds of wall and processor time, and KiB of memory."""

    wall: float
    cpu: float
    peak_kib: int = 0


def tree(pid: int) -> list[int]:
    """A process and its living descendants."""
    parents: dict[int, list[int]] = {}
    for one in pids():
        with contextlib.suppress(OSError):  # it has ended meanwhile
            text = Path(f"/proc/{one}/stat").read_text(encoding="latin-1")
            parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(one)
    found = [pid]
    for one in found:
        found += parents.get(one, [])
    return found


def cpu_seconds(pid: int) -> float:
    """The processor time of a process, of its living descendants, and of those that have been waited for."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / TICKS


def anonymous_kib(pid: int) -> int:
    """RssAnon of a process and its living descendants."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{one}/status").read_text(encoding="ascii")
            # A dead one that was not waited for has none.
            total += int((text.partition("RssAnon:")[2].split() or ["0"])[0])
    return total


def followed(process: subprocess.Popen[bytes], done: Callable[[], bool], pause: float, seconds: float) -> Usage:
    """What a process that has just been started uses until `done()`, which is asked after each pause.

    It is an error if the process ends before, or if it takes longer than `seconds`.
    """
    began, peak, cpu = time.perf_counter(), 0, 0.0
    while True:
        time.sleep(pause)
        peak, cpu = max(peak, anonymous_kib(process.pid)), cpu_seconds(process.pid)
        wall = time.perf_counter() - began
        if done():
            return Usage(wall, cpu, peak)
        if process.poll() is not None or wall > seconds:
            raise RuntimeError(f"{process.args!r} has not come to its end: status {process.returncode}, {wall:.0f} s")


def completed(command: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> tuple[Usage, bytes]:
    """Run a command to its end; what it used, and its output. It must succeed."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        peak, output = 0, []
        os.set_blocking(process.stdout.fileno(), False)
        while process.poll() is None:
            output.append(process.stdout.read() or b"")
            peak = max(peak, anonymous_kib(process.pid))
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.02)
        wall = time.perf_counter() - began
        output.append(process.stdout.read() or b"")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, [str(word) for word in command], b"".join(output))
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Usage(wall, cpu, peak), b"".join(output)


def grep(paths: Sequence[Path], times: int = 3) -> Usage:
    """The yardstick: the median of so many runs of `grep -c 'Login: '` over the files."""
    runs = [completed([*GREP, *paths])[0] for _ in range(times)]
    return Usage(statistics.median(run.wall for run in runs), statistics.median(run.cpu for run in runs))
