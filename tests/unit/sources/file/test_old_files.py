"""popauthd.sources.file.old_files: rotated files are watched for late writes, given up, and found again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.sources.file.blocks import LINE_BYTES, BlockReader
from popauthd.sources.file.old_files import OldFiles
from popauthd.sources.file.open_file import open_file
from popauthd.sources.file.place import OLD_MOST, Mark
from popauthd.sources.file.rotation import Rotation, Unsettled
from popauthd.sources.gaps import Gaps
from tests.support.logworld import START, WIDTH, World, open_in, stamp, whole

KEEP = 600


@pytest.fixture
def gaps() -> Gaps:
    return Gaps()


@pytest.fixture
def old(gaps: Gaps) -> Iterator[OldFiles]:
    old = OldFiles(gaps, 1, KEEP)
    yield old
    old.close()


@pytest.fixture
def rotation(world: World) -> Rotation:
    return Rotation(str(world.path), lambda line: stamp(line, 0))


def read_whole(path: Path) -> BlockReader:
    reader = BlockReader(open_file(str(path)), 0, 1)
    while reader.next_block():
        pass
    return reader


def late(old: OldFiles, now: int) -> list[int]:
    """The numbers of the lines of one block of late writes."""
    return [int(hit[2]) for hit in whole(old.next_block(now) or b"")]


def test_late_writes_are_read_and_put_off_the_end(world: World, old: OldFiles) -> None:
    world.write(1)
    old.add(read_whole(world.path), START)
    assert late(old, START) == []
    world.write(2)
    assert late(old, START + KEEP - 1) == [2, 3]
    assert [mark.offset for mark in old.marks()] == [3 * WIDTH]
    assert [mark.offset for mark in old.done] == [WIDTH]
    assert late(old, START + 2 * KEEP - 2) == []
    assert len(old) == 1
    assert late(old, START + 2 * KEEP - 1) == []
    assert len(old) == 0
    assert open_in(world.directory) == 0


def test_of_too_many_files_the_oldest_are_given_up(world: World, old: OldFiles) -> None:
    for number in range(OLD_MOST + 2):
        path = world.directory / f"old.{number}"
        world.write(1, to=path)
        old.add(read_whole(path), START)
    assert late(old, START) == []
    assert [Path(mark.path).name for mark in old.marks()] == [f"old.{number}" for number in range(2, OLD_MOST + 2)]
    assert open_in(world.directory) == OLD_MOST


def test_an_unfinished_line_is_told_when_the_file_is_given_up_but_not_when_it_was_written_anew(
    world: World, old: OldFiles, gaps: Gaps
) -> None:
    kept, cut = world.directory / "kept", world.directory / "cut"
    for path in (kept, cut):
        world.write(1, to=path, end=b"y" * 33)
        old.add(read_whole(path), START)
    cut.write_bytes(b"anew\n")
    assert late(old, START) == []
    assert len(old) == 1
    assert late(old, START + KEEP) == []
    assert [(gap.what, gap.at) for gap in gaps.take()] == [
        (f"the last line of {kept} was never finished (33 bytes)", START + KEEP)
    ]


def test_a_packed_file_is_closed_at_once_and_its_damage_told(world: World, old: OldFiles, gaps: Gaps) -> None:
    for _ in range(2):
        world.write(1)
        world.rename_create()
        world.pack(".1", ".gz")
    whole_one, damaged = world.sibling(".2.gz"), world.sibling(".1.gz")
    damaged.write_bytes(damaged.read_bytes()[:-4])
    for path in (whole_one, damaged):
        old.add(read_whole(path), START)
    assert len(old) == 0
    assert len(old.done) == 2
    assert open_in(world.directory) == 0
    [gap] = gaps.take()
    assert gap.what.startswith(f"{damaged} is damaged (")
    assert gap.at == START


def test_lines_that_are_too_long_are_counted_also_of_files_that_are_given_up(world: World, old: OldFiles) -> None:
    world.append(b"y" * (LINE_BYTES + 1) + b"\n")
    old.add(read_whole(world.path), START)
    assert old.long_lines == 1
    assert late(old, START + KEEP) == []
    assert (len(old), old.long_lines) == (0, 1)


def test_the_files_of_a_saved_place_are_watched_again_from_there_on(
    world: World, old: OldFiles, rotation: Rotation
) -> None:
    world.write(1)
    first = mark_at_end(world.path)
    world.rename_create()
    world.write(1)
    gone = mark_at_end(world.path)
    world.path.unlink()
    world.create()
    world.write(1, to=world.sibling(".1"))
    old.resume((gone, first))
    assert old.marks() == [gone, first]
    old.reopen(rotation, START)
    assert [(one.path, one.offset) for one in old.marks()] == [(str(world.sibling(".1")), WIDTH)]
    assert list(old.done) == [first]
    assert late(old, START) == [3]
    assert late(old, START + KEEP - 1) == []
    assert len(old) == 1


def test_the_rest_of_a_long_line_is_skipped_when_its_file_is_found_again(
    world: World, old: OldFiles, rotation: Rotation
) -> None:
    world.append(b"y" * (LINE_BYTES + 1))
    mark = mark_at_end(world.path)
    assert mark.skipping
    world.append(b"rest\n")
    world.write(1)
    world.rename_create()
    old.resume((mark,))
    old.reopen(rotation, START)
    block = old.next_block(START)
    assert block is not None
    assert len(block) == WIDTH


def test_while_the_log_is_being_rotated_the_files_of_a_saved_place_are_kept_for_later(
    world: World, old: OldFiles, rotation: Rotation, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(1)
    mark = mark_at_end(world.path)
    world.rename_create()
    rotated = world.sibling(".1")
    aside = world.sibling(".aside")

    def overtaken(name: str, flags: int) -> int:
        rotated.rename(aside)
        raise FileNotFoundError(2, "gone", name)

    old.resume((mark,))
    with monkeypatch.context() as context:
        context.setattr("os.open", overtaken)
        with pytest.raises(Unsettled):
            old.reopen(rotation, START)
    assert old.marks() == [mark]
    aside.rename(rotated)
    old.reopen(rotation, START)
    assert len(old) == 1


def test_nothing_is_remembered_after_close(world: World, old: OldFiles) -> None:
    world.write(1)
    old.add(read_whole(world.path), START)
    old.close()
    assert (len(old), old.marks(), list(old.done)) == (0, [], [])
    assert open_in(world.directory) == 0


def mark_at_end(path: Path) -> Mark:
    reader = read_whole(path)
    reader.close()
    return reader.mark()
