"""popauthd.watch.in_force: what runs and is not the file's is a condition, and so is a file that is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from popauthd import config
from popauthd.errors import ConfigError
from popauthd.watch.health import Health
from popauthd.watch.in_force import InForce

NOW = 1_795_467_600
WRONG, NOT_IN_FORCE = "configuration-wrong", "configuration-not-in-force"


class World:
    def __init__(self, file: Path) -> None:
        self.file = file
        file.write_text("")
        self.health = Health()
        self.in_force = InForce(str(file), config.read(str(file)), self.health, NOW)

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def look(self, *, at_once: bool = True) -> dict[str, str]:
        self.in_force._look_at = 0.0
        self.in_force.look(NOW + 1, at_once=at_once)
        return {one.word: one.evidence for one in self.health.standing}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "popauthd.toml")


def test_the_keys_that_differ_are_named_with_both_values(world: World) -> None:
    assert world.look() == {}
    world.write('lifetime = "20m"\ngroup = "adm"\n')
    assert world.look() == {
        NOT_IN_FORCE: 'lifetime is "15m", the file says "20m"; '
        'group is "Debian-exim", the file says "adm" (needs a restart)'
    }
    world.write("lifetime = 900\n")
    assert world.look() == {}, "the same, written otherwise"


@pytest.mark.parametrize("how", ["wrong", "gone", "a directory", "a pipe", "a link to itself"])
def test_a_file_that_is_wrong_or_gone_is_a_condition_until_it_is_right(world: World, how: str) -> None:
    if how == "wrong":
        world.write("lifetyme = 1\n")
    else:
        world.file.unlink()
        if how == "a directory":
            world.file.mkdir()
        elif how == "a pipe":
            os.mkfifo(world.file)
        elif how == "a link to itself":
            world.file.symlink_to(world.file)
    (found,) = world.look().items()
    assert found[0] == WRONG
    assert str(world.file) in found[1]
    if how == "a directory":
        world.file.rmdir()
    else:
        world.file.unlink(missing_ok=True)
    world.write("")
    assert world.look() == {}


def test_by_itself_it_looks_twice_as_an_editor_may_be_writing(world: World) -> None:
    world.look(at_once=False)
    world.write("lifetyme = 1\n")
    assert world.look(at_once=False) == {}
    world.write('lifetime = "20m"\n')
    assert world.look(at_once=False) == {}
    assert world.look(at_once=False).keys() == {NOT_IN_FORCE}


def test_it_does_not_look_all_the_time(world: World) -> None:
    world.write('lifetime = "20m"\n')
    for _ in range(3):
        world.in_force.look(NOW)
    assert world.health.standing == ()


def test_what_could_not_be_put_in_force_is_told_until_another_file_comes_or_it_can(world: World) -> None:
    world.write('users_file = "/missing"\n')
    world.in_force.refused("/missing: cannot be read", NOW)
    assert world.look()[WRONG] == "/missing: cannot be read"
    assert NOT_IN_FORCE in world.look()
    world.write("")
    assert world.look() == {}
    world.write('users_file = "/missing"\n')
    world.in_force.refused("/missing: cannot be read", NOW)
    loaded, _differing = world.in_force.read()
    world.in_force.taken(loaded, NOW + 5)
    assert world.look() == {}
    assert (world.in_force.status.digest, world.in_force.status.since) == (loaded.digest, NOW + 5)


def test_the_same_file_that_cannot_be_had_any_more_is_told_too(world: World) -> None:
    world.in_force.refused("/secret: cannot be read", NOW)
    assert world.look() == {WRONG: "/secret: cannot be read"}


def test_a_file_that_needs_a_restart_is_right_and_not_in_force(world: World) -> None:
    world.write('run_dir = "/elsewhere"\nlifetime = "20m"\n')
    with pytest.raises(ConfigError, match=r"cannot change run_dir; nothing was changed\. Restart: systemctl") as caught:
        world.in_force.read()
    world.in_force.refused(str(caught.value), NOW)
    assert world.look().keys() == {NOT_IN_FORCE}
