"""popauthd.file_marks: what happened to a file of ours."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from popauthd import file_marks
from popauthd.file_marks import Mark

BEFORE = Mark(1, 2, 3, 100, 5)
DIFFERENCES: list[tuple[str, Mark | None, Mark | None, str]] = [
    ("nothing", BEFORE, BEFORE, ""),
    ("gone", BEFORE, None, "was removed"),
    ("never there", None, None, "was removed"),
    ("there, and was not", None, BEFORE, "was replaced"),
    ("on another device", BEFORE, replace(BEFORE, device=9), "was replaced"),
    ("another inode", BEFORE, replace(BEFORE, inode=9), "was replaced"),
    ("of another kind", BEFORE, replace(BEFORE, kind=9), "was replaced"),
    ("shorter", BEFORE, replace(BEFORE, size=99), "was cut short"),
    ("longer", BEFORE, replace(BEFORE, size=101), "was written by another process"),
    ("of another time", BEFORE, replace(BEFORE, changed_ns=4), "was written by another process"),
]


@pytest.mark.parametrize(
    ("before", "now", "what"), [row[1:] for row in DIFFERENCES], ids=[row[0] for row in DIFFERENCES]
)
def test_what_happened_to_a_file(before: Mark | None, now: Mark | None, what: str) -> None:
    assert file_marks.difference(before, now) == what


def test_a_mark_is_of_the_file_itself_and_not_of_what_it_links_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("12345")
    (tmp_path / "link").symlink_to("file")
    status = (tmp_path / "file").stat()
    found = file_marks.at(tmp_path / "file")
    assert found == file_marks.of(status)
    assert found == Mark(status.st_dev, status.st_ino, 0o100000, 5, status.st_mtime_ns)
    assert file_marks.at(tmp_path / "link") == file_marks.of(os.lstat(tmp_path / "link"))
    assert file_marks.at(tmp_path / "none") is None
