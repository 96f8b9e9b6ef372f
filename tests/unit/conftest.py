"""What several unit tests are given."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from popauthd.counters import COUNTERS
from popauthd.store.books.counters import Counters
from tests.support.logworld import Follower, World


@pytest.fixture(scope="session", autouse=True)
def only_listed_counters() -> Iterator[None]:
    """Counting fails under a name that popauthd/counters.py does not list."""
    add = Counters.add

    def add_listed(counters: Counters, names: Mapping[str, int], now: int) -> None:
        assert names.keys() <= COUNTERS.keys(), f"not listed: {names.keys() - COUNTERS.keys()}"
        add(counters, names, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Counters, "add", add_listed)
        yield


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A log that a server writes and somebody rotates; a test file that needs another world has its own."""
    return World(tmp_path)


@pytest.fixture
def follower(world: World) -> Iterator[Follower]:
    """The log file source on that log."""
    follower = Follower(world)
    yield follower
    follower.stop()
