"""Plays a storm in a directory of its own; what was wrong, with all that is needed to play it again."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.sim.world import Storm, World, WrongError

MEMORY = "/dev/shm"  # what is simulated is not the disk, and a hundred nodes sync theirs often
LAST_WORDS = 30


@dataclass(frozen=True, slots=True)
class Played:
    """How a storm went. wrong: "" if all was right. healed: after how many seconds of calm all nodes were equal."""

    wrong: str
    healed: float = 0.0
    damaged: bool = False
    entries: int = 0


@contextmanager
def directory() -> Iterator[Path]:
    """A directory for the books of all nodes, in memory where that is possible."""
    with tempfile.TemporaryDirectory(
        prefix="popauthd-sim-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None
    ) as name:
        yield Path(name)


def play(storm: Storm) -> Played:
    """Play a storm to its end."""
    with directory() as place:
        world = World(storm, place)
        try:
            healed = world.play()
        except WrongError as error:
            last = "\n".join(world.log[-LAST_WORDS:])
            return Played(f"{storm}\n{error}\nwhat happened last:\n{last}")
        finally:
            world.close()
        return Played("", healed, world.damaged, world.engine.counted.entries_in)
