"""Every way in which a log is rotated or spoilt, with the follower running, stopped, killed, or behind.

Lost and invented are always none, and nothing is read twice but after a kill; what the writer destroyed before it
could be read is told. The mixture of all of that is by chance: POPAUTHD_ROTATION_SEEDS sets how many mixtures of each
way are played, POPAUTHD_SEED the first seed. The long campaign:

    POPAUTHD_ROTATION_SEEDS=50 sh tests/run.sh -s tests/faults/test_rotation_matrix.py
"""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import rotations
from tests.support.dose import dose, first_seed
from tests.support.logworld import Follower, Stage, World, told

SEEDS = dose("ROTATION_SEEDS", 1)
SEED = first_seed(1)


@dataclass(frozen=True)
class Case:
    row: rotations.Row
    loses: bool = False  # the writer destroys lines: a follower that is down or behind cannot have them
    twice: bool = False  # what is left of the file cannot be told from what was read before


CASES = [
    Case(rotations.rename_and_create),
    Case(rotations.rename_and_create_ten_seconds_later),
    Case(rotations.copytruncate_small),
    Case(rotations.copytruncate_regrown_past_the_offset),
    Case(rotations.copytruncate_twice),
    Case(rotations.one_then_two_packed),
    Case(rotations.seven_turns),
    Case(rotations.dated),
    Case(rotations.dated_with_seconds),
    Case(rotations.dated_with_clock_time),
    Case(rotations.gz_without_delay),
    Case(rotations.xz),
    Case(rotations.zst),
    Case(rotations.bz2),
    Case(rotations.savelog),
    Case(rotations.unlink_and_create_on_the_same_inode, loses=True),
    Case(rotations.truncate_to_nothing, loses=True),
    Case(rotations.truncate_in_the_middle_of_a_line, loses=True, twice=True),
    Case(rotations.late_writes),
    Case(rotations.directory_removed_and_made_again, loses=True),
    Case(rotations.directory_moved_away_and_back),
    Case(rotations.unreadable_for_thirty_seconds),
    Case(rotations.replaced_by_a_directory_for_a_while),
    Case(rotations.reopened_without_rotation),
    Case(rotations.empty_rotated_file),
    Case(rotations.rotated_file_deleted_unread, loses=True),
    Case(rotations.unfinished_line_at_rotation),
    Case(rotations.crlf),
    Case(rotations.a_long_line),
    Case(rotations.a_hole_of_nuls),
    Case(rotations.a_hundred_rotations_between_looks),
    Case(rotations.cleared_and_filled_while_empty),
]
MODES = ["running", "stopped", "killed", "under load"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES, ids=[case.row.__name__ for case in CASES])
def test_nothing_is_lost_and_nothing_is_invented(tmp_path: Path, case: Case, mode: str) -> None:
    assert wrong(tmp_path / "log", case, mode) == {}


@pytest.mark.parametrize("case", CASES, ids=[case.row.__name__ for case in CASES])
def test_nothing_is_lost_or_invented_in_any_mixture(tmp_path: Path, case: Case) -> None:
    for seed in range(SEED, SEED + SEEDS):
        print(f"seed {seed}")
        assert wrong(tmp_path / str(seed), case, "mixed", random.Random(f"{seed} {case.row.__name__}")) == {}
        shutil.rmtree(tmp_path / str(seed))


def wrong(directory: Path, case: Case, mode: str, dice: random.Random | None = None) -> dict[str, Sequence[object]]:
    """Play a row, and say what is not as it should be."""
    directory.mkdir()
    world = World(directory)
    follower = Follower(world)
    world.write(4)
    follower.read()
    if mode == "stopped":
        follower.stop()
    world.write(4)
    stage = Stage(world, follower, mode, dice)
    stage.look()
    case.row(stage)
    stage.finish()
    follower.stop()
    again = sorted(number for number, times in Counter(follower.got).items() if times > 1)
    found: dict[str, Sequence[object]] = {
        "lost": follower.lost,
        "invented": follower.invented,
        "read twice": [] if case.twice or mode in ("killed", "mixed") else again,
        "missed": [] if case.loses else follower.missed,
        "missed and not told": [] if follower.gaps else follower.missed,
        "told and not missed": [] if case.loses else told(follower),
    }
    return {what: which for what, which in found.items() if which}
