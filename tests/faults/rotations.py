"""What can happen to a log: one function a row of the rotation matrix."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from tests.support.logworld import BURST, START, WIDTH, Stage, without_rights

Row = Callable[[Stage], None]


def rename_and_create(stage: Stage) -> None:
    stage.step()
    stage.world.rename_create()
    stage.step()


def rename_and_create_ten_seconds_later(stage: Stage) -> None:
    world = stage.world
    world.shift()
    world.move(world.path, world.sibling(".1"))
    stage.look()
    world.write(2, to=world.sibling(".1"))
    stage.look()
    world.now += 10
    world.create()
    stage.step()


def copytruncate_small(stage: Stage) -> None:
    stage.world.copytruncate()
    stage.look()
    stage.step(1)


def copytruncate_regrown_past_the_offset(stage: Stage) -> None:
    stage.world.copytruncate()
    stage.world.write(3 * BURST)
    stage.step()


def copytruncate_twice(stage: Stage) -> None:
    for _ in range(2):
        stage.world.copytruncate()
        stage.world.write(3)
    stage.step()


def one_then_two_packed(stage: Stage) -> None:
    stage.world.rename_create()
    stage.step()
    stage.world.rename_create()
    stage.world.pack(".2", ".gz")
    stage.step()


def seven_turns(stage: Stage) -> None:
    for turn in range(7):
        stage.world.rename_create()
        if turn > 0:
            stage.world.pack(".2", ".gz")
        stage.step()


def dated(stage: Stage) -> None:
    for day in (23, 24, 25):
        stage.world.rename_create(f"-202611{day}")
        stage.step()


def dated_with_seconds(stage: Stage) -> None:
    for second in range(3):
        stage.world.rename_create(f"-20261123-{START + second}")
        stage.step()
        stage.world.rename_create(f"-20261123-{START + second}5")
        stage.step()


def dated_with_clock_time(stage: Stage) -> None:
    for second in range(3):
        stage.world.rename_create(f"-20261123-21000{second}")
        if second:
            stage.world.pack(f"-20261123-21000{second - 1}", ".xz")
        stage.step()


def _packed_at_once(stage: Stage, packing: str) -> None:
    for _ in range(2):
        stage.world.rename_create()
        stage.world.pack(".1", packing)
        stage.step()


def gz_without_delay(stage: Stage) -> None:
    _packed_at_once(stage, ".gz")


def xz(stage: Stage) -> None:
    _packed_at_once(stage, ".xz")


def zst(stage: Stage) -> None:
    _packed_at_once(stage, ".zst")


def bz2(stage: Stage) -> None:
    _packed_at_once(stage, ".bz2")


def savelog(stage: Stage) -> None:
    world = stage.world
    for _ in range(3):
        world.shift(0)
        if world.sibling(".1").exists():
            world.pack(".1", ".gz")
        world.move(world.path, world.sibling(".0"))
        world.create()
        stage.step()


def unlink_and_create_on_the_same_inode(stage: Stage) -> None:
    """ext4 gives a freed inode away at once; where the file system does not, the row is the weaker one."""
    stage.world.destroy(stage.world.path)
    stage.world.create()
    stage.step()
    stage.step()


def truncate_to_nothing(stage: Stage) -> None:
    stage.world.truncate()
    stage.look()
    stage.step()


def truncate_in_the_middle_of_a_line(stage: Stage) -> None:
    world = stage.world
    world.truncate(WIDTH * 2 + WIDTH // 2)
    # The first line after the cut is joined to what is left of the one that was cut: nobody may
    # believe it, so it is as lost as the other.
    joined = world.count + 1
    world.write(1)
    world.destroyed.add(joined)
    stage.look()
    stage.step()


def late_writes(stage: Stage) -> None:
    stage.world.rename_create()
    stage.world.write(2, to=stage.world.sibling(".1"))
    stage.step()
    stage.world.write(2, to=stage.world.sibling(".1"))
    stage.look()
    stage.world.rename_create()
    stage.world.write(2, to=stage.world.sibling(".2"))
    stage.step()


def directory_removed_and_made_again(stage: Stage) -> None:
    world = stage.world
    world.destroyed |= world.files.pop(world.path)
    shutil.rmtree(world.directory)
    stage.look()
    world.directory.mkdir()
    world.create()
    stage.step()


def directory_moved_away_and_back(stage: Stage) -> None:
    world = stage.world
    away = world.directory.with_name("away")
    world.directory.rename(away)
    stage.look()
    away.rename(world.directory)
    stage.step()


def unreadable_for_thirty_seconds(stage: Stage) -> None:
    world = stage.world
    world.rename_create()
    world.write(2)
    world.path.chmod(0)
    for _ in range(3):
        with without_rights():
            stage.look()
        world.now += 10
    world.path.chmod(0o640)
    stage.step()


def replaced_by_a_directory_for_a_while(stage: Stage) -> None:
    world = stage.world
    aside = world.directory / "aside"
    world.rename_create()
    world.write(2)
    world.path.rename(aside)
    world.path.mkdir()
    stage.look()
    world.path.rmdir()
    aside.rename(world.path)
    stage.step()


def reopened_without_rotation(stage: Stage) -> None:
    """`doveadm log reopen`, and an administrator's chmod: another descriptor of the writer, the same file."""
    world = stage.world
    before = world.path.stat()
    stage.step()
    world.path.chmod(0o600)
    os.utime(world.path, (START, START))
    stage.look()
    stage.step()
    assert world.path.stat().st_ino == before.st_ino


def empty_rotated_file(stage: Stage) -> None:
    for _ in range(3):
        stage.world.rename_create()
    stage.look()
    stage.world.rename_create()
    stage.step()


def rotated_file_deleted_unread(stage: Stage) -> None:
    world = stage.world
    world.rename_create()
    world.write(2)
    world.rename_create()
    world.destroy(world.sibling(".1"))
    world.write(2)
    stage.step()


def unfinished_line_at_rotation(stage: Stage) -> None:
    world = stage.world
    line = world.line()
    world.append(line[:30])
    stage.look()
    world.rename_create()
    stage.step()
    with world.sibling(".1").open("ab") as log:
        log.write(line[30:])
    world.files[world.sibling(".1")].add(int(line[16:22]))
    stage.step()


def crlf(stage: Stage) -> None:
    world = stage.world
    for _ in range(3):
        world.append(world.line()[:-1] + b"\r\n")
    world.rename_create()
    stage.step()


def a_long_line(stage: Stage) -> None:
    stage.world.write(2, end=b"y" * 1_000_000)
    stage.look()
    stage.world.append(b"y" * 300_000 + b"\n")
    stage.step()
    stage.world.rename_create()
    stage.step()


def a_hole_of_nuls(stage: Stage) -> None:
    """A writer without O_APPEND goes on at its old offset after copytruncate."""
    world = stage.world
    world.copytruncate()
    os.truncate(world.path, 5_000_000)
    stage.look()
    world.write(3)
    stage.step()


def a_hundred_rotations_between_looks(stage: Stage) -> None:
    for turn in range(100):
        stage.world.rename_create(f"-20261123-{turn:06d}")
        stage.world.write(1)
        if turn % 40 == 0:
            stage.look()
    stage.step()


def cleared_and_filled_while_empty(stage: Stage) -> None:
    for _ in range(3):
        stage.world.copytruncate()
        stage.look()
        stage.world.write(1)
        stage.world.copytruncate()
        stage.world.write(1)
        stage.look()
    stage.step()
