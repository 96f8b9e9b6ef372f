"""Makes system calls of a process fail, by strace (strace(1), inject)."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.helpers import eventually


def tampering(rules: Sequence[str]) -> list[str]:
    """The arguments of strace for rules such as `pwrite64:error=ENOSPC:when=3`. Only these calls are stopped at."""
    calls = ",".join(dict.fromkeys(rule.partition(":")[0] for rule in rules))
    return ["-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}", *[f"--inject={rule}" for rule in rules]]


@contextlib.contextmanager
def failing(pid: int, *rules: str) -> Iterator[None]:
    """While it lasts, the calls of a running process and of its threads fail by these rules."""
    with subprocess.Popen(["strace", *tampering(rules), "-p", str(pid)], stderr=subprocess.PIPE) as strace:
        try:
            eventually(lambda: _traced(pid) or strace.poll() is not None, "strace is attached")
            assert strace.poll() is None, strace.stderr and strace.stderr.read()
            yield
        finally:
            strace.terminate()


def _traced(pid: int) -> bool:
    """Whether all threads of a process are traced."""
    return all("TracerPid:\t0" not in status.read_text() for status in Path(f"/proc/{pid}/task").glob("*/status"))
