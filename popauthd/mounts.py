"""What is mounted where, as this process sees it (proc(5), /proc/PID/mountinfo), and where links lead."""

from __future__ import annotations

import os
import re
from pathlib import Path

MOUNTINFO = "/proc/self/mountinfo"
_ESCAPED = re.compile(r"\\([0-7]{3})")


def real_path(path: str) -> str:
    """The path behind links, as far as it can be told. Never raises, as os.path.realpath does if a link vanishes."""
    try:
        return os.path.realpath(path)
    except OSError:
        return path


def is_mount_point(path: str) -> bool:
    """Whether something is mounted on this very path, also a single file. False where it cannot be told."""
    wanted = real_path(path)
    try:
        lines = Path(MOUNTINFO).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return False
    points = (line.split(" ")[4] for line in lines if line.count(" ") >= 4)
    return any(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), point) == wanted for point in points)
