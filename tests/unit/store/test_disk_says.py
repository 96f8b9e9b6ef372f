"""popauthd.store.disk_says: what is told of a file that cannot be written."""

from __future__ import annotations

import errno
import os
import resource
from pathlib import Path

import lmdb

from popauthd.store import disk_says

CUT_SHORT = lmdb.Error(f"mdb_txn_commit: {os.strerror(errno.EIO)}")


def test_what_lmdb_says_itself_is_told(tmp_path: Path) -> None:
    assert disk_says.why(str(tmp_path / "books.mdb"), lmdb.Error("mdb_put: no")) == "mdb_put: no"


def test_where_there_is_room_it_is_the_disk_that_fails(tmp_path: Path) -> None:
    books = tmp_path / "books.mdb"
    books.write_bytes(bytes(4096))
    assert disk_says.why(str(books), CUT_SHORT) == "mdb_txn_commit: Input/output error"
    assert list(tmp_path.iterdir()) == [books], "nothing is left of the look"


def test_where_the_file_may_not_grow_that_is_told(tmp_path: Path) -> None:
    books = tmp_path / "books.mdb"
    books.write_bytes(bytes(4096))
    (tmp_path / "books.mdb.probe").touch()  # of a look that was cut off
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        assert disk_says.why(str(books), CUT_SHORT) == "File too large"
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == [books]


def test_where_nothing_can_be_made_beside_it_lmdbs_word_stands(tmp_path: Path) -> None:
    assert disk_says.why(str(tmp_path / "gone" / "books.mdb"), CUT_SHORT) == str(CUT_SHORT)
