"""popauthd.sources.file.open_file: what is opened, what is not, and that nothing stays open."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from popauthd.sources.file.open_file import Handle, Packed, Trouble, open_file
from tests.support.logworld import PACKERS, read_so_far

LINES = b"".join(b"%d line\n" % number for number in range(60_000))


def descriptors() -> set[str]:
    """What this process has open, by name and number, but for the list itself."""
    found = set()
    for one in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{one.name} {one.readlink()}")
        except FileNotFoundError:  # the list
            continue
    return found


def children() -> int:
    return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))


NOT_FILES: list[tuple[str, Callable[[Path], None]]] = [
    ("a directory, not a file", Path.mkdir),
    ("a FIFO, not a file", lambda path: os.mkfifo(path)),
    ("a socket, not a file", a_socket),
    ("a device, not a file", lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 5))),
    (
        "a symbolic link, and was none when it was set up: name the file itself in the configuration",
        lambda path: path.symlink_to("/etc/passwd"),
    ),
]


@pytest.mark.parametrize(("what", "make"), NOT_FILES, ids=[row[0].partition(",")[0] for row in NOT_FILES])
def test_what_is_no_regular_file_is_refused_by_its_name(
    tmp_path: Path, what: str, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "mail.log"
    make(path)
    before = descriptors()
    with pytest.raises(Trouble) as caught:
        open_file(str(path))
    assert caught.value.kind == "refused"
    assert str(caught.value) == f"{path} is {what}"
    assert descriptors() == before


@pytest.mark.parametrize(("what", "make"), NOT_FILES, ids=[row[0].partition(",")[0] for row in NOT_FILES])
def test_what_is_put_there_between_looking_and_opening_is_refused_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "mail.log"
    path.touch()
    opened = os.open

    def swapped(name: str, flags: int) -> int:
        path.unlink()
        make(path)
        return opened(name, flags)

    before = descriptors()
    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(Trouble) as caught:
        open_file(str(path))
    monkeypatch.undo()
    if "socket" in what:  # the kernel opens none
        assert caught.value.kind == "unreadable"
    else:
        assert str(caught.value) == f"{path} is {what}"
    assert descriptors() == before


@pytest.mark.parametrize("name", ["gone", "file/below"])
def test_what_is_not_there_is_missing(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Trouble) as caught:
        open_file(str(tmp_path / name))
    assert caught.value.kind == "missing"
    assert str(caught.value) == f"{tmp_path / name} does not exist"


def test_a_link_that_leads_round_in_a_circle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(Trouble) as caught:
        open_file(str(tmp_path / "a" / "mail.log"))
    assert caught.value.kind == "refused"


def test_a_plain_file_tells_what_is_left_and_where_a_hole_ends(tmp_path: Path) -> None:
    path = tmp_path / "mail.log"
    path.write_bytes(b"line\n")
    handle = open_file(str(path))
    info = path.stat()
    assert (handle.path, handle.dev, handle.ino) == (str(path), info.st_dev, info.st_ino)
    assert [handle.left(offset) for offset in (0, 2, 5, 9)] == [5, 3, 0, 0]
    os.truncate(path, 1 << 20)
    with path.open("ab") as log:
        log.write(b"more\n")
    assert handle.data_after(2) == 2
    assert 4096 < handle.data_after(500_000) <= 1 << 20
    assert handle.data_after(2 << 20) == 2 << 20
    assert handle.read(1 << 20, 100) == b"more\n"
    handle.close()
    handle.close()


@pytest.fixture(params=sorted(PACKERS))
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Handle]:
    path = tmp_path / f"mail.log.1{request.param}"
    path.write_bytes(PACKERS[request.param](LINES))
    handle = open_file(str(path))
    yield handle
    handle.close()


def test_a_packed_file_has_something_left_until_its_end(packed: Handle) -> None:
    info = Path(packed.path).stat()
    assert (packed.dev, packed.ino) == (info.st_dev, info.st_ino)
    assert packed.left(0) == info.st_size
    at = 0
    while data := packed.read(at, 200_000):
        assert at == 0 or packed.left(at) >= len(data)
        at += len(data)
        assert packed.left(at) >= (at < len(LINES))
    assert at == len(LINES)
    assert packed.left(at) == packed.left(at + 1) == 0
    assert packed.left(at - 10) >= 10
    assert packed.data_after(77) == 77
    assert packed.read(at, 10) == b""


def test_a_packed_file_that_is_closed_leaves_nothing_open(tmp_path: Path) -> None:
    before, born = descriptors(), children()
    for packing, pack in PACKERS.items():
        path = tmp_path / f"mail.log.1{packing}"
        path.write_bytes(pack(LINES))
        for offsets in ((), (0,), (400_000, 0), (len(LINES),)):  # not read, begun, begun again, read to its end
            handle = open_file(str(path))
            for offset in offsets:
                assert handle.read(offset, 100) == LINES[offset : offset + 100]
            handle.close()
            handle.close()
            assert (descriptors(), children()) == (before, born)


@pytest.mark.parametrize("packing", sorted(PACKERS))
def test_reading_on_in_a_packed_file_does_not_begin_it_again(tmp_path: Path, packing: str) -> None:
    """Each block is looked at twice; a second start for each would cost a minute for a large log."""
    path = tmp_path / f"mail.log.1{packing}"
    path.write_bytes(PACKERS[packing](os.urandom(1_200_000)))
    handle = open_file(str(path))
    before = read_so_far()
    for at in range(0, 1_200_000, 60_000):
        assert len(handle.read(at, 60_000)) == 60_000
        assert len(handle.read(at, 120_000)) >= 60_000
    handle.close()
    assert read_so_far() - before < 3_200_000


DAMAGES: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("cut", lambda data: data[:-30]),
    ("overwritten", lambda data: data[: len(data) // 2] + bytes(400) + data[len(data) // 2 + 400 :]),
    ("something else", lambda data: b"not packed at all\n" * 100),
]


@pytest.mark.parametrize("damage", [row[1] for row in DAMAGES], ids=[row[0] for row in DAMAGES])
@pytest.mark.parametrize("packing", sorted(PACKERS))
def test_a_damaged_packed_file_ends_where_the_damage_is(
    tmp_path: Path, packing: str, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"mail.log.1{packing}"
    noise = os.urandom(700_000)
    path.write_bytes(damage(PACKERS[packing](noise)))
    handle = open_file(str(path))
    assert isinstance(handle, Packed)
    assert handle.damage == ""
    got = b""
    while data := handle.read(len(got), 200_000):
        got += data
    told, left = handle.damage, handle.left(len(got))
    handle.close()
    assert told
    assert left == 0
    # LIMIT of the formats: what was overwritten may be handed out before the checksum at the end shows it.
    assert noise.startswith(got) or damage is DAMAGES[1][1]


@pytest.mark.parametrize("packing", sorted(PACKERS))
def test_a_whole_packed_file_is_not_called_damaged(tmp_path: Path, packing: str) -> None:
    path = tmp_path / f"mail.log.1{packing}"
    path.write_bytes(PACKERS[packing](LINES))
    handle = open_file(str(path))
    assert isinstance(handle, Packed)
    assert handle.read(len(LINES) - 5, 100) == LINES[-5:]
    assert handle.read(0, 5) == LINES[:5]
    assert handle.read(len(LINES), 100) == b""
    assert handle.damage == ""
    handle.close()


def test_without_the_zstd_command_nothing_is_left_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mail.log.1.zst"
    path.write_bytes(PACKERS[".zst"](LINES))
    monkeypatch.setenv("PATH", str(tmp_path))
    before = descriptors()
    with pytest.raises(Trouble, match=r"mail\.log\.1\.zst is compressed with zstd: install the package zstd") as caught:
        open_file(str(path))
    assert caught.value.kind == "unreadable"
    assert descriptors() == before
