"""How much address space an LMDB file may take, on machines of every word size."""

from __future__ import annotations

import sys


def map_bytes(wanted_bytes: int, largest_word: int = sys.maxsize) -> int:
    """The map size to open an LMDB file with: what is wanted, or a quarter of all that this process can address.

    A map size is address space, not disk. On a 32-bit machine that is 512 MiB, as books and relay map lie side
    by side in one process, and LMDB refuses a size that does not fit a word. exim/readlookup has this rule written
    out, as it imports nothing of ours.
    """
    return min(wanted_bytes, (largest_word + 1) // 4)
