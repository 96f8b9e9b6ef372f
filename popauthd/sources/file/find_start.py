"""Find the first line of a log that is young enough, without reading what stands before it.

A log is in order of time but for a little disorder (several processes write it), which the caller
allows for by asking for an earlier time. Lines without a stamp are passed over; where a stretch of
EXTEND_BYTES has none, the search goes on before it, so it starts too early rather than too late.

LIMIT: a wall clock that was set back by more than that margin leaves stamps out of order; then the
search may start at either side of the step.
"""

from __future__ import annotations

from collections.abc import Callable

from popauthd.sources.file.open_file import Handle

Stamp = Callable[[bytes], int | None]

PROBE_BYTES = 8192
EXTEND_BYTES = 1 << 20
ENOUGH_BYTES = 65536  # a stretch this short is looked at line by line


def first_since(handle: Handle, size: int, stamp: Stamp, target: int, low: int = 0) -> int:
    """Offset of the first line in [low, size) stamped `target` or later; `size` if there is none.

    low must be the start of a line. A line without a stamp belongs to the one before it.
    """
    high = size
    while high - low > ENOUGH_BYTES:
        middle = (low + high) // 2
        probe = handle.data_after(middle)  # a hole can be gigabytes long
        line = None
        if probe < high:
            line = _first_stamped(handle, _next_line(handle, probe, high), high, stamp)
        if line is None or line[1] >= target:
            high = middle
        else:
            low = line[0]
    return _scan(handle, low, size, stamp, target)


def first_stamp(handle: Handle, stamp: Stamp) -> int | None:
    """The stamp of the first line that has one, near the start of a file; None if there is none."""
    start = handle.data_after(0)
    line = _first_stamped(handle, start, start + EXTEND_BYTES, stamp)
    return None if line is None else line[1]


def _scan(handle: Handle, low: int, size: int, stamp: Stamp, target: int) -> int:
    """Line by line from `low`; without any stamped line up to EXTEND_BYTES on, `low` itself."""
    seen = False
    position = low
    while position < size and position - low < EXTEND_BYTES + ENOUGH_BYTES:
        line = _first_stamped(handle, position, min(size, position + EXTEND_BYTES), stamp)
        if line is None:
            break
        if line[1] >= target:
            return line[0]
        seen = True
        position = line[2]
    return position if seen else low


def _next_line(handle: Handle, offset: int, high: int) -> int:
    """Start of the first line that begins after `offset`; `high` if there is none near."""
    stop = min(high, offset + EXTEND_BYTES)
    while offset < stop:
        data = handle.read(offset, min(PROBE_BYTES, high - offset))
        if not data:
            break
        end = data.find(b"\n")
        if end >= 0:
            return offset + end + 1
        offset += len(data)
    return high


def _first_stamped(handle: Handle, offset: int, high: int, stamp: Stamp) -> tuple[int, int, int] | None:
    """Offset, stamp and end of the first stamped whole line that begins in [offset, high)."""
    stop = min(high, offset + EXTEND_BYTES)
    rest, count = b"", PROBE_BYTES
    while offset < stop:
        data = handle.read(offset + len(rest), count)
        lines = (rest + data).split(b"\n")
        rest = lines.pop()
        for line in lines:
            at = stamp(line.lstrip(b"\0")) if offset < high else None
            if at is not None:
                return offset, at, offset + len(line) + 1
            offset += len(line) + 1
        if len(data) < count or len(rest) > EXTEND_BYTES:
            return None
        count = min(count * 4, EXTEND_BYTES)
    return None
