"""popauthd.sources.file.blocks: whole lines out of a file that grows, is rewritten, and has lines of any length."""

from __future__ import annotations

import gzip
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from popauthd.sources.file.blocks import LINE_BYTES, STEPS, BlockReader, Rewritten, whole_lines
from popauthd.sources.file.open_file import open_file
from tests.support.logworld import read_so_far

LONGEST = b"y" * LINE_BYTES + b"\n"
LONGER = b"y" * (LINE_BYTES + 1) + b"\n"

WHOLE = [
    ("nothing", b"", 0),
    ("a line", b"a\n", 2),
    ("an empty line", b"\n", 1),
    ("no line feed", b"abc", 0),
    ("an unfinished line after one", b"a\nb", 2),
    ("a hole before a line", b"a\n\0\0b\n", 2),
    ("a hole at the end", b"a\nb\n\0", 4),
    ("an empty line before a hole", b"\n\0b\n", 1),
    ("a NUL within a line", b"a\0b\nc\n", 6),
    ("a NUL within, and a hole after", b"a\0b\n\0c\n", 4),
    ("the longest line", LONGEST, len(LONGEST)),
    ("too long a line", LONGER, 0),
    ("the longest between others", b"a\n" + LONGEST + b"b\n", len(LONGEST) + 4),
    ("too long a line between others", b"a\n" + LONGER + b"b\n", 2),
    ("two of the longest", LONGEST * 2, 2 * len(LONGEST)),
    ("many", b"abc\n" * 50_000 + b"ab", 200_000),
]


@pytest.mark.parametrize(("data", "length"), [row[1:] for row in WHOLE], ids=[row[0] for row in WHOLE])
def test_whole_lines_are_those_that_can_be_handed_out(data: bytes, length: int) -> None:
    assert whole_lines(data) == length


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "mail.log"
    path.touch()
    return path


Opening = Callable[..., BlockReader]


@pytest.fixture
def opening(log: Path) -> Iterator[Opening]:
    """A reader of the log."""
    made: list[BlockReader] = []

    def opened(offset: int = 0, block_bytes: int = 1, skipping: bool = False) -> BlockReader:
        made.append(BlockReader(open_file(str(log)), offset, block_bytes, skipping))
        return made[-1]

    yield opened
    for reader in made:
        reader.close()


def append(log: Path, data: bytes) -> None:
    with log.open("ab") as file:
        file.write(data)


def blocks(reader: BlockReader) -> bytes:
    return b"".join(iter(reader.next_block, b""))


SHORT, LONG = b"short\n", b"x" * 5000 + b"\n"


@pytest.mark.parametrize("block_bytes", [1, LINE_BYTES, LINE_BYTES + 1, LINE_BYTES + 2, 1 << 20])
def test_lines_up_to_the_limit_come_and_longer_ones_are_skipped_and_counted(
    log: Path, opening: Opening, block_bytes: int
) -> None:
    append(log, SHORT + LONGEST + LONGER + SHORT + LONGER * 3 + LONGEST + LONG)
    reader = opening(block_bytes=block_bytes)
    assert blocks(reader) == SHORT + LONGEST + SHORT + LONGEST + LONG
    assert reader.long_lines == 4
    assert reader.behind == 0


@pytest.mark.parametrize("seed", range(8))
def test_the_place_after_any_reads_is_that_of_whoever_comes_there_at_once(
    log: Path, opening: Opening, seed: int
) -> None:
    """The prints of a place are kept along while reading; made anew from the file they are the same."""
    dice = random.Random(seed)
    reader = opening()
    for _ in range(12):
        append(log, b"".join(os.urandom(dice.choice((1, 20, 300, 900, 2000))).hex().encode() + b"\n" for _ in range(3)))
        blocks(reader)
        assert reader.mark() == opening(reader.offset).mark()
    assert reader.offset == log.stat().st_size


def test_the_place_before_anything_was_read_holds_no_print(log: Path, opening: Opening) -> None:
    append(log, SHORT)
    mark = opening().mark()
    info = log.stat()
    assert (mark.path, mark.dev, mark.ino) == (str(log), info.st_dev, info.st_ino)
    assert (mark.offset, mark.head_bytes, mark.tail_bytes, mark.skipping) == (0, 0, 0, False)


BODY = b"".join(b"%07d\n" % number for number in range(600))  # 4,800 bytes: first and last prints far apart

CHANGES: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("the first byte", lambda data: b"x" + data[1:]),
    ("the last of the first thousand", lambda data: data[:1023] + b"x" + data[1024:]),
    ("the first of the last thousand", lambda data: data[:-1024] + b"x" + data[-1023:]),
    ("the last byte", lambda data: data[:-1] + b"x"),
    ("cut to nothing", lambda _: b""),
    ("cut by one byte", lambda data: data[:-1]),
    ("cut above the first thousand bytes", lambda data: data[:2000]),
]


@pytest.mark.parametrize("regrown", [False, True], ids=["as it is", "regrown"])
@pytest.mark.parametrize("change", [row[1] for row in CHANGES], ids=[row[0] for row in CHANGES])
def test_a_file_that_is_rewritten_is_noticed_and_nothing_of_it_is_handed_out(
    log: Path, opening: Opening, change: Callable[[bytes], bytes], regrown: bool
) -> None:
    append(log, BODY)
    reader = opening()
    assert blocks(reader) == BODY
    before = reader.mark()
    log.write_bytes(change(BODY) + SHORT * 2000 * regrown)
    with pytest.raises(Rewritten):
        reader.next_block()
    assert reader.mark() == before


def test_what_was_not_read_yet_may_change(log: Path, opening: Opening) -> None:
    append(log, BODY + b"unfinished")
    reader = opening()
    assert blocks(reader) == BODY
    assert reader.unfinished == 10
    log.write_bytes(BODY + b"other\n")
    assert blocks(reader) == b"other\n"
    assert reader.unfinished == 0


def test_a_packed_file_is_not_compared_with_itself(tmp_path: Path) -> None:
    """Going back to its first bytes would unpack it from the start for every block."""
    path = tmp_path / "mail.log.1.gz"
    lines = b"".join(os.urandom(1000).hex().encode() + b"\n" for _ in range(1000))
    path.write_bytes(gzip.compress(lines))
    before = read_so_far()
    reader = BlockReader(open_file(str(path)), 0, 1)
    assert blocks(reader) == lines
    assert reader.behind == reader.unfinished == 0
    reader.close()
    assert read_so_far() - before < 2 * path.stat().st_size


def test_a_line_as_long_as_may_be_waits_for_its_end(log: Path, opening: Opening) -> None:
    append(log, LONGEST[:-1])
    reader = opening()
    assert reader.next_block() == b""
    assert (reader.offset, reader.long_lines, reader.unfinished) == (0, 0, LINE_BYTES)
    append(log, b"\n")
    assert reader.next_block() == LONGEST


@pytest.mark.parametrize("rest", [bytes(3) + SHORT, LONGER, LONGER + SHORT], ids=["a hole", "too long", "and more"])
def test_what_a_block_stops_before_is_behind_it(log: Path, opening: Opening, rest: bytes) -> None:
    append(log, SHORT + rest)
    reader = opening(block_bytes=1 << 20)
    assert reader.next_block() == SHORT
    assert reader.behind == len(rest)


def test_behind_and_unfinished_are_told_after_every_block(log: Path, opening: Opening) -> None:
    append(log, SHORT * 30_000 + b"unfin")
    reader = opening()
    seen = 0
    while block := reader.next_block():
        seen += len(block)
        assert reader.behind == (180_005 - seen if seen < 180_000 else 0)
        assert reader.unfinished == (0 if seen < 180_000 else 5)
    assert (reader.behind, reader.unfinished) == (0, 5)
    append(log, b"ished\n")
    assert reader.next_block() == b"unfinished\n"
    assert (reader.behind, reader.unfinished) == (0, 0)
    assert reader.next_block() == b""
    assert reader.unfinished == 0


def test_a_line_that_has_no_end_is_passed_in_bounded_steps(log: Path, opening: Opening) -> None:
    append(log, SHORT)
    reader = opening()
    assert reader.next_block() == SHORT
    step = LINE_BYTES + 1
    length = step * STEPS + 5 * LINE_BYTES
    append(log, b"y" * length)
    assert reader.next_block() == b""
    assert 0 < length - (reader.offset - len(SHORT)) == reader.behind < 8 * LINE_BYTES
    assert reader.mark().skipping
    assert reader.next_block() == b""
    assert (reader.behind, reader.offset) == (0, len(SHORT) + length)
    append(log, b"yy\n" + SHORT)
    assert reader.next_block() == SHORT
    assert not reader.mark().skipping
    assert reader.long_lines == 1


def test_a_reader_that_begins_within_a_long_line_skips_its_rest_alone(log: Path, opening: Opening) -> None:
    append(log, b"y" * 100 + b"\n" + SHORT)
    reader = opening(10, skipping=True)
    assert blocks(reader) == SHORT
    assert reader.long_lines == 0


def test_nuls_at_the_end_wait_because_they_may_yet_be_filled(log: Path, opening: Opening) -> None:
    append(log, SHORT + bytes(30))
    reader = opening()
    assert blocks(reader) == SHORT
    assert (reader.offset, reader.behind, reader.unfinished) == (6, 0, 30)
    with log.open("r+b") as file:
        file.seek(6)
        file.write(b"filled in, after all, 30 long\n")
    assert blocks(reader) == b"filled in, after all, 30 long\n"


def test_nuls_before_a_line_are_passed_and_those_within_kept(log: Path, opening: Opening) -> None:
    append(log, bytes(5) + b"a\0b\n" + bytes(100_000) + b"c\n" + bytes(3))
    reader = opening()
    assert blocks(reader) == b"a\0b\nc\n"
    append(log, b"d\n")
    assert blocks(reader) == b"d\n"
    assert reader.mark() == opening(reader.offset).mark()


def test_a_hole_of_a_gigabyte_is_passed_in_one_look(log: Path, opening: Opening) -> None:
    append(log, SHORT)
    reader = opening()
    assert reader.next_block() == SHORT
    os.truncate(log, 1 << 30)
    append(log, b"after\n")
    assert reader.next_block() == b"after\n"
    assert reader.offset == (1 << 30) + 6
    assert reader.mark() == opening(reader.offset).mark()
    append(log, b"more\n")
    assert reader.next_block() == b"more\n"
    reader.close()
    reader.close()
