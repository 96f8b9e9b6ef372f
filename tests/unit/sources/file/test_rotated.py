"""Rotated files as the follower meets them: what is read, in what order, and what is told of those that cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.sources.file.blocks import STEPS
from popauthd.sources.file.place import decode
from popauthd.sources.file.tail import BLOCK_BYTES
from tests.support.logworld import WIDTH, Follower, World, told, turn


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """With no zstd command: what is packed with it cannot be read, whereas permissions stop root from nothing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return World(tmp_path)


@pytest.fixture
def follower(world: World) -> Iterator[Follower]:
    follower = Follower(world)
    yield follower
    follower.stop()


def turn_into_unreadable(world: World) -> None:
    """Rotate the log into `.1.zst`; what was in it cannot be read."""
    world.rename_create()
    world.destroyed |= world.files[world.sibling(".1")]
    world.move(world.sibling(".1"), world.sibling(".1.zst"))


def no_zstd(world: World, suffix: str) -> str:
    return f"{world.sibling(suffix)} is compressed with zstd: install the package zstd; the lines in it are not read"


def not_there(world: World, number: int) -> str:
    return f"{world.path}.{number} is not there: it was removed before it was read"


def test_a_place_is_found_behind_a_file_that_cannot_be_read(world: World, follower: Follower) -> None:
    world.write(2)
    follower.read()
    follower.stop()
    world.write(1)
    turn(world)
    turn(world)
    turn_into_unreadable(world)
    world.write(1)
    follower.start()
    follower.read()
    assert follower.got == [1, 2, 3, 4, 6]
    assert told(follower) == [no_zstd(world, ".1.zst")]


def test_a_window_reaches_behind_a_file_that_cannot_be_read(world: World, follower: Follower) -> None:
    world.write(1)
    turn(world)
    turn_into_unreadable(world)
    world.write(1)
    follower.start()
    follower.read()
    assert follower.got == [1, 3]
    assert told(follower) == [no_zstd(world, ".1.zst")]


@pytest.mark.parametrize("packing", ["", ".gz"], ids=["renamed", "packed, so another inode"])
def test_the_file_at_hand_is_found_behind_one_that_cannot_be_read(
    world: World, follower: Follower, packing: str
) -> None:
    world.write(1)
    turn(world)  # older than what is at hand, and read already
    follower.read()
    turn(world)
    turn(world)
    turn_into_unreadable(world)
    world.now += 100_000  # so what is found by its time alone would be too old
    world.write(1)
    if packing:
        world.pack(".3", packing)
    follower.read()
    assert follower.got == [1, 2, 3, 5]
    assert told(follower) == [no_zstd(world, ".1.zst")]


def test_late_writes_are_found_after_a_restart_behind_a_file_that_cannot_be_read(
    world: World, follower: Follower
) -> None:
    world.write(2)
    follower.read()
    turn(world)
    follower.read()
    follower.stop()
    world.write(1, to=world.sibling(".1"))
    turn_into_unreadable(world)
    world.write(1)
    follower.start()
    follower.read()
    assert 4 in follower.got
    assert 5 in follower.got


def test_all_that_cannot_be_read_is_told_when_the_place_is_nowhere(world: World, follower: Follower) -> None:
    world.write(2)
    follower.read()
    follower.stop()
    world.destroy(world.path)
    world.create()
    world.write(1)
    turn_into_unreadable(world)
    world.write(1)
    turn_into_unreadable(world)
    world.write(1)
    follower.start()
    follower.read()
    lost, *window = told(follower)
    assert lost == (
        f"{world.path} went on elsewhere while nothing read it, and no copy of it was found in {world.path.parent}: "
        f"what was not read yet is "
        f"lost; {no_zstd(world, '.1.zst')}; {no_zstd(world, '.2.zst')}"
    )
    assert window == [no_zstd(world, ".1.zst"), no_zstd(world, ".2.zst")]
    assert follower.got == [1, 2, 5]


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
@pytest.mark.parametrize("removed", [[1], [2], [1, 3]])
def test_every_number_that_is_missing_is_told(
    world: World, follower: Follower, stopped: bool, removed: list[int]
) -> None:
    world.write(1)
    follower.read()
    if stopped:
        follower.stop()
    for _ in range(4):
        turn(world)
    for number in removed:
        world.destroy(world.sibling(f".{number}"))
    if stopped:
        follower.start()
    follower.read()
    assert told(follower) == [not_there(world, number) for number in removed]
    assert follower.lost == []


def test_numbers_may_begin_with_nought_or_be_dates(world: World, follower: Follower) -> None:
    for suffix in (".0", "-20261123", "-20261125"):
        world.write(1)
        follower.read()
        follower.stop()
        world.write(1)
        for path in world.directory.glob("mail.log*"):
            if path != world.path:
                world.destroy(path)
        world.rename_create(suffix)
        world.write(1)
        follower.start()
        follower.read()
    assert follower.lost == []
    assert follower.gaps == []


def test_a_savelog_file_that_is_missing_is_told(world: World, follower: Follower) -> None:
    world.write(1)
    follower.read()
    follower.stop()
    world.move(world.path, world.sibling(".2"))
    world.path.touch()
    world.sibling(".0").write_bytes(world.line())
    follower.start()
    follower.read()
    assert told(follower) == [not_there(world, 1)]
    assert follower.got == [1, 2]


@pytest.mark.parametrize("grown", [10, 40], ids=["below the place", "past the place"])
@pytest.mark.parametrize("stopped", [False, True], ids=["running", "stopped"])
def test_a_log_cut_above_its_first_thousand_bytes_and_regrown_is_noticed(
    world: World, follower: Follower, stopped: bool, grown: int
) -> None:
    """Its beginning is as it was: only the last bytes before the place tell."""
    world.write(20)
    follower.read()
    if stopped:
        follower.stop()
    world.truncate(10 * WIDTH)
    world.write(grown)
    if stopped:
        follower.start()
    follower.read()
    assert sorted(set(follower.got)) == list(range(1, 21 + grown))
    why = "went on elsewhere while nothing read it" if stopped else "was truncated or written anew"
    assert told(follower) == [
        f"{world.path} {why}, and no copy of it was found in {world.path.parent}: what was not read yet is lost",
    ]


def test_rotated_files_are_read_before_the_log_is_there(world: World, follower: Follower) -> None:
    world.write(2)
    turn(world)
    world.destroy(world.path)
    follower.read()
    assert follower.got == [1, 2]
    world.create()
    world.write(1)
    follower.read()
    assert follower.got == [1, 2, 4]


def test_a_file_that_was_read_and_moved_away_is_not_read_again_from_its_packed_copy(
    world: World, follower: Follower
) -> None:
    world.write(3)
    follower.read()
    away = world.directory / "olddir"
    away.mkdir()
    world.rename_create()
    world.pack(".1", ".gz")
    world.write(1)
    follower.read()
    world.rename_create()
    world.sibling(".1").rename(away / "mail.log.1")
    world.write(1)
    follower.read()
    assert follower.got == [1, 2, 3, 4, 5]


def test_what_little_is_unread_is_read_however_old_it_is(world: World, follower: Follower) -> None:
    """The window is for a first start and for very much; a place is gone on from."""
    world.write(1)
    follower.read()
    follower.stop()
    world.write(2)
    world.rename_create()
    world.write(1)
    world.now += 100_000
    follower.oldest = world.now - 900
    follower.start()
    follower.read()
    assert follower.got == [1, 2, 3, 4]


def test_an_empty_log_that_was_filled_and_copied_away_between_two_looks_is_noticed(
    world: World, follower: Follower
) -> None:
    """Nothing of it had been read that could be compared, but a rotated file is new."""
    follower.read()
    world.write(1)
    world.copytruncate()
    world.write(1)
    follower.read()
    assert follower.got == [1, 2]
    assert follower.gaps == []
    world.copytruncate()
    follower.read()
    world.write(1)
    follower.read()
    assert follower.got == [1, 2, 3]


def test_a_window_that_begins_in_a_packed_file_leaves_a_place_to_go_on_from(world: World, follower: Follower) -> None:
    world.now -= 5000
    world.write(3)
    world.now += 5000
    world.write(3)
    world.rename_create()
    world.pack(".1", ".gz")
    world.write(1)
    follower.start()
    follower.read(1)
    place = decode(follower.saved[-1])
    assert place is not None
    assert place.at.offset == 6 * WIDTH
    follower.start()
    follower.read()
    assert follower.got == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("packing", ["", ".gz"], ids=["plain", "packed"])
def test_what_stands_behind_a_huge_line_of_a_rotated_file_is_read(
    world: World, follower: Follower, packing: str
) -> None:
    """It is skipped in several calls, and the file is not at its end before."""
    world.write(1)
    follower.read()
    follower.stop()
    world.append(b"y" * (STEPS + 2) * BLOCK_BYTES + b"\n")
    world.write(1)
    world.rename_create()
    if packing:
        world.pack(".1", packing)
    world.write(1)
    follower.start()
    follower.read()
    assert follower.got == [1], "one call reads no more than so much"
    follower.read()
    assert follower.got == [1, 2, 3]
    assert follower.gaps == []


def turn_into(world: World, old: Path, name: str) -> None:
    """Rotate the log into a directory of its own, as logrotate's olddir does."""
    world.move(world.path, old / name)
    world.create()


@pytest.fixture
def old(world: World, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory that logrotate's configuration names for the old files of this log."""
    configuration = world.directory / "logrotate.conf"
    configuration.write_text(f"{world.directory}/*.log {{\n olddir old\n}}\n")
    monkeypatch.setattr("popauthd.sources.file.logrotate.CONFIGURATION", str(configuration))
    (world.directory / "old").mkdir()
    return world.directory / "old"


def test_a_log_that_was_moved_to_olddir_while_nothing_read_it_is_found(
    world: World, follower: Follower, old: Path
) -> None:
    world.write(2)
    follower.read()
    follower.stop()
    world.write(1)
    turn_into(world, old, "mail.log.2")
    world.write(1)
    turn_into(world, old, "mail.log.1")
    world.write(1)
    follower.start()
    follower.read()
    assert follower.got == [1, 2, 3, 4, 5]
    assert told(follower) == []


def test_two_rotations_into_olddir_between_two_looks_lose_nothing(world: World, follower: Follower, old: Path) -> None:
    world.write(1)
    follower.read()
    world.write(1)
    turn_into(world, old, "mail.log-20261123")
    world.write(1)
    turn_into(world, old, "mail.log-20261124")
    world.write(1)
    follower.read()
    assert follower.got == [1, 2, 3, 4]
    assert told(follower) == []


def test_a_gap_says_where_it_looked(world: World, follower: Follower, old: Path) -> None:
    world.write(1)
    follower.read()
    follower.stop()
    world.path.unlink()
    world.create()
    world.write(1)
    follower.start()
    follower.read()
    (gap,) = told(follower)
    assert f"no copy of it was found in {world.directory}, {old}: " in gap
