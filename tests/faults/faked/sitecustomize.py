"""What Python adds to libfaketime in the processes of the campaign: see tests/faults/clocks.py, which says why.

Python imports this at its start, as the directory stands in PYTHONPATH. The boot clock is ahead by what the first
line of the clock file says, and time.sleep waits in select, whose timeout libfaketime leaves alone.
"""

import os
import select
import time
from pathlib import Path
from typing import SupportsIndex

_real = time.clock_gettime
_file = Path(os.environ["FAKETIME_TIMESTAMP_FILE"])


def _clock_gettime(clock: int) -> float:
    if clock != time.CLOCK_BOOTTIME:
        return _real(clock)
    return _real(clock) + float(_file.read_text(encoding="ascii").split("\n")[0].removeprefix("# boot "))


def _sleep(seconds: SupportsIndex | float, /) -> None:
    select.select([], [], [], float(seconds))


time.clock_gettime = _clock_gettime
time.sleep = _sleep
