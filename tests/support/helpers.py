"""What several tests need: stores written by another process, and waiting for something to become true."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from popauthd.address import keys
from popauthd.store.block import Block
from popauthd.store.relay_map import MapWriter, read_record

ROOT = Path(__file__).resolve().parents[2]


def write_map(path: Path, entries: Mapping[str, int | None]) -> None:
    """Change a relay map from another process: LMDB must not open one file twice in one process."""
    code = (
        "import json, sys; from popauthd.store.relay_map import MapWriter;"
        "writer = MapWriter(sys.argv[1]); writer.apply(json.loads(sys.argv[2])); writer.close()"
    )
    subprocess.run([sys.executable, "-c", code, str(path), json.dumps(entries)], check=True, cwd=ROOT)


def in_blocks(entries: Mapping[str, int]) -> list[Block]:
    """Entries of a map or a host list as the books give them."""
    return [[(address.encode("ascii"), b"%d" % entries[address]) for address in sorted(entries)]]


def answers(path: Path) -> bool:
    """Whether somebody accepts connections on a unix socket; one that a dead process left behind does not."""
    with socket.socket(socket.AF_UNIX) as connection:
        return connection.connect_ex(str(path)) == 0


def eventually(true: Callable[[], bool], what: str, seconds: float = 60.0, pause: float = 0.005) -> None:
    """Look again after each `pause` until `true()`; fail, saying what was awaited, when it never is."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"waited {seconds} s in vain: {what}"
        time.sleep(pause)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Nothing can be opened or accepted in this process meanwhile, but in the place of what is closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208
    holes: list[int] = []
    while not holes or holes[-1] < highest:
        holes.append(os.open("/dev/null", os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (holes[-1] + 1, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for hole in holes:
            os.close(hole)


@contextmanager
def no_address_space_left() -> Iterator[None]:
    """This process cannot map anything large meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (40 << 20), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def published_expiry(writer: MapWriter, address: str) -> int | None:
    """What a map answers for a canonical address, asked of the process that writes it: newer LMDB opens a file once."""
    with writer._opened().begin() as txn:
        found = [read_record(key, txn.get(key.encode(), b"")) for key in keys(address)]
    return max((expires_at for expires_at in found if expires_at is not None), default=None)
