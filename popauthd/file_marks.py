"""Which file is at a path: to see that one of ours was removed, replaced, cut short or written by somebody else."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mark:
    """A file at a moment. Its inode's number alone does not tell: that of a removed file is soon another's."""

    device: int
    inode: int
    kind: int
    size: int
    changed_ns: int


def of(status: os.stat_result) -> Mark:
    """The mark in the answer of stat(2)."""
    return Mark(status.st_dev, status.st_ino, stat.S_IFMT(status.st_mode), status.st_size, status.st_mtime_ns)


def at(path: str | Path) -> Mark | None:
    """What is at `path`, links not followed; None if there is nothing, or nothing that we may see."""
    try:
        return of(os.lstat(path))
    except OSError:
        return None


def difference(before: Mark | None, now: Mark | None) -> str:
    """What happened to a file since `before`, as an administrator is told; "" for nothing. None: it was not there."""
    if now == before and now is not None:
        return ""
    if now is None:
        return "was removed"
    if before is None or (now.device, now.inode, now.kind) != (before.device, before.inode, before.kind):
        return "was replaced"
    return "was cut short" if now.size < before.size else "was written by another process"
