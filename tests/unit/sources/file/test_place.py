"""popauthd.sources.file.place: a place is saved whole or not at all, and names one file."""

from __future__ import annotations

import gzip
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from popauthd.sources.file.open_file import Handle, open_file
from popauthd.sources.file.place import OLD_MOST, PRINT_BYTES, Mark, Place, decode, encode, fingerprint, matches

MARK = Mark("/var/log/mail.log", 3, 5, 4000, 1024, "ab", 1024, "cd", False)
SMALL = Mark("/var/log/mail.log.1", 0, 0, 10, 10, "x", 7, "y", True)
PLACE = Place(MARK, (SMALL, MARK), True, -1)


def sealed(place: dict[str, Any], version: object = 1) -> bytes:
    """A place with the checksum that belongs to it."""
    text = json.dumps(place, separators=(",", ":"), sort_keys=True)
    return json.dumps({"v": version, "sum": zlib.crc32(text.encode()), "place": place}).encode()


def saved() -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(encode(PLACE))["place"]
    return fields


@pytest.mark.parametrize("place", [PLACE, Place(SMALL, (), False, 1000), Place(MARK, (SMALL,) * OLD_MOST, False, 0)])
def test_what_is_saved_is_what_comes_back(place: Place) -> None:
    assert decode(encode(place)) == place
    assert len(encode(place)) < 4096


def test_a_place_may_come_from_any_json_writer() -> None:
    assert decode(sealed(saved())) == PLACE


def test_a_place_with_too_many_old_files_is_cut() -> None:
    found = decode(sealed({**saved(), "old": [saved()["at"]] * 20}))
    assert found is not None
    assert found.old == (MARK,) * OLD_MOST


def test_a_number_that_may_be_none_is_one() -> None:
    zero = {**saved()["at"], "offset": 0, "head_bytes": 0, "tail_bytes": 0, "dev": 0, "ino": 0}
    assert decode(sealed({**saved(), "at": zero})) is not None


WRONG: list[tuple[str, object]] = [
    *((name, value) for name in ("dev", "ino", "offset", "head_bytes", "tail_bytes") for value in (-1, 1.0, "1", True)),
    *((name, value) for name in ("path", "head", "tail") for value in (1, None, ["x"])),
    ("head_bytes", 1025),
    ("tail_bytes", 1025),
    ("offset", 1023),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG, ids=[f"{field}-{value!r}" for field, value in WRONG])
@pytest.mark.parametrize("where", ["at", "old"])
def test_a_field_that_cannot_be_so_is_no_place(where: str, field: str, value: object) -> None:
    place = saved()
    mark = place["at"] if where == "at" else place["old"][1]
    mark[field] = value
    assert decode(sealed(place)) is None


def test_a_mark_with_a_field_too_much_or_too_few_is_no_place() -> None:
    for changed in ({**saved()["at"], "more": 1}, {key: value for key, value in saved()["at"].items() if key != "dev"}):
        assert decode(sealed({**saved(), "at": changed})) is None
    for name in ("at", "old", "linked", "owner"):
        assert decode(sealed({key: value for key, value in saved().items() if key != name})) is None


@pytest.mark.parametrize("version", [0, 2, "1", None])
def test_another_version_is_no_place(version: object) -> None:
    assert decode(sealed(saved(), version)) is None


def test_a_wrong_checksum_is_no_place() -> None:
    outer = json.loads(encode(PLACE))
    assert decode(json.dumps({**outer, "sum": outer["sum"] + 1}).encode()) is None
    assert decode(json.dumps({**outer, "sum": outer["sum"] - 1}).encode()) is None


DATA = b"".join(b"%06d a line of some length\n" % number for number in range(200))
OFFSET = 5000


def mark_of(handle: Handle, data: bytes, offset: int) -> Mark:
    """The mark that a reader makes at an offset of some data."""
    head, tail = data[: min(offset, PRINT_BYTES)], data[max(0, offset - PRINT_BYTES) : offset]
    prints = (len(head), fingerprint(head), len(tail), fingerprint(tail))
    return Mark(handle.path, handle.dev, handle.ino, offset, *prints, False)


def changed(at: int) -> bytes:
    return DATA[:at] + b"\x01" + DATA[at + 1 :]


FILES: list[tuple[str, bytes, bool]] = [
    ("the same", DATA, True),
    ("the same and more", DATA + b"more\n", True),
    ("all that was read and no more", DATA[:OFFSET], True),
    ("one byte less", DATA[: OFFSET - 1], False),
    ("cut within the first bytes", DATA[:1000], False),
    ("empty", b"", False),
    ("the first byte is another", changed(0), False),
    ("the last of the first bytes is another", changed(PRINT_BYTES - 1), False),
    ("the first of the last bytes is another", changed(OFFSET - PRINT_BYTES), False),
    ("the last byte is another", changed(OFFSET - 1), False),
    ("a byte that was not read is another", changed(OFFSET), True),
    ("cut above the first bytes, and grown again", DATA[:2000] + DATA[3000:] + DATA, False),
]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize(("data", "same"), [row[1:] for row in FILES], ids=[row[0] for row in FILES])
def test_a_file_is_known_by_its_first_bytes_and_the_last_that_were_read(
    tmp_path: Path, data: bytes, same: bool, packed: bool
) -> None:
    path = tmp_path / ("mail.log.1.gz" if packed else "mail.log")
    path.write_bytes(gzip.compress(data) if packed else data)
    handle = open_file(str(path))
    mark = mark_of(handle, DATA, OFFSET)
    assert matches(handle, mark) is same
    assert matches(handle, replace(mark, path="/elsewhere", dev=0, ino=0)) is same, "by no name and no inode"
    handle.close()


def test_a_file_of_which_nothing_was_read_is_known_by_its_inode(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(DATA)
    handle = open_file(str(path))
    mark = mark_of(handle, DATA, 0)
    assert matches(handle, mark)
    assert not matches(handle, replace(mark, ino=mark.ino + 1))
    assert not matches(handle, replace(mark, dev=mark.dev + 1))
    handle.close()
