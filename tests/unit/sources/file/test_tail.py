"""popauthd.sources.file.tail: pygtail goes from file to file, and nothing of a file is lost when it does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.sources.file.blocks import STEPS, Rewritten
from popauthd.sources.file.open_file import open_file
from popauthd.sources.file.tail import BLOCK_BYTES, Tail
from tests.support.logworld import open_in


@pytest.fixture
def tail(tmp_path: Path) -> Iterator[Tail]:
    tail = Tail(str(tmp_path / "mail.log"))
    yield tail
    tail.drop()
    for reader in tail.take_ended():
        reader.close()


def add(tail: Tail, *paths: Path, offset: int = 0, skipping: bool = False) -> None:
    tail.add([open_file(str(path)) for path in paths], offset, skipping)


def files(directory: Path, *contents: bytes) -> list[Path]:
    """A file for each content."""
    paths = [directory / f"file.{number}" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return paths


def ended(tail: Tail) -> list[str]:
    """The names of the files that have ended since the last call."""
    readers = tail.take_ended()
    for reader in readers:
        reader.close()
    return [Path(reader.handle.path).name for reader in readers]


def test_files_are_read_one_after_the_other_and_those_before_the_last_end(tmp_path: Path, tail: Tail) -> None:
    one, two, three = files(tmp_path, b"a\nb\n", b"c\n", b"d\n")
    add(tail, one, two, three, offset=2)
    assert tail.reader is not None
    assert (tail.reader.handle.path, tail.on_newest, tail.behind_bytes) == (str(one), False, 4)
    assert list(tail) == [b"b\n", b"c\n", b"d\n"]
    assert ended(tail) == ["file.0", "file.1"]
    assert ended(tail) == []
    assert (tail.on_newest, tail.behind_bytes, tail.from_start) == (True, 0, False)
    with three.open("ab") as log:
        log.write(b"e\n")
    assert list(tail) == [b"e\n"]
    assert tail.reader is not None
    assert tail.reader.handle.path == str(three)


def test_what_is_written_to_a_file_before_the_next_is_begun_comes_first(tmp_path: Path, tail: Tail) -> None:
    one, two = files(tmp_path, b"a\n", b"xx\nc\n")
    add(tail, one)
    assert list(tail) == [b"a\n"]
    with one.open("ab") as log:
        log.write(b"b\n")
    add(tail, two, offset=1, skipping=True)
    assert not tail.on_newest
    assert list(tail) == [b"b\n", b"c\n"]
    assert ended(tail) == ["file.0"]


def test_an_empty_file_among_others_is_passed(tmp_path: Path, tail: Tail) -> None:
    add(tail, *files(tmp_path, b"", b"", b"a\n"))
    found = [next(tail, None) for _ in range(3)]
    assert [block for block in found if block] == [b"a\n"]
    assert ended(tail) == ["file.0", "file.1"]


def test_a_file_with_much_to_skip_has_not_ended(tmp_path: Path, tail: Tail) -> None:
    one, two = files(tmp_path, b"y" * (STEPS + 2) * BLOCK_BYTES + b"\na\n", b"b\n")
    add(tail, one, two)
    assert next(tail) == b""
    assert ended(tail) == []
    assert tail.behind_bytes > 2 * BLOCK_BYTES
    assert list(tail) == [b"a\n", b"b\n"]


def test_a_look_from_the_start_of_a_file_is_told_also_when_pygtail_has_just_gone_there(
    tmp_path: Path, tail: Tail
) -> None:
    one, two = files(tmp_path, b"a\n", b"b\n")
    add(tail, one, two)
    seen = [(next(tail, None), tail.from_start) for _ in range(3)]
    assert seen == [(b"a\n", True), (b"b\n", True), (None, False)]


def test_a_file_that_was_written_anew_comes_with_its_place(tmp_path: Path, tail: Tail) -> None:
    [one] = files(tmp_path, b"a\nb\n")
    add(tail, one)
    assert list(tail) == [b"a\nb\n"]
    one.write_bytes(b"x\ny\nz\n")
    with pytest.raises(Rewritten, match="written anew") as caught:
        next(tail)
    assert caught.value.mark.offset == 4
    assert caught.value.mark.path == str(one)


def test_an_offset_file_that_pygtail_left_beside_the_log_is_of_no_concern(tmp_path: Path) -> None:
    [log] = files(tmp_path, b"a\nb\n")
    offset_file = tmp_path / f"{log.name}.offset"
    offset_file.write_text("garbage")
    tail = Tail(str(log))
    add(tail, log)
    assert list(tail) == [b"a\nb\n"]
    tail.drop()
    assert offset_file.read_text() == "garbage"


def test_nothing_stays_open_after_drop(tmp_path: Path, tail: Tail) -> None:
    paths = files(tmp_path, b"a\n", b"b\n", b"c\n")
    add(tail, *paths)
    assert next(tail) == b"a\n"
    assert open_in(tmp_path) == 3
    tail.drop()
    assert open_in(tmp_path) == 0
    assert (tail.reader, tail.on_newest, tail.behind_bytes) == (None, True, 0)
    add(tail, paths[1])
    assert list(tail) == [b"b\n"]
