"""The address space that an LMDB file may take, on 64-bit and on 32-bit machines, and how it gets more."""

from __future__ import annotations

import sys

import lmdb

from popauthd.errors import StoreBrokenError


def map_bytes(wanted_bytes: int, largest_word: int = sys.maxsize) -> int:
    """The map size to open an LMDB file with: `wanted_bytes`, but at most a quarter of what a process can address.

    A map size is address space, not disk. On a 32-bit machine the limit is 512 MiB: one process maps both the books
    and the relay map, and LMDB refuses a size that does not fit a machine word. exim/readlookup repeats this rule,
    because it imports nothing of popauthd.
    """
    return min(wanted_bytes, (largest_word + 1) // 4)


def grow(env: lmdb.Environment, what: str) -> bool:
    """Double the address space of an open file; False if this machine has no more. Not for use within a transaction.

    Raises StoreBrokenError if the system gives no more (a limit such as LimitAS=): LMDB has let go of the file by then.
    """
    size = int(env.info()["map_size"])
    larger = map_bytes(2 * size)
    if larger <= size:
        return False
    try:
        env.set_mapsize(larger)
    except lmdb.Error as error:
        raise StoreBrokenError(f"{what}: cannot be given {larger >> 20} MiB of address space: {error}") from error
    return True
