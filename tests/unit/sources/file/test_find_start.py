"""popauthd.sources.file.find_start: the first line that is young enough, in files of every shape."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from popauthd.sources.file.find_start import EXTEND_BYTES, PROBE_BYTES, first_since, first_stamp
from popauthd.sources.file.open_file import Handle, open_file
from tests.support.logworld import stamp


def stamped(line: bytes) -> int | None:
    return stamp(line, 0)


def opened(path: Path, data: bytes) -> Handle:
    path.write_bytes(data)
    return open_file(str(path))


def line(at: int, length: int = 40) -> bytes:
    return (b"%010d " % at).ljust(length - 1, b"x") + b"\n"


def naive(data: bytes, target: int, low: int = 0) -> int:
    """What a search from the start finds, for stamps in order."""
    at = low
    for one in data[low:].splitlines(keepends=True):
        found = stamped(one) if one.endswith(b"\n") else None
        if found is not None and found >= target:
            return at
        at += len(one)
    return len(data)


@pytest.mark.parametrize("seed", range(8))
def test_it_finds_what_reading_from_the_start_finds(tmp_path: Path, seed: int) -> None:
    dice = random.Random(seed)
    at = 1_000_000
    parts = []
    for _ in range(dice.choice((3, 2000, 5000))):
        at += dice.choice((0, 0, 0, 1, 3))
        parts.append(line(at, dice.choice((12, 40, 200, PROBE_BYTES + 5))))
    data = b"".join(parts)
    handle = opened(tmp_path / "log", data)
    starts = [0, len(parts[0]), len(b"".join(parts[: len(parts) // 2]))]
    for target in (0, 999_999, 1_000_000, 1_000_001, (1_000_000 + at) // 2, at, at + 1):
        for low in starts:
            assert first_since(handle, len(data), stamped, target, low) == naive(data, target, low), (target, low)
    handle.close()


def test_lines_without_a_stamp_belong_to_the_one_before(tmp_path: Path) -> None:
    data = line(100) + b"\tmore of it\n" * 3 + line(200) + b"\tmore\n"
    handle = opened(tmp_path / "log", data)
    assert first_since(handle, len(data), stamped, 100) == 0
    assert first_since(handle, len(data), stamped, 101) == data.index(b"0000000200")
    assert first_since(handle, len(data), stamped, 201) == data.index(b"\tmore\n")
    handle.close()


def test_a_file_without_any_stamp_is_read_from_where_the_search_began(tmp_path: Path) -> None:
    data = b"no stamp here\n" * 200_000
    handle = opened(tmp_path / "log", data)
    assert first_since(handle, len(data), stamped, 5) == 0
    assert first_since(handle, len(data), stamped, 5, 14) == 14
    assert first_stamp(handle, stamped) is None
    handle.close()


def test_a_long_stretch_without_stamps_makes_it_start_too_early_and_never_too_late(tmp_path: Path) -> None:
    before, noise, after = line(100) * 500, b"no stamp\n" * (3 * EXTEND_BYTES // 9), line(200) * 500
    data = before + noise + after
    handle = opened(tmp_path / "log", data)
    assert first_since(handle, len(data), stamped, 150) <= len(before) + len(noise)
    assert first_since(handle, len(data), stamped, 100) == 0
    handle.close()


@pytest.mark.parametrize("length", [PROBE_BYTES - 1, PROBE_BYTES, PROBE_BYTES + 1, 5 * PROBE_BYTES, EXTEND_BYTES])
def test_a_line_of_any_length_may_stand_before(tmp_path: Path, length: int) -> None:
    data = line(100, length) + line(200)
    handle = opened(tmp_path / "log", data)
    assert first_since(handle, len(data), stamped, 150) == length
    assert first_stamp(handle, stamped) == 100
    handle.close()


def test_a_last_line_that_is_not_finished_is_no_line_yet(tmp_path: Path) -> None:
    data = line(100) + line(200)[:-1]
    handle = opened(tmp_path / "log", data)
    assert first_since(handle, len(data), stamped, 150) == 40
    handle.close()
    handle = opened(tmp_path / "log", line(100)[:-1])
    assert first_stamp(handle, stamped) is None
    handle.close()


def test_the_first_stamp_is_looked_for_behind_other_lines_and_a_hole(tmp_path: Path) -> None:
    path = tmp_path / "log"
    handle = opened(path, b"none\n" * 5000 + line(300) + line(200))
    assert first_stamp(handle, stamped) == 300
    handle.close()
    handle = opened(path, b"none\n" * 5000 + bytes(77) + line(300))
    assert first_stamp(handle, stamped) == 300
    handle.close()
    path.write_bytes(b"")
    os.truncate(path, 1 << 30)
    with path.open("ab") as log:
        log.write(line(400) * 10)
    handle = open_file(str(path))
    assert first_stamp(handle, stamped) == 400
    size = (1 << 30) + 400
    assert first_since(handle, size, stamped, 300) == 0, "too early rather than too late"
    assert first_since(handle, size, stamped, 401) == size
    handle.close()


def test_what_was_written_beyond_the_size_that_was_asked_for_is_not_looked_at(tmp_path: Path) -> None:
    data = line(100) * 10_000
    handle = opened(tmp_path / "log", data + line(200))
    assert first_since(handle, len(data), stamped, 150) == len(data)
    assert first_since(handle, len(data) + 40, stamped, 150) == len(data)
    assert first_since(handle, len(data) + 40, stamped, 201) == len(data) + 40
    assert first_since(handle, 0, stamped, 50) == 0
    handle.close()
