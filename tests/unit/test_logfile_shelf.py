"""Which rotated files are read, in what order, and what is told of those that cannot be."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from popauthd.sources.handles import Handle, open_file
from popauthd.sources.place import Mark
from popauthd.sources.reader import Reader
from popauthd.sources.shelf import Plan, Shelf, Unsettled
from tests.faults.logworld import START, WIDTH, Follower, World, open_in, stamp, whole


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


def turn(world: World, lines: int = 1) -> None:
    """Rotate the log by rename, and write to the new one."""
    world.rename_create()
    world.write(lines)


def turn_into_unreadable(world: World) -> None:
    """Rotate the log into `.1.zst`; what was in it cannot be read."""
    world.rename_create()
    world.destroyed |= world.files[world.sibling(".1")]
    world.move(world.sibling(".1"), world.sibling(".1.zst"))


def no_zstd(world: World, suffix: str) -> str:
    return f"{world.sibling(suffix)} is compressed with zstd: install the package zstd; the lines in it are not read"


def not_there(world: World, number: int) -> str:
    return f"{world.path}.{number} is not there: it was removed before it was read"


def told(follower: Follower) -> list[str]:
    return [gap.what for gap in follower.gaps]


def test_a_place_is_found_behind_a_file_that_cannot_be_read(world: World, follower: Follower) -> None:
    world.write(2)
    follower.read()
    follower.stop()
    world.write(1)
    turn(world)
    turn_into_unreadable(world)
    world.write(1)
    follower.start()
    follower.read()
    assert follower.got == [1, 2, 3, 5]
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
    world.write(2)
    follower.read()
    turn(world)
    turn_into_unreadable(world)
    world.write(1)
    if packing:
        world.pack(".2", packing)
    follower.read()
    assert follower.got == [1, 2, 4]
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
        f"{world.path} went on elsewhere while nothing read it, and no copy of it was found: what was not read yet is "
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
        f"{world.path} {why}, and no copy of it was found: what was not read yet is lost",
    ]


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


def shelf_of(world: World) -> Shelf:
    return Shelf(str(world.path), lambda line: stamp(line, 0), lambda: None)


def lines(plan: Plan | None) -> list[int]:
    """The numbers of all lines in the files of a plan, in its order."""
    assert plan is not None
    found = [int(hit[2]) for handle in plan.handles for hit in whole(handle.read(0, 100_000))]
    for handle in plan.handles:
        handle.close()
    return found


def mark_in(path: Path, offset: int) -> Mark:
    reader = Reader(open_file(str(path)), offset, 1)
    reader.close()
    return reader.mark()


Ask = Callable[[Shelf, Mark], Plan | Handle | None]
ASK: dict[str, Ask] = {
    "going on at a mark": lambda shelf, mark: shelf.from_mark(mark, 0),
    "beginning with the window": lambda shelf, mark: shelf.from_window(START, [mark]),
    "finding a file": lambda shelf, mark: shelf.find(mark),
}


@pytest.mark.parametrize("number", [0, 2, 4, 9], ids=["the log", "a rotated file", "the oldest", "nowhere"])
@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_nothing_stays_open_but_what_is_handed_out(world: World, ask: Ask, number: int) -> None:
    world.now = START - 5000
    world.write(5)
    for _ in range(4):
        turn(world, 5)
    path = world.path if number == 0 else world.sibling(f".{number}")
    if number == 9:
        path.write_bytes(world.line())
    mark = mark_in(path, WIDTH)
    if number == 9:
        path.unlink()
    found = ask(shelf_of(world), mark)
    handles = [] if found is None else found.handles if isinstance(found, Plan) else [found]
    assert open_in(world.directory) == len(handles)
    for handle in handles:
        handle.close()


@pytest.mark.parametrize("replaced", [True, False], ids=["replaced", "removed"])
@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_a_file_that_is_another_by_the_time_it_is_opened_unsettles(
    world: World, monkeypatch: pytest.MonkeyPatch, ask: Ask, replaced: bool
) -> None:
    world.write(1)
    turn(world)
    rotated, opened = world.sibling(".1"), os.open
    mark = mark_in(rotated, WIDTH)

    def overtaken(name: str, flags: int) -> int:
        if name == str(rotated):
            world.write(1, to=world.sibling(".new"))
            rotated.unlink()
            if replaced:
                world.sibling(".new").rename(rotated)
        return opened(name, flags)

    monkeypatch.setattr(os, "open", overtaken)
    with pytest.raises(Unsettled):
        ask(shelf_of(world), mark)
    assert open_in(world.directory) == 0


def test_after_a_file_comes_all_that_is_newer_oldest_first(world: World) -> None:
    world.write(1)
    reader = Reader(open_file(str(world.path)), 0, 1)
    reader.next_block()
    shelf = shelf_of(world)
    assert shelf.after(reader, 0, []) is None
    for _ in range(3):
        turn(world)
    assert lines(shelf.after(reader, 0, [])) == [2, 3, 4]
    world.pack(".3", ".gz")
    assert lines(shelf.after(reader, 0, [])) == [2, 3, 4]
    world.destroy(world.sibling(".3.gz"))
    assert lines(shelf.after(reader, 0, [])) == [2, 3, 4]
    assert lines(shelf.after(reader, 0, [mark_in(world.sibling(".2"), WIDTH)])) == [3, 4]
    assert open_in(world.directory) == 1
    world.path.unlink()
    assert shelf.after(reader, 0, []) is None
    assert shelf.trouble is not None
    assert shelf.trouble.kind == "missing"
    reader.close()


def test_a_saved_place_names_a_file_by_another_name_when_no_other_fits(world: World) -> None:
    world.write(3)
    odd = world.directory / "moved-by-hand"
    world.move(world.path, odd)
    world.create()
    world.write(1)
    shelf = shelf_of(world)
    assert lines(shelf.from_mark(mark_in(odd, WIDTH), 0)) == [1, 2, 3, 4]
    assert shelf.from_mark(Mark(str(odd), 0, 0, 10, 10, "no", 10, "no", False), 0) is None
