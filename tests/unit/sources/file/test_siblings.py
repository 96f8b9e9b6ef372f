"""Rotated files: which names count, in what order, and what happens to those that cannot be read."""

from __future__ import annotations

import gzip
import os
import shutil
from pathlib import Path

import pytest

from popauthd.sources.file.open_file import Trouble, open_file
from popauthd.sources.file.siblings import settled
from popauthd.sources.file.tail import rotated_name
from tests.support.logworld import PACKERS, START, Follower, World, without_rights

NAMES = [
    ("logrotate", "mail.log", ["mail.log.1", "mail.log.2.gz", "mail.log.10.gz"]),
    ("savelog", "mail.log", ["mail.log.0", "mail.log.1.gz", "mail.log.2.gz"]),
    ("dateext", "mail.log", ["mail.log-20261123", "mail.log-20261122.xz", "mail.log-20251231.zst"]),
    ("dateext with epoch", "mail.log", ["mail.log-20261123-1795469400", "mail.log-20261123-1795469399"]),
    ("dateext with a time", "mail.log", ["mail.log-20261123-210000", "mail.log-20261123-205959.bz2"]),
    ("epoch alone", "mail.log", ["mail.log-1795469400", "mail.log-1795469399"]),
    ("TimedRotatingFileHandler", "mail.log", ["mail.log.2026-11-23", "mail.log.2026-11-22"]),
    ("extension kept, number", "mail.log", ["mail.1.log", "mail.2.log.gz"]),
    ("extension kept, date", "mail.log", ["mail-20261123.log", "mail-20261122.log.gz"]),
    ("no extension", "maillog", ["maillog.1", "maillog.2"]),
    ("strange characters", "m[a]*?.log", ["m[a]*?.log.1", "m[a]*?.log.2"]),
]


@pytest.mark.parametrize(("base", "names"), [row[1:] for row in NAMES], ids=[row[0] for row in NAMES])
def test_rotated_names_are_known_newest_first(tmp_path: Path, base: str, names: list[str]) -> None:
    for other in ("mail.logx.1", "mail.log.offset", "mail.log.1.tmp", "mail.log-", "mail.err.1", base):
        (tmp_path / other).touch()
    for name in reversed(names):
        (tmp_path / name).touch()
    found = settled(str(tmp_path / base), None)
    assert found is not None
    assert [Path(one.path).name for one in found] == names


def test_a_file_that_is_being_packed_counts_once_and_plain(tmp_path: Path) -> None:
    for name in ("mail.log.1", "mail.log.1.gz", "mail.log.2.gz"):
        (tmp_path / name).touch()
    found = settled(str(tmp_path / "mail.log"), None)
    assert found is not None
    assert [Path(one.path).name for one in found] == ["mail.log.1", "mail.log.2.gz"]


def test_links_and_directories_named_like_rotated_files_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "mail.log.1").symlink_to("/etc/passwd")
    (tmp_path / "mail.log.2").mkdir()
    os.mkfifo(tmp_path / "mail.log.3")
    assert settled(str(tmp_path / "mail.log"), None) == []


def test_a_guess_of_pygtail_that_no_name_covers_is_taken_too(tmp_path: Path) -> None:
    odd = tmp_path / "odd"
    odd.touch()
    found = settled(str(tmp_path / "mail.log"), str(odd))
    assert found is not None
    assert [one.path for one in found] == [str(odd)]


def test_two_schemes_in_one_directory_go_by_the_time_of_change(tmp_path: Path) -> None:
    for number, name in enumerate(["mail.log-20261101", "mail.log.1", "mail.log-20261102"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (START + number, START + number))
    found = settled(str(tmp_path / "mail.log"), None)
    assert found is not None
    assert [Path(one.path).name for one in found] == ["mail.log-20261102", "mail.log.1", "mail.log-20261101"]


@pytest.mark.parametrize("packing", sorted(PACKERS))
def test_a_compressed_file_reads_like_the_plain_one_from_any_offset(tmp_path: Path, packing: str) -> None:
    data = b"".join(b"%d line\n" % number for number in range(100_000))
    path = tmp_path / f"mail.log.1{packing}"
    path.write_bytes(PACKERS[packing](data))
    handle = open_file(str(path))
    for offset, count in ((0, 10), (5, 1000), (400_000, 300_000), (399_000, 10), (0, 10), (len(data) - 3, 99)):
        assert handle.read(offset, count) == data[offset : offset + count]
    assert handle.left(len(data)) == 0
    handle.close()


def test_a_damaged_archive_is_read_up_to_the_damage_and_told(world: World, follower: Follower) -> None:
    world.write(1)
    follower.read()
    follower.stop()
    world.write(4000)
    world.rename_create()
    world.pack(".1", ".gz")
    world.rename_create()
    packed = world.sibling(".2.gz")
    packed.write_bytes(packed.read_bytes()[:-20])
    world.write(1)
    follower.start()
    follower.read()
    assert len(follower.got) > 3000
    assert world.count in follower.got
    assert any("damaged" in gap.what for gap in follower.gaps)


def test_without_the_zstd_command_the_gap_says_what_to_install(
    world: World, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.write(1)
    follower.read()
    follower.stop()
    world.write(1)
    world.rename_create()
    world.pack(".1", ".zst")
    world.write(1)
    monkeypatch.setenv("PATH", str(world.directory))
    follower.start()
    follower.read()
    assert follower.got == [1, 3]
    assert "install the package zstd" in follower.gaps[0].what


def test_a_file_without_permission_is_unreadable_and_says_why(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.touch(mode=0)
    with without_rights(), pytest.raises(Trouble) as caught:
        open_file(str(path))
    assert caught.value.kind == "unreadable"
    assert "Permission denied" in str(caught.value)


def test_rotated_files_of_a_log_in_the_current_directory_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mail.log.1").touch()
    found = settled("mail.log", None)
    assert found is not None
    assert [one.path for one in found] == ["mail.log.1"]


def test_a_damaged_archive_does_not_hide_the_place_in_a_later_one(world: World, follower: Follower) -> None:
    world.write(2)
    world.rename_create()
    world.write(2)
    follower.read()
    follower.stop()
    world.write(1)
    world.rename_create()
    world.pack(".1", ".xz")
    garbage = world.sibling(".2")
    shutil.move(garbage, world.sibling(".2.gz"))
    world.sibling(".2.gz").write_bytes(gzip.compress(b"x")[:5])
    world.write(1)
    follower.start()
    follower.read()
    assert follower.lost == []
    assert follower.gaps == []


def test_pygtails_own_guess_is_asked_for_and_may_fail(tmp_path: Path) -> None:
    """So a way of rotating that pygtail learns in a later version is followed as well."""
    path = tmp_path / "log" / "mail.log"
    path.parent.mkdir()
    path.with_name("mail.log.1").touch()
    assert rotated_name(str(path)) == f"{path}.1"
    shutil.rmtree(path.parent)
    assert rotated_name(str(path)) is None
