"""What the log file source tells of itself, and what it says is lost."""

from __future__ import annotations

import os

import pytest

from popauthd.sources import Chunk
from popauthd.sources.file.source import LogFile
from popauthd.sources.gaps import GAPS_MOST
from tests.support.logworld import (
    PACKERS,
    START,
    WIDTH,
    Follower,
    World,
    open_in,
    stamp,
    state,
    told,
    turn,
    without_rights,
)


def test_status_tells_where_it_is(world: World, follower: Follower) -> None:
    path = str(world.path)
    nothing = {
        "path": path, "status": "missing", "why": f"{path} was not looked for yet", "reading": None, "offset": None,
        "behind_bytes": 0, "last_read_at": None, "at_end_at": None, "old_files": 0, "long_lines": 0,
    }  # fmt: skip
    assert state(follower) == nothing
    follower.read()
    present = {**nothing, "status": "present", "why": "", "reading": path, "offset": 0, "at_end_at": START}
    assert state(follower) == present
    world.now += 5
    world.write(2, end=b"unfinished")
    follower.read()
    read = {**present, "offset": 2 * WIDTH, "last_read_at": START + 5, "at_end_at": START + 5}
    assert state(follower) == read
    world.now += 5
    world.append(b"y" * 70_000 + b"\n")
    world.rename_create()
    follower.read()
    assert state(follower) == {**read, "offset": 0, "at_end_at": START + 10, "old_files": 1, "long_lines": 1}
    world.now += 1000
    follower.read()
    assert state(follower) == {**read, "offset": 0, "at_end_at": START + 1010, "long_lines": 1}
    world.path.unlink()
    follower.read()
    assert state(follower)["status"] == "missing"
    assert state(follower)["why"] == f"{path} does not exist"


def test_a_log_that_may_not_be_read_is_never_read_to_its_end(world: World, follower: Follower) -> None:
    world.write(1)
    follower.read()
    world.now += 10
    world.rename_create()
    world.path.chmod(0)
    with without_rights():
        follower.read()
    assert state(follower)["status"] == "unreadable"
    assert state(follower)["at_end_at"] == START
    world.path.chmod(0o640)
    follower.read()
    assert state(follower)["at_end_at"] == START + 10


def test_a_log_that_is_missing_is_read_to_its_end_all_the_same(world: World, follower: Follower) -> None:
    world.write(1)
    world.rename_create()
    world.path.unlink()
    world.now += 10
    follower.read()
    assert follower.got == [1]
    assert state(follower)["at_end_at"] == START + 10


def chunks(world: World, place: bytes | None = None, block_bytes: int = 65537) -> list[Chunk]:
    """All that a source of its own hands out."""
    log = LogFile(str(world.path), stamp, clock=lambda: world.now, block_bytes=block_bytes)
    log.resume(place, START - 900)
    found = list(iter(lambda: log.read(world.now), None))
    log.close()
    return [one for one in found if one is not None]


def test_what_waits_in_rotated_files_is_behind(world: World) -> None:
    for lines in (3, 5, 7):
        world.write(lines)
        world.rename_create()
    world.write(2)
    found = chunks(world)
    assert [len(chunk.block) // WIDTH for chunk in found] == [3, 5, 7, 2]
    assert [chunk.behind_bytes // WIDTH for chunk in found] == [14, 9, 2, 0]
    assert [chunk.written_after for chunk in found] == [None] * 4


def test_every_place_on_the_way_is_one_to_go_on_from(world: World) -> None:
    for lines in (3, 900, 7):
        world.write(lines)
        world.rename_create()
    world.write(900)
    found = chunks(world)
    assert len(found) == 8
    for number, chunk in enumerate(found):
        rest = b"".join(one.block for one in chunks(world, chunk.place))
        assert rest == b"".join(one.block for one in found[number + 1 :])


def test_when_the_end_was_reached_is_forgotten_with_what_was_read(world: World, follower: Follower) -> None:
    """Else a line would seem to be written after a moment at which nobody looked."""
    log = follower.log
    assert log is not None
    world.write(2)
    follower.read()
    world.truncate()
    world.write(1)
    cut = log.read(START + 20)
    assert cut is not None
    assert cut.written_after is None
    assert log.read(START + 21) is None
    log.resume(cut.place, START - 900)
    world.write(1)
    again = log.read(START + 30)
    assert again is not None
    assert again.written_after is None


def test_nothing_stays_open_after_close(world: World, follower: Follower) -> None:
    for _ in range(3):
        world.write(1)
        follower.read()
        world.rename_create()
        follower.read()
    assert open_in(world.directory) == 4
    log = follower.log
    assert log is not None
    log.close()
    assert open_in(world.directory) == 0
    assert state(follower)["old_files"] == 0
    assert state(follower)["reading"] is None
    log.resume(follower.saved[-1], START - 900)
    world.write(1)
    follower.read()
    assert follower.got == [1, 2, 3, 4]


@pytest.mark.parametrize("packing", sorted(PACKERS))
def test_a_damaged_packed_file_is_a_gap_and_what_stands_before_and_after_is_read(
    world: World, follower: Follower, packing: str
) -> None:
    world.write(1)
    follower.read()
    follower.stop()
    world.write(8000)
    world.rename_create()
    world.pack(".1", packing)
    packed = world.sibling(f".1{packing}")
    packed.write_bytes(packed.read_bytes()[:-16])
    world.write(1)
    follower.start()
    follower.read()
    assert follower.got[-1] == world.count
    gap, *unfinished = told(follower)
    if packing == ".bz2":  # all of it is one block, and nothing of that can be read
        assert "no copy of it was found" in gap
        return
    assert gap.startswith(f"{packed} is damaged (")
    assert gap.endswith("): the lines after the damage are lost")
    assert all(f"the last line of {packed} was never finished" in one for one in unfinished)
    assert state(follower)["old_files"] == 0, "nobody writes into it any more"


def test_only_the_last_gaps_are_kept_until_they_are_taken(world: World) -> None:
    log = LogFile(str(world.path), stamp, clock=lambda: world.now)
    for _ in range(GAPS_MOST + 5):
        log.resume(b"damaged", START)
    gaps = log.take_gaps()
    assert len(gaps) == GAPS_MOST
    assert gaps[0].what == f"the saved place in {world.path} is damaged: lines may be missing or come twice"
    assert log.take_gaps() == []


@pytest.mark.parametrize("packing", ["", ".gz"], ids=["renamed", "packed, so another inode"])
def test_a_log_that_was_empty_when_the_place_was_saved_is_read_from_the_window(
    world: World, follower: Follower, packing: str
) -> None:
    """An empty file cannot be known again; what comes twice is harmless."""
    world.write(1)
    follower.read()
    world.rename_create()
    follower.read()
    world.write(1, to=world.sibling(".1"))  # saves a place in the empty log
    follower.read()
    follower.stop()
    world.write(1)
    world.rename_create()
    if packing:
        world.pack(".1", packing)
    world.write(1)
    follower.start()
    follower.read()
    assert follower.lost == []
    assert follower.gaps == []


def test_a_truncation_to_nothing_begins_at_the_start_and_is_told(world: World, follower: Follower) -> None:
    world.write(3)
    follower.read()
    world.truncate()
    follower.read()
    assert told(follower) == [
        f"{world.path} was truncated or written anew, and no copy of it was found in {world.path.parent}: "
        f"what was not read yet is lost"
    ]
    world.write(2)
    follower.read()
    assert follower.got == [1, 2, 3, 4, 5]
    assert len(told(follower)) == 1


def test_amid_a_rotation_the_end_is_not_reached(
    world: World, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which files come next cannot be told then."""
    world.write(1)
    follower.read()
    turn(world)
    turn(world)
    newest, opened = world.sibling(".1"), os.open

    def overtaken(name: str, flags: int) -> int:
        if name == str(newest):
            newest.rename(world.sibling(".3"))
        return opened(name, flags)

    world.now += 10
    with monkeypatch.context() as context:
        context.setattr(os, "open", overtaken)
        follower.read()
    assert follower.got == [1]
    assert state(follower)["at_end_at"] == START
    world.sibling(".3").rename(newest)
    follower.read()
    assert follower.got == [1, 2, 3]
    assert state(follower)["at_end_at"] == START + 10


@pytest.mark.parametrize("place", [None, b"damaged"])
def test_without_a_place_it_begins_anew_whatever_it_did_before(
    world: World, follower: Follower, place: bytes | None
) -> None:
    world.write(1)
    follower.read()
    turn(world)
    follower.read()
    log = follower.log
    assert log is not None
    log.resume(follower.saved[0], START - 900)  # goes on at a mark, as if it were stopped before it could
    log.resume(place, START - 900)
    follower.read()
    assert follower.got == [1, 2, 1, 2]
