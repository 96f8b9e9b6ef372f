"""Wall clock and boot clock, and the difference between them that shows when the wall clock was set."""

from __future__ import annotations

import time
from pathlib import Path

STEP_SECONDS = 2  # less is what NTP slews; more is somebody setting the clock


def boot_id() -> str:
    """This boot's id, or "" where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def offset() -> int:
    """Wall clock minus boot clock, whole seconds: changes only when the wall clock is set."""
    return round(time.time() - time.clock_gettime(time.CLOCK_BOOTTIME))
