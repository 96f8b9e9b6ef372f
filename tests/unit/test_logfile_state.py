"""What the log file source tells of itself, how long it minds rotated files, and what it says is lost."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.sources import Chunk
from popauthd.sources.logfile import GAPS_MOST, LogFile
from popauthd.sources.place import OLD_MOST, decode
from tests.faults.logworld import PACKERS, START, WIDTH, Follower, World, open_in, stamp, whole, without_rights


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
def follower(world: World) -> Iterator[Follower]:
    follower = Follower(world)
    yield follower
    follower.stop()


def state(follower: Follower) -> dict[str, str | int | None]:
    assert follower.log is not None
    return follower.log.state()


def told(follower: Follower) -> list[str]:
    return [gap.what for gap in follower.gaps]


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


def test_a_log_that_was_empty_when_the_place_was_saved_is_read_from_the_window(
    world: World, follower: Follower
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
        f"{world.path} was truncated or written anew, and no copy of it was found: what was not read yet is lost"
    ]
    world.write(2)
    follower.read()
    assert follower.got == [1, 2, 3, 4, 5]
    assert len(told(follower)) == 1
