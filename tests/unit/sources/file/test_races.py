"""A log that is rotated between two steps of one look: after it was opened, before its siblings are listed."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from popauthd.sources.file.blocks import BlockReader
from popauthd.sources.file.open_file import open_file
from popauthd.sources.file.rotation import Plan, Rotation, Unsettled
from popauthd.sources.file.source import LogFile
from tests.support.logworld import START, World, stamp, whole


class Rotating:
    """A world in which the log is rotated `turns` times, once, at the moment when `meanwhile` is called.

    leave_away: the last turn is only half done, the log is renamed and not made again.
    """

    def __init__(self, directory: Path, how: str, turns: int, leave_away: bool = False) -> None:
        self.world = World(directory)
        self._how = how
        self._turns = turns
        self._leave_away = leave_away
        self._names = iter(f"-20261123-{turn:06d}" for turn in range(100))

    def rotate(self) -> None:
        self.world.rename_create(next(self._names) if self._how == "dated" else ".1")

    def meanwhile(self) -> None:
        turns, self._turns = self._turns, 0
        for _ in range(turns):
            self.rotate()
            self.world.write(1)
        if turns and self._leave_away:
            self.rotate()
            self.world.path.unlink()

    def when_listed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The moment is when the directory is listed."""
        scandir = os.scandir

        def overtaken(directory: str) -> object:
            self.meanwhile()
            return scandir(directory)

        monkeypatch.setattr(os, "scandir", overtaken)


Ask = Callable[[Rotation, BlockReader], Plan | None]
ASK: dict[str, Ask] = {
    "going on at a mark": lambda rotation, reader: rotation.from_mark(reader.mark(), 0),
    "beginning with the window": lambda rotation, reader: rotation.from_window(0, []),
    "after a file": lambda rotation, reader: rotation.after(reader, 0, []),
}


def planned(ask: Ask, rotation: Rotation, reader: BlockReader) -> tuple[list[int], list[str]]:
    """The lines of the files of a plan, in its order, and its gaps; asked again while unsettled."""
    for _ in range(3):
        try:
            plan = ask(rotation, reader)
        except Unsettled:
            continue
        if plan is not None:
            lines = [int(hit[2]) for handle in plan.handles for hit in whole(handle.read(0, 1000))]
            for handle in plan.handles:
                handle.close()
            return lines, plan.gaps
    raise AssertionError("no plan")


@pytest.fixture(params=["dated", "numbered"])
def how(request: pytest.FixtureRequest) -> Iterator[str]:
    yield request.param


@pytest.mark.parametrize("turns", [1, 2, 3])
@pytest.mark.parametrize("ask", ASK.values(), ids=ASK)
def test_files_that_are_rotated_during_a_look_stay_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, turns: int, ask: Ask
) -> None:
    rotating = Rotating(tmp_path, how, turns)
    world = rotating.world
    world.write(1)
    reader = BlockReader(open_file(str(world.path)), 0, 1000)
    reader.next_block()
    for _ in range(2):
        rotating.rotate()
        world.write(1)
    rotation = Rotation(str(world.path), lambda line: stamp(line, 0))
    rotating.when_listed(monkeypatch)
    lines, gaps = planned(ask, rotation, reader)
    reader.close()
    assert lines == sorted(lines)
    assert {2, 3} <= set(lines)
    assert gaps == []


@pytest.mark.parametrize("leave_away", [False, True], ids=["made again", "away"])
def test_a_restart_amid_files_rotated_during_a_look_loses_none(tmp_path: Path, how: str, leave_away: bool) -> None:
    rotating = Rotating(tmp_path, how, 3, leave_away)
    world = rotating.world
    world.write(1)

    def stamped(line: bytes, now: int) -> int | None:
        rotating.meanwhile()  # the first line of the log is looked at before its siblings are listed
        return stamp(line, now)

    log = LogFile(str(world.path), stamped, clock=lambda: world.now)
    log.resume(None, START - 900)
    got: list[int] = []
    for _ in range(20):
        chunk = log.read(world.now)
        if chunk is not None:
            got += [int(hit[2]) for hit in whole(chunk.block)]
            log.resume(chunk.place, START - 900)
    assert sorted(set(got)) == [1, 2, 3, 4]
    assert log.take_gaps() == []
    log.close()


def test_a_log_that_is_a_link_to_an_older_name_is_read_all_the_same(tmp_path: Path) -> None:
    """The log is listed among its own siblings, and not as the newest, for good."""
    world = World(tmp_path, "mail.log-20261101")
    world.write(1)
    newer = tmp_path / "mail.log-20261102"
    world.write(1, to=newer)
    link = tmp_path / "mail.log"
    link.symlink_to(world.path)
    log = LogFile(str(link), stamp, clock=lambda: world.now)
    log.resume(None, START - 900)
    blocks = [chunk.block for _ in range(5) if (chunk := log.read(world.now)) is not None]
    assert sorted(int(hit[2]) for hit in whole(b"".join(blocks))) == [1, 2]
    log.close()
