"""Why a file cannot be written, in the file system's own words.

LMDB says "Input/output error" of a write that was cut short, which is what a full disk or a used-up quota does to it.
Then the file system is asked once more, with a file beside the one that could not be written.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

PROBE_BYTES = 1 << 20
NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS}


def why(path: str, error: Exception) -> str:
    """What is to be told of an error of LMDB's, which came of writing to `path`. Never raises."""
    said = str(error)
    return (_no_room(path) or said) if os.strerror(errno.EIO) in said else said


def _no_room(path: str) -> str:
    """Why there is no room for more behind the end of a file; "" if there is, or if that cannot be told."""
    probe = Path(f"{path}.probe")
    try:
        probe.unlink(missing_ok=True)
        descriptor = os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, Path(path).stat().st_size, PROBE_BYTES)
        finally:
            os.close(descriptor)
    except OSError as error:
        return os.strerror(error.errno) if error.errno in NO_ROOM else ""
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)
    return ""
