"""The log file source on real files: what it hands out, and where it goes on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from popauthd.sources.file.source import LogFile
from tests.support.logworld import START, WIDTH, Follower, World, stamp


def test_lines_come_once_in_order_and_nothing_more_comes(world: World, follower: Follower) -> None:
    world.write(3)
    follower.read()
    world.write(2)
    follower.read()
    assert follower.got == [1, 2, 3, 4, 5]
    assert follower.gaps == []


def test_a_log_that_does_not_exist_yet_is_waited_for(world: World, follower: Follower) -> None:
    world.path.unlink()
    follower.read()
    assert follower.log is not None
    assert follower.log.state().status == "missing"
    world.create()
    world.write(1)
    follower.read()
    assert follower.got == [1]


def test_an_unfinished_line_waits_for_its_lf(world: World, follower: Follower) -> None:
    line = world.line()
    world.append(line[:50])
    follower.read()
    assert follower.got == []
    world.append(line[50:])
    follower.read()
    assert follower.got == [1]
    assert follower.refused == []


def test_a_rotation_by_rename_is_followed(world: World, follower: Follower) -> None:
    world.write(2)
    follower.read()
    world.write(2)
    world.rename_create()
    world.write(2)
    follower.read()
    assert follower.got == [1, 2, 3, 4, 5, 6]


def test_late_writes_to_the_rotated_file_are_read(world: World, follower: Follower) -> None:
    world.write(1)
    follower.read()
    world.rename_create()
    world.write(1)
    follower.read()
    world.write(2, to=world.sibling(".1"))
    follower.read()
    assert follower.lost == []
    assert follower.gaps == []


def test_copytruncate_regrown_past_the_offset_is_noticed(world: World, follower: Follower) -> None:
    world.write(2)
    follower.read()
    world.write(1)
    world.copytruncate()
    world.write(9)
    follower.read()
    assert follower.got == list(range(1, 13))
    assert follower.gaps == []


def test_a_restart_goes_on_at_the_saved_place(world: World, follower: Follower) -> None:
    world.write(2)
    follower.read()
    follower.stop()
    world.write(2)
    follower.start()
    follower.read()
    assert follower.got == [1, 2, 3, 4]


def test_a_restart_finds_its_place_in_a_rotated_file(world: World, follower: Follower) -> None:
    world.write(2)
    follower.read()
    follower.stop()
    world.write(1)
    for _ in range(7):
        world.rename_create()
        world.write(1)
    follower.start()
    follower.read()
    assert follower.got == list(range(1, 11))
    assert follower.gaps == []


def test_a_line_over_the_limit_is_skipped_and_counted_and_the_next_is_read(world: World, follower: Follower) -> None:
    world.write(1)
    world.append(b"y" * 1_000_000)
    follower.read()
    world.append(b"y" * 1_000_000 + b"\n")
    world.write(1)
    follower.read()
    assert follower.got == [1, 2]
    assert follower.refused == []
    assert follower.log is not None
    assert follower.log.state().long_lines == 1


def test_a_kill_in_the_middle_of_a_long_line_does_not_turn_its_rest_into_a_line(
    world: World, follower: Follower
) -> None:
    world.write(1)
    follower.read()
    world.append(b"y" * 300_000)
    follower.read()
    follower.start()
    world.append(b"y\n")
    world.write(1)
    follower.read()
    assert follower.got == [1, 2]
    assert follower.refused == []


def test_nuls_before_a_line_are_no_part_of_it(world: World, follower: Follower) -> None:
    world.write(1)
    follower.read()
    world.append(bytes(70_000))
    world.write(1)
    world.append(bytes(10))
    follower.read()
    world.write(1)
    follower.read()
    assert follower.got == [1, 2, 3]
    assert follower.refused == []


def test_a_cr_ends_no_line(world: World, follower: Follower) -> None:
    world.append(b"a\rb\x0bc\x85d\xe2\x80\xa8e\r\n")
    follower.read()
    assert follower.refused == [b"a\rb\x0bc\x85d\xe2\x80\xa8e\r"]


def test_blocks_are_bounded_and_behind_is_told(world: World) -> None:
    world.write(2000)
    log = LogFile(str(world.path), stamp, clock=lambda: world.now, block_bytes=100_000)
    log.resume(None, START - 900)
    seen = 0
    behind = []
    while chunk := log.read(world.now):
        assert len(chunk.block) <= 100_000
        seen += len(chunk.block)
        behind.append(chunk.behind_bytes)
        assert behind[-1] == 2000 * WIDTH - seen
    assert behind[-1] == 0
    log.close()


def test_written_after_is_told_only_once_the_end_was_reached(world: World, follower: Follower) -> None:
    log = follower.log
    assert log is not None
    world.write(1)
    first = log.read(START + 1)
    assert first is not None
    assert first.written_after is None
    assert log.read(START + 2) is None
    world.write(1)
    second = log.read(START + 5)
    assert second is not None
    assert second.written_after == START + 2


def make(what: str, path: Path, other: Path) -> None:
    makers: dict[str, Callable[[], None]] = {
        "directory": path.mkdir,
        "fifo": lambda: os.mkfifo(path),
        "symlink": lambda: path.symlink_to(other),
        "link to a device": lambda: path.symlink_to("/dev/zero"),
    }
    makers[what]()


@pytest.mark.parametrize("what", ["directory", "fifo", "symlink", "link to a device"])
def test_nothing_but_a_regular_file_is_read(world: World, follower: Follower, what: str) -> None:
    world.write(1)
    follower.read()
    other = world.directory / "other"
    other.write_bytes(world.line())
    world.path.unlink()
    make(what, world.path, other)
    follower.read()
    follower.start()
    follower.read()
    assert follower.got == [1]
    assert follower.log is not None
    assert follower.log.state().status == "refused"


def test_a_link_that_was_configured_is_followed_and_may_be_switched(world: World) -> None:
    world.path.unlink()
    first, second = world.directory / "one", world.directory / "two"
    first.touch()
    second.touch()
    world.path.symlink_to(first)
    follower = Follower(world)
    world.write(2)
    follower.read()
    world.write(1)
    world.path.unlink()
    world.path.symlink_to(second)
    world.write(2)
    follower.read()
    world.write(1, to=first)
    follower.read()
    follower.start()
    world.write(1)
    follower.read()
    follower.stop()
    assert follower.lost == []
    assert follower.gaps == []


def test_a_link_to_a_file_of_another_user_is_not_followed(world: World) -> None:
    target, other = world.directory / "one", world.directory / "two"
    world.path.rename(target)
    world.path.symlink_to(target)
    follower = Follower(world)
    world.write(1)
    follower.read()
    other.write_bytes(world.line())
    if os.geteuid() == 0:
        os.chown(other, 12345, 12345)
    else:
        other = Path("/etc/passwd")
    world.path.unlink()
    world.path.symlink_to(other)
    follower.read()
    assert follower.log is not None
    assert follower.log.state().status == "refused"
    follower.stop()
    assert follower.got == [1]
