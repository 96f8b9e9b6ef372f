"""A writer in another process that rotates as fast as it can, while the follower reads and restarts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.logworld import Follower, World

ROTATIONS = 150
WRITER = """
import random, sys
from pathlib import Path
from tests.support.logworld import World
how, turns = sys.argv[2], int(sys.argv[3])
world, dice = World(Path(sys.argv[1])), random.Random(turns)
for turn in range(turns):
    world.write(dice.randint(0, 20))
    if how == "dated":
        world.rename_create(f"-20261123-{turn:06d}")
    elif how == "numbered":
        world.rename_create()
    else:
        world.copytruncate()
world.write(1)
print(world.count)
"""


@pytest.mark.parametrize("how", ["dated", "numbered", "copytruncate"])
@pytest.mark.parametrize("restarts", [False, True], ids=["running", "killed"])
def test_a_storm_of_rotations_loses_and_invents_nothing(tmp_path: Path, how: str, restarts: bool) -> None:
    world = World(tmp_path)
    follower = Follower(world)
    command = [sys.executable, "-c", WRITER, str(tmp_path), how, str(ROTATIONS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        reads = 0
        while writer.poll() is None:
            follower.read(5)
            reads += 1
            if restarts and reads % 50 == 0:
                follower.kill()
        assert writer.stdout is not None
        world.count = int(writer.stdout.read())
    for _ in range(20):
        follower.read()
    follower.stop()
    assert follower.lost == []
    assert follower.invented == []
