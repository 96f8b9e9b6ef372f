"""popauthd.heal: a damaged file is noticed without harm, kept, and out of the way."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from popauthd.books import DATABASES, SCHEMA, Books
from popauthd.errors import StoreError, StoreNewerError
from popauthd.heal import KEEP, heal, move_aside, probe
from popauthd.model import Grant
from tests.helpers import write_map

NOW = 1_795_467_600


@pytest.fixture
def books(tmp_path: Path) -> Path:
    path = tmp_path / "books.mdb"
    opened = Books(str(path))
    with opened.writing() as writing:
        for number in range(500):
            writing.grant(Grant(f"192.0.2.{number % 256}", f"user{number}", NOW, NOW + 900, "dovecot"))
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


def test_only_the_newest_damaged_files_are_kept(tmp_path: Path) -> None:
    for number in range(KEEP + 2):
        (tmp_path / "relay.mdb").write_text(str(number))
        move_aside(str(tmp_path / "relay.mdb"), "test")
    assert len(list(tmp_path.iterdir())) == KEEP


def change_schema(path: Path, schema: bytes) -> None:
    opened = Books(str(path))
    with opened.writing() as writing:
        writing._put("meta", b"schema", schema)
    opened.close()


def test_a_newer_schema_is_refused_and_an_older_one_moved_aside(books: Path) -> None:
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
    assert "kept as" in heal(str(path))
    assert not path.exists()


def test_a_file_that_cannot_be_moved_is_an_error_with_words(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be moved aside"):
        move_aside(str(tmp_path / "missing" / "relay.mdb"), "test")
