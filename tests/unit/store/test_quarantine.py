"""popauthd.store.quarantine: a damaged file is noticed without harm, kept, and out of the way."""

from __future__ import annotations

import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest

from popauthd.errors import StoreError, StoreNewerError
from popauthd.model import Grant
from popauthd.store.books import DATABASES, SCHEMA, Books
from popauthd.store.quarantine import _CHILD, KEEP, OLDEST_SCHEMA, heal, leave, move_aside, probe
from tests.support.helpers import ROOT, write_map

NOW = 1_795_467_600


@pytest.fixture
def books(tmp_path: Path) -> Path:
    path = tmp_path / "books.mdb"
    opened = Books(str(path))
    with opened.writing() as writing:
        for number in range(500):
            writing.logins.grant(Grant(f"192.0.2.{number % 256}", f"user{number}", NOW, NOW + 900, "dovecot"))
    opened.close()
    return path


def mend(path: Path) -> str:
    return heal(str(path), DATABASES, SCHEMA.decode())


def test_a_whole_file_is_left_alone(books: Path) -> None:
    assert mend(books) == ""
    assert probe(str(books), DATABASES) == (True, SCHEMA.decode())


def test_a_missing_file_is_nothing_to_mend(tmp_path: Path) -> None:
    assert mend(tmp_path / "books.mdb") == ""


DAMAGE = ["empty", "cut", "cut to a header", "zeroed", "zeroed behind the header", "random", "random pages", "text"]


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_damaged_file_is_moved_aside_and_new_books_can_be_opened(books: Path, kind: str) -> None:
    size = books.stat().st_size
    noise = random.Random(1).randbytes(size)
    whole = books.read_bytes()
    damaged = {
        "empty": b"",
        "cut": whole[: size // 2],
        "cut to a header": whole[:100],
        "zeroed": bytes(size),
        "zeroed behind the header": whole[:8192] + bytes(size - 8192),
        "random": noise,
        "random pages": whole[:8192] + noise[8192:],
        "text": b"not a database\n" * 1000,
    }[kind]
    books.write_bytes(damaged)
    said = mend(books)
    assert str(books) in said
    Books(str(books)).close()
    kept = list(books.parent.glob("books.mdb.damaged-*"))
    assert [path.read_bytes() for path in kept] == ([damaged] if damaged else [])


def leave_whole(path: Path) -> None:
    leave(str(path), SCHEMA.decode())


def test_a_file_that_was_left_whole_is_not_read_through_but_only_once(
    books: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_whole(books)
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nowhere")
        assert mend(books) == ""
        with pytest.raises(StoreError, match="cannot be started"):
            mend(books)
    assert [path.name for path in books.parent.iterdir() if "whole" in path.name] == []


CHANGES: dict[str, Callable[[Path], object]] = {
    "written": lambda path: os.pwrite(os.open(path, os.O_WRONLY), b"x", 5000),
    "cut short": lambda path: os.truncate(path, 8192),
    "replaced by a copy": lambda path: (path.rename(f"{path}.old"), shutil.copy2(f"{path}.old", path)),
    "used by a watcher": lambda path: change_schema(path, SCHEMA),
    "of another schema": lambda path: leave(str(path), "99"),
    "a note that is torn": lambda path: path.with_name("books.mdb.whole").write_text("3 Ma"),
    "a note that is none": lambda path: path.with_name("books.mdb.whole").write_bytes(b"\xff"),
    "no note": lambda path: path.with_name("books.mdb.whole").unlink(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_file_that_is_not_as_it_was_left_is_read_through(
    books: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], object]
) -> None:
    leave_whole(books)
    change(books)
    monkeypatch.setattr(sys, "executable", "/nowhere")
    with pytest.raises(StoreError, match="cannot be started"):
        mend(books)


def test_a_note_that_cannot_be_left_is_none(books: Path) -> None:
    books.with_name("books.mdb.whole").mkdir()
    leave_whole(books)
    assert mend(books) == ""


def test_only_the_newest_damaged_files_are_kept(tmp_path: Path) -> None:
    for number in range(KEEP + 2):
        (tmp_path / "relay.mdb").write_text(str(number))
        move_aside(str(tmp_path / "relay.mdb"), "test")
    assert len(list(tmp_path.iterdir())) == KEEP


def change_schema(path: Path, schema: bytes) -> None:
    opened = Books(str(path))
    with opened.writing() as writing:
        writing.transaction.put("meta", b"schema", schema)
    opened.close()


def test_a_newer_schema_is_refused_and_one_that_was_never_released_moved_aside(books: Path) -> None:
    change_schema(books, b"99")
    with pytest.raises(StoreNewerError, match="newer popauthd") as refused:
        mend(books)
    assert refused.value.exit_code == 78, "systemd must not try again and again"
    books.unlink()
    Books(str(books)).close()
    change_schema(books, b"0")
    assert "older" in mend(books)


def test_a_map_is_probed_like_the_books(tmp_path: Path) -> None:
    path = tmp_path / "relay.mdb"
    write_map(path, {f"192.0.2.{number}": 1 for number in range(256)})
    assert heal(str(path)) == ""
    os.truncate(path, 8192)
    said = heal(str(path))
    assert f"{path} was damaged (" in said
    assert said.count(str(path)) == 2, "itself, and what it is kept as"
    assert "by hand" not in said, "a map holds nothing of its own"
    assert "kept as" in said
    assert not path.exists()


def test_a_file_that_cannot_be_moved_is_an_error_with_words(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be moved aside"):
        move_aside(str(tmp_path / "missing" / "relay.mdb"), "test")


def test_a_child_whose_watcher_is_gone_ends_by_itself(books: Path) -> None:
    arguments = [str(books), " ".join(DATABASES), str(1 << 30), "1"]  # the watcher that waits would be process 1
    done = subprocess.run([sys.executable, "-c", _CHILD, *arguments], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nobody waits" in done.stderr


def drop(path: Path, names: tuple[str, ...]) -> None:
    with lmdb.open(str(path), subdir=False, max_dbs=20) as env:
        for name in names:
            database = env.open_db(name.encode())
            with env.begin(write=True) as txn:
                txn.drop(database)


@pytest.mark.parametrize("name", DATABASES)
def test_books_without_a_database_are_older_books_and_stay(books: Path, name: str) -> None:
    drop(books, (name,))
    assert mend(books) == ""
    assert books.exists()


def test_books_of_an_older_schema_that_was_released_stay(books: Path) -> None:
    change_schema(books, b"%d" % OLDEST_SCHEMA)
    assert heal(str(books), DATABASES, str(OLDEST_SCHEMA + 5)) == ""


def test_books_whose_making_was_interrupted_stay(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path / "books.mdb"), subdir=False, max_dbs=20) as env:
        assert mend(tmp_path / "books.mdb") == ""  # nothing in it yet
        env.open_db(b"logins")
    assert mend(tmp_path / "books.mdb") == ""


NOT_BOOKS = ["another file", "a map", "garbled schema", "a directory", "a pipe", "a socket", "a device"]


@pytest.mark.parametrize("kind", NOT_BOOKS)
def test_what_is_no_books_at_all_is_moved_aside(books: Path, kind: str) -> None:
    if kind == "garbled schema":
        change_schema(books, b"two")
    else:
        books.unlink()
    if kind == "another file":
        with lmdb.open(str(books), subdir=False, max_dbs=20) as env:
            env.open_db(b"others")
    elif kind == "a map":
        write_map(books, {"192.0.2.1": 1, "192.0.2.2": 1})
    elif kind == "a directory":
        books.mkdir()
    elif kind == "a pipe":
        os.mkfifo(books)
    elif kind == "a socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(books))
    elif kind == "a device":
        books.symlink_to("/dev/zero")
    said = mend(books)
    assert f"{books} was damaged (" in said
    assert said.count(str(books)) == 2, "itself, and what it is kept as"
    assert "grants by hand are lost; the old file is kept as" in said
    Books(str(books)).close()


def test_pages_that_contradict_each_other_are_damage_also_where_lmdb_aborts(books: Path) -> None:
    whole = books.read_bytes()
    verdicts = set()
    for page in range(2, len(whole) // 4096):
        books.write_bytes(whole[: page * 4096] + bytes(4096) + whole[(page + 1) * 4096 :])
        verdicts.add(probe(str(books), DATABASES)[0])  # raises StoreError if that is taken for trouble
    assert verdicts == {True, False}, "some pages are in use, and some are not"


MAKE = """
from tests.support.helpers import in_blocks
writer.replace(in_blocks({f"10.0.{number >> 8}.{number & 255}": 9999999999 for number in range(600)}))
for number in range(0, 600, 3):
    writer.apply({f"10.0.{number >> 8}.{number & 255}": None})
"""
USE = """
from tests.support.helpers import in_blocks
writer.replace(in_blocks({f"10.1.{number >> 8}.{number & 255}": 9999999999 for number in range(100)}))
writer.apply({"10.0.0.9": 5})
"""


def write_in_a_process(path: Path, code: str) -> int:
    """Its exit status: a file cut short ends it with a signal."""
    begin = "import sys; from popauthd.store.relay_map import MapWriter; writer = MapWriter(sys.argv[1])"
    code = f"{begin}{code}writer.close()"
    return subprocess.run([sys.executable, "-c", code, str(path)], cwd=ROOT, check=False).returncode


@pytest.mark.parametrize("pages", range(1, 7))
def test_a_file_that_lacks_its_last_pages_does_not_kill_the_writer(tmp_path: Path, pages: int) -> None:
    path = tmp_path / "relay.mdb"
    assert write_in_a_process(path, MAKE) == 0
    os.truncate(path, path.stat().st_size - 4096 * pages)
    heal(str(path))
    assert write_in_a_process(path, USE) == 0
