"""The host list: when it may be written, and what a reader finds in its place."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.errors import StoreError
from popauthd.store import host_list
from popauthd.store.block import Block
from popauthd.store.host_list import HostList
from tests.support.helpers import eventually, in_blocks

A, SIX, NET = "192.0.2.10", "2001:db8::7", "2001:db8:1:2::/64"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "relay-hosts"


LINES = [
    ("IPv4", A, "192.0.2.10: 1795469400\n"),
    ("IPv6, as a colon would end the key", SIX, '"2001:db8::7": 1795469400\n'),
    ("a /64", NET, '"2001:db8:1:2::/64": 1795469400\n'),
]


@pytest.mark.parametrize(("address", "text"), [row[1:] for row in LINES], ids=[row[0] for row in LINES])
def test_the_line_of_an_address(address: str, text: str) -> None:
    (block,) = in_blocks({address: 1795469400})
    assert host_list.lines(block).decode() == text


def test_it_is_written_at_the_start_though_nothing_has_changed(path: Path) -> None:
    listed = HostList(str(path))
    assert listed.due()
    listed.write(())
    assert path.read_bytes() == b""


def test_it_is_written_again_only_when_something_has_changed(path: Path) -> None:
    listed = HostList(str(path))
    listed.write(in_blocks({A: 5}))
    assert not listed.stale
    assert not listed.due()
    listed.stale = True
    eventually(listed.due, "it may be written again")


def test_a_list_that_takes_long_to_write_is_not_written_all_the_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Writing may take a tenth of the time: while one that took t was written last, it waits for ten of them."""
    clock = iter([100.0, 100.5])
    listed = HostList(str(path))
    with monkeypatch.context() as patched:
        patched.setattr("popauthd.store.host_list.time.monotonic", lambda: next(clock))
        listed.write(in_blocks({A: 5}))
    assert listed._not_before == 105.5


@pytest.mark.parametrize(("addresses", "least"), [(10, 0.0), (100_000, 1.0)])
def test_a_long_list_is_written_once_a_second_at_most(path: Path, addresses: int, least: float) -> None:
    listed = HostList(str(path))
    began = time.monotonic()
    listed.write(in_blocks({f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}": 5 for n in range(addresses)}))
    assert listed._not_before >= began + least
    assert addresses > 10 or listed._not_before < time.monotonic() + 1
    listed.stale = True
    assert not listed.due()


def test_one_that_cannot_be_written_leaves_the_old_one_and_is_still_due(path: Path) -> None:
    listed = HostList(str(path))
    listed.write(in_blocks({A: 5}))
    listed.stale = True
    blocking = path.with_name("relay-hosts.new")
    blocking.mkdir()
    with pytest.raises(StoreError, match=r"^host list .*relay-hosts: cannot be written: Is a directory$"):
        listed.write(in_blocks({SIX: 6}))
    assert path.read_text() == f"{A}: 5\n"
    assert listed.stale
    blocking.rmdir()
    eventually(listed.due, "it is tried again")


def test_a_link_in_the_new_lists_place_is_not_followed(path: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("mine")
    path.with_name("relay-hosts.new").symlink_to(elsewhere)
    host_list.write(str(path), in_blocks({A: 5}))
    assert elsewhere.read_text() == "mine"
    assert path.read_text() == f"{A}: 5\n", "the link was taken away"
    assert not path.is_symlink()


def test_what_an_earlier_attempt_left_is_written_over(path: Path) -> None:
    path.with_name("relay-hosts.new").write_text("something much longer than what comes now\n" * 9)
    host_list.write(str(path), in_blocks({A: 5}))
    assert path.read_text() == f"{A}: 5\n"
    assert [entry.name for entry in path.parent.iterdir()] == ["relay-hosts"]


def test_a_disk_that_fills_up_leaves_the_old_list_and_no_half_one(path: Path) -> None:
    host_list.write(str(path), in_blocks({A: 5}))

    def ends() -> Iterator[Block]:
        yield from in_blocks({SIX: 6})
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(StoreError, match="No space left on device"):
        host_list.write(str(path), ends())
    assert [(entry.name, entry.read_text()) for entry in path.parent.iterdir()] == [("relay-hosts", f"{A}: 5\n")]


def test_a_process_whose_watcher_died_writes_nothing_into_the_list_of_the_next_watcher(path: Path) -> None:
    old = in_blocks({f"10.0.{n >> 8}.{n & 255}": 5 for n in range(10_000)})

    def outlived() -> Iterator[Block]:
        yield from old
        host_list.write(str(path), in_blocks({A: 5}))
        yield from old

    with pytest.raises(StoreError, match="another process writes it"):
        host_list.write(str(path), outlived())
    assert [(entry.name, entry.read_text()) for entry in path.parent.iterdir()] == [("relay-hosts", f"{A}: 5\n")]


def test_nor_does_it_put_its_list_in_the_place_of_one_that_is_being_written(path: Path) -> None:
    def begun() -> Iterator[Block]:
        yield from in_blocks({A: 5})
        fresh = path.with_name("relay-hosts.new")
        fresh.unlink()
        fresh.write_text(f"{SIX[:4]}")

    with pytest.raises(StoreError, match="another process writes it"):
        host_list.write(str(path), begun())
    assert [entry.name for entry in path.parent.iterdir()] == ["relay-hosts.new"], "that is the other's"
