"""Servers shared by the system tests: one Exim for each flavour and way, started when first asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.exim import FLAVOURS, USER, WAYS, Exim
from tests.servers.place import Place
from tests.support.daemons import Installation

KINDS = [(flavour, way) for flavour in FLAVOURS for way in WAYS]


@dataclass(frozen=True, slots=True)
class Asking:
    """An Exim, the way it asks, and the run directory it asks in."""

    way: str
    exim: Exim
    run_dir: Path


@pytest.fixture(scope="session")
def place() -> Iterator[Place]:
    """One directory for the servers that tests share."""
    with Place() as shared:
        yield shared


@pytest.fixture(scope="session", params=KINDS, ids=["-".join(kind) for kind in KINDS])
def asking(place: Place, request: pytest.FixtureRequest) -> Asking:
    """Each flavour of Exim with each way to ask, and a run directory that is the test's to spoil."""
    flavour, way = request.param
    run_dir = place.directory(f"run-{flavour}-{way}", 0o750, USER)
    return Asking(way, Exim(place, flavour, way, run_dir), run_dir)


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    """A configuration, a log, and nothing started yet; a test file that needs other settings has its own."""
    made = Installation(tmp_path)
    yield made
    made.close()
