"""popauthd.store.relay_map and popauthd.store.host_list: what Exim's side reads."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from popauthd.errors import StoreBrokenError, StoreError
from popauthd.store import host_list, relay_map
from popauthd.store.block import Block
from popauthd.store.map_size import grow
from popauthd.store.relay_map import MapReader, MapWriter, read_record, record
from tests.support.helpers import ROOT, in_blocks, no_address_space_left, no_descriptor_left, write_map

A, B = "192.0.2.10", "2001:db8::7"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay.mdb"


def test_opening_a_map_imports_nothing(tmp_path: Path) -> None:
    """Who looks as Exim's user or the books' owner cannot read what only root may, such as libraries below /root."""
    write_map(tmp_path / "relay.mdb", {"192.0.2.10": 1})
    code = (
        "import sys; from popauthd.store.relay_map import MapReader; before = set(sys.modules)\n"
        "MapReader(sys.argv[1]).expiry('192.0.2.10'); print(sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "relay.mdb")], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "[]\n"


def test_the_record_is_expiry_and_address() -> None:
    assert record(A, 1795469400) == b"1795469400 192.0.2.10"
    assert read_record(A, b"1795469400 192.0.2.10") == 1795469400


@pytest.mark.parametrize(
    "value",
    [b"", b"1795469400", b"1795469400 192.0.2.11", b"-5 192.0.2.10", b"1795469400  192.0.2.10", b"1e9 192.0.2.10",
     b"1795469400 192.0.2.10\0", b"9999999999999 192.0.2.10", "\u0661 192.0.2.10".encode(), b"\xff" * 4096],
)  # fmt: skip
def test_a_record_that_is_not_for_this_address_is_none(value: bytes) -> None:
    assert read_record(A, value) is None


def test_the_map_is_what_its_page_says(path: Path) -> None:
    write_map(path, {A: 1795469400, B: 5})
    with lmdb.open(str(path), subdir=False, readonly=True, lock=False) as env, env.begin() as txn:
        assert dict(txn.cursor()) == {b"192.0.2.10": b"1795469400 192.0.2.10", b"2001:db8::7": b"5 2001:db8::7"}
    assert path.stat().st_mode & 0o777 == 0o640
    assert Path(f"{path}-lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("own", "net"), [(100, 200), (200, 100), (None, 200), (200, None)])
def test_the_later_expiry_counts_of_an_address_and_its_network(path: Path, own: int | None, net: int | None) -> None:
    write_map(path, {B: own, "2001:db8::/64": net, "2001:db8:0:1::/64": 900})
    reader = MapReader(str(path))
    assert reader.expiry(B) == 200
    assert reader.expiry("2001:db8::8") == net
    reader.close()


def test_an_expiry_of_twelve_digits_can_be_read_and_one_of_none_or_thirteen_not() -> None:
    assert read_record(A, b"999999999999 192.0.2.10") == 999_999_999_999
    assert read_record(A, b" 192.0.2.10") is None
    assert read_record("2001:db8::/64", record("2001:db8::/64", 7)) == 7


def test_the_slots_of_readers_that_died_are_freed(path: Path) -> None:
    writer = MapWriter(str(path))
    code = (
        "import lmdb, os, sys; env = lmdb.open(sys.argv[1], subdir=False, readonly=True)\n"
        "txn = env.begin(); txn.get(b'x'); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert [writer.check_readers(), writer.check_readers()] == [1, 0]
    writer.close()


def test_no_change_is_no_transaction(path: Path) -> None:
    writer = MapWriter(str(path))
    before = path.stat()
    writer.apply({})
    assert path.stat().st_mtime_ns == before.st_mtime_ns
    writer.close()


def test_replacing_says_how_many_there_are(path: Path) -> None:
    writer = MapWriter(str(path))
    assert [writer.replace([]), writer.replace(in_blocks({A: 1, B: 2}))] == [0, 2]
    writer.close()


def test_a_writer_that_is_closed_says_so(path: Path) -> None:
    writer = MapWriter(str(path))
    writer.close()
    writer.close()
    with pytest.raises(StoreError, match="not made again yet"):
        writer.apply({A: 1})


def test_a_reader_sees_changes_made_by_another_process(path: Path) -> None:
    write_map(path, {A: 100})
    reader = MapReader(str(path))
    assert (reader.expiry(A), reader.expiry(B)) == (100, None)
    write_map(path, {A: None, B: 200})
    assert (reader.expiry(A), reader.expiry(B)) == (None, 200)
    reader.close()


def test_a_reader_notices_a_map_that_was_replaced(path: Path) -> None:
    write_map(path, {A: 100})
    reader = MapReader(str(path))
    assert reader.expiry(A) == 100
    path.rename(f"{path}.old")
    with pytest.raises(StoreError, match="cannot be read"):
        reader.expiry(A)
    write_map(path, {B: 200})
    assert (reader.expiry(A), reader.expiry(B)) == (None, 200)
    reader.close()


def test_a_map_that_comes_back_or_anew_is_read_though_no_descriptor_is_left(path: Path) -> None:
    write_map(path, {A: 100})
    write_map(path.with_name("new.mdb"), {B: 200})
    reader = MapReader(str(path))
    reader.open()
    aside = path.rename(f"{path}.aside")
    with no_descriptor_left():
        with pytest.raises(StoreError):
            reader.expiry(A)
        aside.rename(path)
        assert reader.expiry(A) == 100
        path.with_name("new.mdb").rename(path)
        assert (reader.expiry(A), reader.expiry(B)) == (None, 200)
    reader.close()


def test_something_that_is_no_file_is_trouble_and_nobody_hangs(path: Path) -> None:
    os.mkfifo(path)
    reader = MapReader(str(path))
    with pytest.raises(StoreError, match="not a file"):
        reader.open()
    with pytest.raises(StoreError, match="not a file"):
        reader.expiry(A)


@pytest.mark.parametrize("length", [0, 1, 4096, 8192, 10000])
def test_a_map_cut_short_under_an_open_reader_is_trouble_and_not_a_crash(path: Path, length: int) -> None:
    write_map(path, {f"192.0.2.{number}": 100 for number in range(250)})
    reader = MapReader(str(path))
    assert reader.expiry(A) == 100
    os.truncate(path, length)
    with pytest.raises(StoreError):
        reader.expiry(A)
    reader.close()


def test_replacing_leaves_exactly_the_new_entries(path: Path) -> None:
    writer = MapWriter(str(path))
    writer.apply({A: 1})
    writer.replace(in_blocks({B: 2}))
    writer.close()
    reader = MapReader(str(path))
    assert (reader.expiry(A), reader.expiry(B)) == (None, 2)
    reader.close()


def test_garbage_is_an_error_with_words(path: Path) -> None:
    write_map(path, {})
    path.write_bytes(b"garbage" * 3000)
    with pytest.raises(StoreError, match="cannot be opened"):
        MapWriter(str(path))


def test_a_full_map_is_an_error_and_keeps_what_it_held(path: Path) -> None:
    writer = MapWriter(str(path))
    writer.apply({A: 1})
    writer._opened().set_mapsize(65536)
    many = {f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}": 1 for number in range(20_000)}
    with pytest.raises(StoreError, match="cannot be written"):
        writer.apply(dict(many))
    with pytest.raises(StoreError, match="cannot be written"):
        writer.replace(in_blocks(many))
    writer.close()
    reader = MapReader(str(path))
    assert reader.expiry(A) == 1
    reader.close()


def test_the_host_list_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "relay-hosts"
    host_list.write(str(path), in_blocks({A: 1795469400, B: 5}))
    assert path.read_text() == '192.0.2.10: 1795469400\n"2001:db8::7": 5\n'
    assert path.stat().st_mode & 0o777 == 0o640
    host_list.write(str(path), [])
    assert path.read_bytes() == b""
    assert [entry.name for entry in tmp_path.iterdir()] == ["relay-hosts"]


def test_a_host_list_that_cannot_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "relay-hosts"
    host_list.write(str(path), in_blocks({A: 5}))
    (tmp_path / "relay-hosts.new").mkdir()
    with pytest.raises(StoreError, match="host list"):
        host_list.write(str(path), [])
    assert path.read_text() == "192.0.2.10: 5\n"


def test_a_map_that_outgrew_what_its_reader_had_mapped_is_opened_anew(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_map, "MAP_BYTES", 1 << 16)
    write_map(path, {A: 100})
    reader = MapReader(str(path))
    assert reader.expiry(A) == 100
    write_map(path, {f"10.0.{high}.{low}": 200 for high in range(20) for low in range(200)})
    assert path.stat().st_size > 1 << 16
    assert (reader.expiry(A), reader.expiry("10.0.19.199")) == (100, 200)
    reader.close()


def test_a_map_that_grows_under_a_reader_is_never_taken_for_one_cut_short(path: Path) -> None:
    write_map(path, {A: 100})
    code = (
        "import sys; from popauthd.store.relay_map import MapWriter; writer = MapWriter(sys.argv[1])\n"
        "for number in range(20000): writer.apply({f'10.{number >> 16}.{number >> 8 & 255}.{number & 255}': 5})"
    )
    reader = MapReader(str(path), lock=True)  # without it, such a writer can end this process
    looks, misses, trouble = 0, 0, []
    with subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT) as writer:
        while writer.poll() is None:
            looks += 1
            try:
                misses += reader.expiry(A) != 100
            except StoreError as error:
                trouble.append(str(error))
    assert writer.returncode == 0
    assert looks > 0
    assert (misses, trouble) == (0, [])
    assert reader.expiry(A) == 100
    reader.close()


def locked(path: Path, entries: dict[str, int | None]) -> MapReader:
    """A reader that takes part in the lock of a map."""
    write_map(path, entries)
    reader = MapReader(str(path), lock=True)
    reader.open()
    return reader


def has_a_place(reader: MapReader) -> bool:
    assert reader._env is not None
    with reader._env.begin():
        return str(os.getpid()) in reader._env.readers()


def test_a_reader_with_a_lock_has_a_place_in_it(path: Path) -> None:
    reader = locked(path, {A: 100, "2001:db8::/64": 200})
    assert [reader.expiry(one) for one in (A, B, "192.0.2.11")] == [100, 200, None]
    assert has_a_place(reader)
    reader.close()


def test_a_reader_makes_no_lock_and_takes_part_in_it_when_the_writer_has_made_one(path: Path) -> None:
    write_map(path, {A: 100})
    lock = Path(f"{path}-lock")
    aside = lock.rename(f"{path}.aside")
    reader = MapReader(str(path), lock=True)
    assert reader.expiry(A) == 100
    assert not lock.exists()
    assert not has_a_place(reader)
    aside.rename(lock)
    reader.open()
    assert reader.expiry(A) == 100
    assert has_a_place(reader)
    reader.close()


@pytest.mark.parametrize(
    "strange", [lambda lock: lock.touch(), lambda lock: os.mkfifo(lock), lambda lock: lock.mkdir()]
)
def test_something_else_in_the_locks_place_is_left_alone(path: Path, strange: Callable[[Path], object]) -> None:
    write_map(path, {A: 100})
    lock = Path(f"{path}-lock")
    lock.unlink()
    strange(lock)
    reader = MapReader(str(path), lock=True)
    before = open_descriptors()
    reader.open()
    assert reader.expiry(A) == 100
    assert not has_a_place(reader)
    reader.close()
    assert open_descriptors() <= before
    assert lock.lstat().st_size == 0 or lock.is_dir() or lock.is_symlink()


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_a_reader_that_is_closed_leaves_nothing_open(path: Path) -> None:
    write_map(path, {A: 100})
    before = open_descriptors()
    reader = MapReader(str(path), lock=True)
    assert reader.expiry(A) == 100
    reader.close()
    assert open_descriptors() <= before


@pytest.mark.parametrize("length", [0, 100, -1])
def test_a_lock_cut_short_under_its_reader_is_trouble_and_not_a_crash(path: Path, length: int) -> None:
    reader = locked(path, {A: 100})
    assert reader.expiry(A) == 100
    lock = Path(f"{path}-lock")
    size = lock.stat().st_size
    os.truncate(lock, length if length >= 0 else size + length)
    with pytest.raises(StoreError, match="lock file is cut short"):
        reader.expiry(A)
    reader.close()
    assert lock.stat().st_size == size, "closing it writes to it"


def test_a_map_and_a_lock_that_are_replaced_are_taken_together(path: Path) -> None:
    reader = locked(path, {A: 100})
    for one in (path, Path(f"{path}-lock")):
        one.unlink()
    with pytest.raises(StoreError):
        reader.expiry(A)
    write_map(path, {B: 200})
    assert (reader.expiry(A), reader.expiry(B)) == (None, 200)
    assert has_a_place(reader)
    reader.close()


def test_a_map_that_is_replaced_while_it_is_opened_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_map(path, {A: 100})
    write_map(path.with_name("new.mdb"), {})
    reader = MapReader(str(path), lock=True)
    opened = reader._environment

    def late(*, lock: bool) -> lmdb.Environment:
        env = opened(lock=lock)
        path.with_name("new.mdb").rename(path)
        return env

    monkeypatch.setattr(reader, "_environment", late)
    with pytest.raises(StoreError, match="was replaced while it was opened"):
        reader.expiry(A)
    monkeypatch.undo()
    assert reader.expiry(A) is None
    reader.close()


def test_a_lock_of_another_lmdb_is_left_to_its_writer(path: Path) -> None:
    write_map(path, {A: 100})
    code = (
        "import sys; from popauthd.store.relay_map import MapWriter; writer = MapWriter(sys.argv[1])\n"
        "print('open', flush=True); sys.stdin.read()"
    )
    lock = Path(f"{path}-lock")
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"open\n"
        whole = lock.read_bytes()
        with lock.open("r+b") as file:
            file.seek(4)  # behind the magic number: the format
            file.write(b"\xff" * 4)
        reader = MapReader(str(path), lock=True)
        assert reader.expiry(A) == 100
        assert not has_a_place(reader)
        with lock.open("r+b") as file:
            file.write(whole[:8])
        reader.open()
        assert reader.expiry(A) == 100
        assert has_a_place(reader)
        reader.close()


def test_readers_that_are_killed_leave_their_places_to_others(path: Path) -> None:
    write_map(path, {A: 100})
    code = (
        "import os, sys; from popauthd.store.relay_map import MapReader\n"
        "for _ in range(40):\n"
        "    if not os.fork():\n"
        "        MapReader(sys.argv[1], lock=True).expiry(sys.argv[2]); os.kill(os.getpid(), 9)\n"
        "    os.wait()\n"
        "print(MapReader(sys.argv[1], lock=True).expiry(sys.argv[2]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), A], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert done.stdout == "100\n"


@pytest.mark.parametrize("suffix", ["", "-lock"])
def test_half_of_a_map_and_its_lock_is_made_anew_with_the_other_half(path: Path, suffix: str) -> None:
    reader = locked(path, {A: 100})
    assert reader.expiry(A) == 100
    Path(f"{path}{suffix}").unlink()
    write_map(path, {B: 200})
    assert (reader.expiry(A), reader.expiry(B)) == (None, 200)
    assert has_a_place(reader)
    reader.close()


def test_a_full_map_grows(tmp_path: Path) -> None:
    path = str(tmp_path / "relay.mdb")
    writer = MapWriter(path)
    writer._opened().set_mapsize(1 << 16)
    for first in range(0, 5000, 500):
        writer.apply({f"10.0.{number >> 8}.{number & 255}": 4_000_000_000 for number in range(first, first + 500)})
    assert writer._opened().info()["map_size"] > 1 << 16
    writer.close()
    reader = MapReader(path)
    assert all(reader.expiry(f"10.0.{number >> 8}.{number & 255}") == 4_000_000_000 for number in range(5000))
    reader.close()


def test_a_map_that_the_system_gives_no_more_room_is_broken_as_lmdb_has_let_go_of_it(tmp_path: Path) -> None:
    writer = MapWriter(str(tmp_path / "relay.mdb"))
    writer._opened().set_mapsize(1 << 16)
    with no_address_space_left():
        writer._opened().set_mapsize(32 << 20)
        with pytest.raises(StoreBrokenError, match=r"cannot be given 64 MiB.*Cannot allocate memory"):
            grow(writer._opened(), "the map")
    writer.close()


def test_a_line_of_the_list_quotes_what_has_a_colon() -> None:
    (block,) = in_blocks({A: 5, "2001:db8::/64": 6})
    assert host_list.lines(block) == b'192.0.2.10: 5\n"2001:db8::/64": 6\n'
    assert (host_list.lines(block[:1]), host_list.lines([])) == (b"192.0.2.10: 5\n", b"")


def test_a_list_that_was_half_written_when_its_watcher_died_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "relay-hosts"
    (tmp_path / "relay-hosts.new").write_text("192.0.2.99: 99999999999\n" * 9)
    host_list.write(str(path), in_blocks({A: 5}))
    assert path.read_text() == "192.0.2.10: 5\n"


def test_a_link_in_the_new_lists_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("keep")
    (tmp_path / "relay-hosts.new").symlink_to(tmp_path / "elsewhere")
    host_list.write(str(tmp_path / "relay-hosts"), in_blocks({A: 5}))
    assert (tmp_path / "elsewhere").read_text() == "keep"
    assert not (tmp_path / "relay-hosts").is_symlink()


def test_a_list_that_takes_long_to_write_is_not_written_again_at_once(tmp_path: Path) -> None:
    listed = host_list.HostList(str(tmp_path / "relay-hosts"))
    assert listed.due(), "at a start"

    def slow() -> Iterator[Block]:
        time.sleep(0.2)
        yield from in_blocks({A: 5})

    listed.write(slow())
    assert not listed.stale
    listed.stale = True
    assert not listed.due()
    assert listed._not_before - time.monotonic() > 1, "writing takes at most a tenth of the time"
    listed._not_before = 0.0
    assert listed.due()


def test_a_list_that_was_not_written_yet_is_not_lost(tmp_path: Path) -> None:
    assert host_list.HostList(str(tmp_path / "relay-hosts")).lost() == ""
