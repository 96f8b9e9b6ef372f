"""popauthd.sources.file.rotation: the plans that it makes, and that nothing stays open but what is in them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from popauthd.sources.file.blocks import BlockReader
from popauthd.sources.file.open_file import Handle, open_file
from popauthd.sources.file.place import Mark
from popauthd.sources.file.rotation import Plan, Rotation, Unsettled
from tests.support.logworld import START, WIDTH, World, open_in, stamp, turn, whole


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def rotation_of(world: World) -> Rotation:
    return Rotation(str(world.path), lambda line: stamp(line, 0))


def lines(plan: Plan | None) -> list[int]:
    """The numbers of all lines in the files of a plan, in its order."""
    assert plan is not None
    found = [int(hit[2]) for handle in plan.handles for hit in whole(handle.read(0, 100_000))]
    for handle in plan.handles:
        handle.close()
    return found


def mark_in(path: Path, offset: int) -> Mark:
    reader = BlockReader(open_file(str(path)), offset, 1)
    reader.close()
    return reader.mark()


Ask = Callable[[Rotation, Mark], Plan | Handle | None]
ASK: dict[str, Ask] = {
    "going on at a mark": lambda rotation, mark: rotation.from_mark(mark, 0),
    "beginning with the window": lambda rotation, mark: rotation.from_window(START, [mark]),
    "finding a file": lambda rotation, mark: rotation.find(mark),
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
    found = ask(rotation_of(world), mark)
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
        ask(rotation_of(world), mark)
    assert open_in(world.directory) == 0


def test_after_a_file_comes_all_that_is_newer_oldest_first(world: World) -> None:
    world.write(1)
    reader = BlockReader(open_file(str(world.path)), 0, 1)
    reader.next_block()
    rotation = rotation_of(world)
    assert rotation.after(reader, 0, []) is None
    for _ in range(3):
        turn(world)
    assert lines(rotation.after(reader, 0, [])) == [2, 3, 4]
    world.pack(".3", ".gz")
    assert lines(rotation.after(reader, 0, [])) == [2, 3, 4]
    world.destroy(world.sibling(".3.gz"))
    assert lines(rotation.after(reader, 0, [])) == [2, 3, 4]
    assert lines(rotation.after(reader, 0, [mark_in(world.sibling(".2"), WIDTH)])) == [3, 4]
    assert open_in(world.directory) == 1
    world.path.unlink()
    assert rotation.after(reader, 0, []) is None
    assert rotation.trouble is not None
    assert rotation.trouble.kind == "missing"
    reader.close()


def test_a_saved_place_names_a_file_by_another_name_when_no_other_fits(world: World) -> None:
    world.write(3)
    odd = world.directory / "moved-by-hand"
    world.move(world.path, odd)
    world.create()
    world.write(1)
    rotation = rotation_of(world)
    assert lines(rotation.from_mark(mark_in(odd, WIDTH), 0)) == [1, 2, 3, 4]
    assert rotation.from_mark(Mark(str(odd), 0, 0, 10, 10, "no", 10, "no", False), 0) is None
