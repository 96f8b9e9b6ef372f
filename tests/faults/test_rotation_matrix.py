"""Every way in which a log is rotated or spoilt, with the follower running, stopped, killed, or behind.

Lost and invented are always none, and nothing is read twice but after a kill; what the writer destroyed before it
could be read is told.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults import rotations
from tests.faults.logworld import Follower, Stage, World


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
    directory = tmp_path / "log"
    directory.mkdir()
    world = World(directory)
    follower = Follower(world)
    world.write(4)
    follower.read()
    if mode == "stopped":
        follower.stop()
    world.write(4)
    stage = Stage(world, follower, mode)
    stage.look()
    case.row(stage)
    stage.finish()
    follower.stop()
    assert follower.lost == []
    assert follower.invented == []
    if mode != "killed":
        again = sorted(number for number, times in Counter(follower.got).items() if times > 1)
        assert again == [] or case.twice
    if follower.missed:
        assert case.loses
        assert follower.gaps
    if not case.loses:
        assert follower.gaps == []
