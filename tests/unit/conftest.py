"""What several unit tests are given."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.logworld import Follower, World
from tests.unit.sources.push.test_auth_policy import SECRET


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The auth policy server's secret in a file, as the administrator keeps it."""
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


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
