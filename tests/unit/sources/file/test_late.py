"""Rotated files that are still written to: for how long they are minded, and how many."""

from __future__ import annotations

import pytest

from popauthd.sources.file.place import OLD_MOST, decode
from tests.support.logworld import START, Follower, World, state, told, whole


def test_a_rotated_file_is_minded_until_it_was_quiet_for_ten_minutes(world: World, follower: Follower) -> None:
    world.write(1)
    follower.read()
    world.rename_create()
    follower.read()
    rotated = world.sibling(".1")
    for _ in range(3):  # each late line renews the time
        world.now += 599
        follower.read()
        world.write(1, to=rotated)
        follower.read()
    assert follower.got == [1, 2, 3, 4]
    world.now += 599
    follower.read()
    assert state(follower)["old_files"] == 1
    world.now += 1
    follower.read()
    assert state(follower)["old_files"] == 0
    world.write(1, to=rotated)
    follower.read()
    assert follower.got == [1, 2, 3, 4]
    assert follower.gaps == []


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "restarted"])
def test_a_last_line_that_is_never_finished_is_told_when_the_file_is_given_up(
    world: World, follower: Follower, stopped: bool
) -> None:
    world.write(1, end=b"y" * 33)
    follower.read()
    world.rename_create()
    world.write(1)
    follower.read()
    if stopped:
        follower.start()
        follower.read()
    world.now += 599
    follower.read()
    assert follower.gaps == []
    world.now += 1
    follower.read()
    rotated = world.sibling(".1") if stopped else world.path
    assert told(follower) == [f"the last line of {rotated} was never finished (33 bytes)"]
    assert follower.gaps[0].at == START + 600


def test_no_more_than_so_many_rotated_files_are_minded(world: World, follower: Follower) -> None:
    for _ in range(OLD_MOST + 4):
        world.write(1)
        follower.read()
        world.rename_create()
        follower.read()
    follower.read()
    assert state(follower)["old_files"] == OLD_MOST
    world.write(1)
    follower.read()
    place = decode(follower.saved[-1])
    assert place is not None
    assert len(place.old) == OLD_MOST
    late = world.sibling(f".{OLD_MOST}")
    world.write(1, to=late)
    world.write(1, to=world.sibling(f".{OLD_MOST + 1}"))
    follower.read()
    assert follower.lost == [world.count]


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "restarted"])
def test_late_lines_and_new_ones_take_turns(world: World, follower: Follower, stopped: bool) -> None:
    world.write(1)
    follower.read()
    world.rename_create()
    world.write(1)
    follower.read()
    log = follower.log
    assert log is not None
    world.write(4000, to=world.sibling(".1"))
    world.write(4000)
    if stopped:
        follower.start()
        log = follower.log
        assert log is not None
    late = []
    while chunk := log.read(world.now):
        late.append(int(whole(chunk.block)[0][2]) < 4000)
    assert late[:4] in ([True, False, True, False], [False, True, False, True])


def test_late_lines_are_read_after_a_restart_whatever_the_file_is_called_by_then(
    world: World, follower: Follower
) -> None:
    for _ in range(2):
        world.write(1)
        follower.read()
        world.rename_create()
        world.write(1)
        follower.read()
    follower.stop()
    world.write(1, to=world.sibling(".1"))
    world.write(1, to=world.sibling(".2"))
    world.rename_create()
    world.pack(".3", ".gz")
    world.destroy(world.sibling(".1"))
    world.write(1)
    follower.start()
    follower.read()
    assert follower.lost == []
    assert sorted(follower.got) == [*range(1, world.count + 1)]
    assert state(follower)["old_files"] == 1


@pytest.mark.parametrize("regrown", [0, 40], ids=["cut", "cut and regrown"])
def test_a_minded_file_that_is_written_anew_is_given_up(world: World, follower: Follower, regrown: int) -> None:
    """What is in it now was read before, or came from who knows where."""
    world.write(20)
    follower.read()
    world.rename_create()
    world.write(1)
    follower.read()
    rotated = world.sibling(".1")
    rotated.write_bytes(rotated.read_bytes()[:2000] + b"x" * regrown * 200)
    follower.read()
    assert state(follower)["old_files"] == 0
    world.write(1)
    follower.read()
    assert follower.got == [*range(1, 23)]
    assert follower.gaps == []
