"""Lists of users: the most exact entry decides, what is wrong is named, a file is read again when it changes."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd.errors import ConfigError
from popauthd.policy.user_files import UserFile, UserFiles
from popauthd.policy.user_list import LONGEST_ENTRY, UserList, parse
from tests.support.helpers import no_descriptor_left
from tests.support.policy import default_limits

TEXT = """
# the scanners, and one customer's domain
anna@example.org
scanner
@legacy.example
!boss@legacy.example
@Mixed.Example
"""
HELD = [
    ("a user", "anna@example.org", True),
    ("a user in other letters", "Anna@Example.ORG", True),
    ("another user of that domain", "bob@example.org", False),
    ("a user without domain", "scanner", True),
    ("that name in a domain", "scanner@example.org", False),
    ("anybody of a domain", "x@legacy.example", True),
    ("an exception", "boss@legacy.example", False),
    ("a domain in other letters", "x@mixed.example", True),
    ("a domain that ends alike", "x@notlegacy.example", False),
    ("a domain below", "x@a.legacy.example", False),
    ("a name with two @", "a@b@legacy.example", True),
    ("nobody", "", False),
    ("the entry of a domain as a name", "@legacy.example", True),
    ("a lone @", "@", False),
    ("a comment as a name", "# the scanners, and one customer's domain", False),
]
WRONG = [
    ("a blank inside", "anna @example.org"),
    ("only an exception mark", "!"),
    ("two exception marks", "!!anna"),
    ("an empty domain", "@"),
    ("a control character", "an\x07na"),
    ("brackets", "anna<x>"),
    ("a star inside", "*@example.org"),
    ("a blank that is not shown", "an\u200bna"),
    ("a mark that turns the line round", "anna\u202e"),
    ("a no-break space", "anna\u00a0"),
    ("a user without the domain he is in", "anna@"),
    ("a domain with two @", "@a@example.org"),
    ("far too long", "x" * (LONGEST_ENTRY + 1)),
    ("both", "anna\n!ANNA"),
]


@pytest.mark.parametrize(("user", "held"), [row[1:] for row in HELD], ids=[row[0] for row in HELD])
def test_the_most_exact_entry_decides(user: str, held: bool) -> None:
    assert parse(TEXT).holds(user) is held


def test_everybody_but_some() -> None:
    everybody = parse("*\n!@legacy.example\nanna@legacy.example\n")
    assert everybody.holds("bob")
    assert everybody.holds("bob@example.org")
    assert not everybody.holds("bob@legacy.example")
    assert everybody.holds("anna@legacy.example")


def test_a_mark_before_the_first_entry_as_windows_writes_it_is_no_part_of_it() -> None:
    assert not parse("\ufeff!boss@example.org\r\n@example.org\r\n").holds("boss@example.org")
    assert parse("\ufeffanna\r\n").holds("anna")


def test_letters_that_unicode_takes_for_each_other_are_different_users() -> None:
    assert not parse("mike\n").holds("mi\N{KELVIN SIGN}e")
    assert not parse("!mi\N{KELVIN SIGN}e\n*\n").holds("mi\N{KELVIN SIGN}e")
    assert parse("!mi\N{KELVIN SIGN}e\n*\n").holds("mike")
    assert parse("J\u00fcrgen@Example.org\n").holds("j\u00fcrgen@example.ORG")


def test_an_empty_list_holds_nobody() -> None:
    assert len(parse("# nothing yet\n")) == 0
    assert not parse("").holds("anna")


@pytest.mark.parametrize("text", [row[1] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_line_is_named(text: str) -> None:
    with pytest.raises(ValueError, match=f"line {text.count(chr(10)) + 2}"):
        parse("# comment\n" + text)


NAME = st.from_regex(r"\A[a-b]{1,2}\Z")
ENTRY = st.one_of(NAME, st.builds("{}@{}".format, NAME, NAME), NAME.map("@{}".format), st.just("*"))


@given(st.dictionaries(ENTRY, st.booleans()), st.one_of(NAME, st.builds("{}@{}".format, NAME, NAME)), st.booleans())
def test_a_list_holds_exactly_its_users(entries: dict[str, bool], user: str, shouting: bool) -> None:
    text = "".join(f"{'' if inside else '!'}{name}\n" for name, inside in entries.items())
    fitting = [entry for entry in entries if entry in (user, "*") or (entry[0] == "@" and user.endswith(entry))]
    exact_first = sorted(fitting, key=lambda entry: (entry != user, entry == "*"))
    wanted = entries[exact_first[0]] if exact_first else False
    assert parse(text).holds(user.upper() if shouting else user) is wanted
    assert parse(text.upper()).holds(user) is wanted


@given(st.text(max_size=60), st.text(max_size=10))
def test_a_list_of_anything_is_read_or_refused_by_line(text: str, user: str) -> None:
    try:
        found = parse(text)
    except ValueError as error:
        assert str(error).startswith("line ")
        return
    assert found.holds(user) in (True, False)
    assert all(name.isprintable() and " " not in name for name, _inside in found.entries())


class Clock:
    """A clock that goes on when told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


def settled(file: UserFile) -> str:
    """What is said once the file has stayed the same for two looks; and nothing more after that."""
    assert file.refresh() == "", "a change is not taken at the first look"
    note = file.refresh()
    assert [file.refresh(), file.refresh()] == ["", ""], "told once"
    return note


def test_a_changed_file_is_read_again_and_a_bad_one_leaves_the_last_list(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("anna\n")
    file = UserFile("users_file", str(path), Clock())
    assert file.load() == f"users_file {path}: 1 entries"
    assert [file.refresh(), file.refresh()] == ["", ""]
    path.write_text("anna\nbob\n")
    assert "2 entries" in settled(file)
    assert file.users.holds("bob")
    path.write_text("anna\nbob x\n")
    assert "line 2" in settled(file)
    assert "line 2" in file.trouble
    assert file.users.holds("bob"), "the last good list"
    path.unlink()
    assert "cannot be read" in settled(file)
    assert file.users.holds("bob")
    path.write_text("anna\nbob\ncarl\n")
    assert "3 entries" in settled(file)
    assert file.trouble == ""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "fifo").rename(path)
    assert "not a plain file" in settled(file)
    assert file.users.holds("carl")


def test_a_file_that_is_being_written_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("anna\nbob\n")
    file = UserFile("users_file", str(path), Clock())
    file.load()
    with path.open("w") as slowly:  # as an editor or a shell's > does: first of all it is empty
        assert file.refresh() == ""
        assert file.users.holds("bob")
        for user in ("anna", "bob", "carl"):
            print(user, file=slowly, flush=True)
            assert file.refresh() == ""
            assert file.users.holds("bob")
    assert "3 entries" in file.refresh()


def test_a_file_that_could_not_be_read_for_a_moment_is_read_though_it_has_not_changed_since(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("anna\n")
    file = UserFile("users_file", str(path), Clock())
    file.load()
    path.write_text("anna\nbob\n")
    with no_descriptor_left():
        assert "Too many open files" in settled(file)
    assert "2 entries" in file.refresh()
    assert file.users.holds("bob")
    assert file.trouble == ""


def test_a_file_of_the_same_size_and_age_in_its_place_is_noticed(tmp_path: Path) -> None:
    path, other = tmp_path / "users", tmp_path / "other"
    path.write_text("anna\n")
    other.write_text("carl\n")
    file = UserFile("users_file", str(path), Clock())
    file.load()
    age = path.stat().st_mtime_ns
    os.utime(other, ns=(age, age))
    other.rename(path)
    assert "1 entries" in settled(file)
    assert file.users.holds("carl")


@pytest.mark.parametrize("text", ["# nobody yet\n", "!anna\n", ""])
def test_a_list_without_anybody_is_told(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users"
    path.write_text(text)
    assert UserFile("users_file", str(path)).load().endswith("; nobody is in the list")


def test_a_file_is_looked_at_once_a_second_at_most(tmp_path: Path) -> None:
    path = tmp_path / "users"
    path.write_text("anna\n")
    file = UserFile("users_file", str(path), lambda: 5.0)
    file.load()
    assert file.refresh() == ""
    path.write_text("anna\nbob\n")
    assert file.refresh() == ""


BAD_FILES: dict[str, Callable[[Path], object]] = {
    "missing": lambda path: None,
    "a directory": lambda path: path.mkdir(),
    "a FIFO": lambda path: os.mkfifo(path),
    "not UTF-8": lambda path: path.write_bytes(b"anna\n\xff\n"),
    "a wrong line": lambda path: path.write_text("anna bob\n"),
    "too big": lambda path: os.truncate(os.open(path, os.O_CREAT | os.O_RDWR), (16 << 20) + 1),
}


@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_that_cannot_be_used_at_the_start_is_an_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "users"
    BAD_FILES[kind](path)
    with pytest.raises(ConfigError, match=f"users_file {path}: "):
        UserFiles(str(path), "").load()


def test_the_lists_go_into_the_limits(tmp_path: Path) -> None:
    (tmp_path / "deny").write_text("bob\n")
    files = UserFiles("", str(tmp_path / "deny"))
    files.load()
    limits = files.applied(default_limits())
    assert limits.users is None
    assert isinstance(limits.denied, UserList)
    assert limits.denied.holds("bob")
