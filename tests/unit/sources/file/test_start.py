"""Where the log file source begins: at a saved place, or at the last window of time."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from popauthd.errors import SourceError
from popauthd.sources.file.source import LogFile
from tests.support.logworld import START, Follower, World, stamp

PLACES = [
    ("empty", b""),
    ("zeros", bytes(100)),
    ("pygtail's own form", b"1234\n5678\n"),
    ("json of something else", b'{"v": 1}'),
    ("a list", b"[]"),
    ("deep", b"[" * 100_000),
    ("wrong version", b'{"v":2,"sum":0,"place":{}}'),
]


@pytest.mark.parametrize("place", [row[1] for row in PLACES], ids=[row[0] for row in PLACES])
def test_a_damaged_place_is_told_and_the_window_read_again(world: World, follower: Follower, place: bytes) -> None:
    world.write(2)
    follower.saved = [place]
    follower.start()
    follower.read()
    assert follower.got == [1, 2]
    assert "damaged" in follower.gaps[0].what


def test_a_torn_place_is_never_taken_for_a_whole_one(world: World, follower: Follower) -> None:
    world.write(2)
    follower.read()
    place = follower.saved[-1]
    for end in range(len(place)):
        log = LogFile(str(world.path), stamp, clock=lambda: world.now)
        log.resume(place[:end], world.now)
        assert len(log.take_gaps()) == 1


def test_a_place_with_one_number_changed_is_refused(world: World, follower: Follower) -> None:
    world.write(2)
    follower.read()
    fields = json.loads(follower.saved[-1])
    fields["place"]["at"]["offset"] += 1
    log = LogFile(str(world.path), stamp, clock=lambda: world.now)
    log.resume(json.dumps(fields).encode(), world.now)
    assert len(log.take_gaps()) == 1


def test_a_first_start_reads_only_the_last_window(world: World, follower: Follower) -> None:
    world.now = START - 100_000
    for _ in range(2000):
        world.now += 50
        world.write(1)
    follower.oldest = world.now - 900
    follower.start()
    follower.read()
    assert follower.got == list(range(2000 - (900 + 60) // 50, 2001))


def test_a_first_start_looks_into_rotated_files_when_the_window_reaches_there(world: World, follower: Follower) -> None:
    for _ in range(3):
        world.write(1)
        world.now += 400
        world.rename_create()
    world.write(1)
    follower.oldest = world.now - 900
    follower.start()
    follower.read()
    assert follower.got == [2, 3, 4]  # the first is 1200 s old


def test_lines_without_a_stamp_do_not_hide_the_window(world: World, follower: Follower) -> None:
    world.now = START - 10_000
    world.write(1000)
    world.append(b"Traceback (most recent call last):\n" * 4000)
    world.now = START
    world.write(5)
    world.append(b"\tno stamp here\n" * 3)
    follower.oldest = START - 900
    follower.start()
    follower.read()
    assert follower.got == [1001, 1002, 1003, 1004, 1005]
    assert follower.refused == [b"\tno stamp here"] * 3


def test_a_huge_line_with_a_stamp_does_not_end_the_search(world: World, follower: Follower) -> None:
    world.now = START - 10_000
    world.append(b"%d " % world.now + b"y" * 1_500_000 + b"\n")
    world.write(5)
    world.now = START
    world.write(2)
    follower.oldest = START - 900
    follower.start()
    follower.read()
    assert follower.got == [6, 7]


def test_a_hole_before_the_lines_is_passed_in_no_time(world: World, follower: Follower) -> None:
    os.truncate(world.path, 5 << 30)
    world.now = START - 10_000
    world.write(1000)
    world.now = START
    world.write(5)
    follower.oldest = START - 900
    follower.start()
    follower.read()
    assert follower.got == [1001, 1002, 1003, 1004, 1005]


def test_a_line_that_is_unfinished_at_the_start_is_read_when_it_ends(world: World, follower: Follower) -> None:
    world.now = START - 10_000
    world.write(1000)
    world.now = START
    line = world.line()
    world.append(line[:40])
    follower.oldest = START - 900
    follower.start()
    follower.read()
    world.append(line[40:])
    follower.read()
    assert follower.got == [1001]
    assert follower.refused == []


def test_of_very_much_unread_only_the_last_window_is_read(world: World, follower: Follower) -> None:
    world.write(1)
    follower.read()
    follower.stop()
    world.now += 10_000
    line = b"%d " % world.now + b"y" * 1000 + b"\n"
    world.append(line * 80_000)
    world.now += 10_000
    world.write(3)
    follower.oldest = world.now - 900
    follower.start()
    follower.read()
    assert follower.got == [1, 2, 3, 4]
    assert follower.refused == []
    assert follower.gaps == []


def test_a_log_without_any_stamp_is_read_from_its_start(world: World, follower: Follower) -> None:
    world.append(b"no stamp\n" * 20_000)
    follower.read()
    assert len(follower.refused) == 20_000


def test_of_files_without_any_stamp_only_the_newest_are_read_whole(world: World) -> None:
    for number in range(6):
        world.append(b"file %d\n" % number)
        world.rename_create()
    world.append(b"file 6\n")
    follower = Follower(world)
    follower.read()
    follower.stop()
    assert follower.refused == [b"file 3", b"file 4", b"file 5", b"file 6"]


def test_empty_rotated_files_do_not_count_among_those(world: World) -> None:
    for number in range(6):
        if number % 2:
            world.append(b"file %d\n" % number)
        world.rename_create()
    follower = Follower(world)
    follower.read()
    follower.stop()
    assert follower.refused == [b"file 1", b"file 3", b"file 5"]


@pytest.mark.parametrize("age", [959, 960, 961])
@pytest.mark.parametrize("rotated", [False, True], ids=["in the log", "in a rotated file"])
def test_the_window_begins_at_the_second_that_was_asked_for(world: World, age: int, rotated: bool) -> None:
    """Lines may be a minute out of order, so it begins a minute early: 900 s and 60 s."""
    world.now = START - age
    world.write(1)
    world.now = START - 10
    world.write(1)
    if rotated:
        world.rename_create()
    follower = Follower(world, START - 900)
    world.now = START
    follower.start()
    follower.read()
    follower.stop()
    assert follower.got == ([1, 2] if age <= 960 else [2])


def test_the_window_moves_on_with_the_clock_and_never_back(world: World) -> None:
    world.path.unlink()
    for later, expected in ((2000, [2]), (-5000, [1, 2])):
        world.now, world.count = START, 0
        follower = Follower(world, START - 900)
        follower.read()
        world.create()
        world.write(1)
        world.now = START + 2000
        world.write(1)
        world.now = START + later
        follower.read()
        follower.stop()
        assert follower.got == expected
        world.path.unlink()


def test_a_descriptor_that_breaks_is_an_error_and_then_opened_anew(world: World, follower: Follower) -> None:
    world.write(1)
    follower.read()
    assert follower.log is not None
    here = world.path.stat().st_ino
    mine = [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]
    broken = [fd for fd in mine if _inode(fd) == here]
    other = os.open(world.directory, os.O_RDONLY)  # reading a directory fails, as a dying disk does
    for fd in broken:
        os.dup2(other, fd)
    os.close(other)
    world.write(1)
    with pytest.raises(SourceError, match="will be tried again"):
        follower.log.read(world.now)
    follower.read()
    assert follower.got == [1, 2]


def _inode(fd: int) -> int | None:
    try:
        return os.fstat(fd).st_ino
    except OSError:  # the descriptor that listed the others
        return None
