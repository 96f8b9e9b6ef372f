"""Random histories of a log against a small model: write, rotate, truncate, delete, kill, restart.

In the style of Vector's file source tests. POPAUTHD_HISTORIES sets how many (200), POPAUTHD_SEED the
first seed (1); a failure names its seed, and `POPAUTHD_SEED=n POPAUTHD_HISTORIES=1` plays it again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from tests.support.dose import dose, first_seed
from tests.support.logworld import WIDTH, Follower, World

HISTORIES = dose("HISTORIES", 200)
SEED = first_seed(1)
STEPS = 40


class History:
    """One history: an operation is drawn, done to the log, and told."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.dice = random.Random(seed)
        self.world = World(directory)
        self.follower = Follower(self.world)
        self.told: list[str] = []
        self.late = False  # the newest rotated file was renamed, so its writer may still write to it

    def play(self) -> None:
        operations = list(OPERATIONS)
        weights = [OPERATIONS[operation] for operation in operations]
        for _ in range(self.dice.randint(1, STEPS)):
            operation = self.dice.choices(operations, weights)[0]
            self.told.append(operation.__name__)
            operation(self)
        if not self.world.path.exists():
            self.world.create()
        if self.follower.log is None:
            self.follower.start()
        self.follower.read()
        self.world.now += 10_000
        self.follower.read()
        self.follower.stop()


def write(history: History) -> None:
    if history.world.path.exists():
        history.world.write(history.dice.randint(1, 5))


def write_much(history: History) -> None:
    if history.world.path.exists():
        history.world.write(800)


def write_late(history: History) -> None:
    newest = history.world.sibling(".1")
    if history.late and newest.exists():
        history.world.write(history.dice.randint(1, 3), to=newest)


def write_in_two_parts(history: History) -> None:
    """Half a line, perhaps a look, perhaps a rotation by rename, and the other half."""
    world = history.world
    if not world.path.exists():
        return
    line = world.line()
    cut = history.dice.randint(1, WIDTH - 1)
    path = world.path
    world.append(line[:cut])
    if history.dice.random() < 0.5:
        history.follower.read(1)
    if history.dice.random() < 0.3:
        rename_and_create(history)
        path = world.sibling(".1")
    with path.open("ab") as log:
        log.write(line[cut:])
    world.files[path].add(world.count)


def read_some(history: History) -> None:
    history.follower.read(history.dice.randint(1, 3))


def read_all(history: History) -> None:
    history.follower.read()


def stop(history: History) -> None:
    history.follower.stop()


def start(history: History) -> None:
    history.follower.start()


def kill(history: History) -> None:
    history.follower.read(1)
    history.follower.kill()


def rename_and_create(history: History) -> None:
    if history.world.path.exists():
        history.world.rename_create()
        history.late = True


def rename_only(history: History) -> None:
    if history.world.path.exists():
        history.world.shift()
        history.world.move(history.world.path, history.world.sibling(".1"))
        history.late = True


def create(history: History) -> None:
    if not history.world.path.exists():
        history.world.create()


def copytruncate(history: History) -> None:
    if history.world.path.exists():
        history.world.copytruncate()
        history.late = False


def pack(history: History) -> None:
    world = history.world
    plain = [path for path in world.files if path.suffix[1:].isdigit() and path.exists()]
    if plain:
        path = history.dice.choice(sorted(plain))
        world.pack(path.name.removeprefix(world.path.name), history.dice.choice([".gz", ".xz", ".bz2"]))


def truncate(history: History) -> None:
    world = history.world
    if world.path.exists():
        world.truncate(history.dice.choice([0, 0, WIDTH, 3 * WIDTH, WIDTH * 5 + 7]))
        size = world.path.stat().st_size
        if size % WIDTH or not world.path.read_bytes().endswith(b"\n"):
            # What comes next is joined to the rest of the line that was cut.
            world.write(1)
            world.destroyed.add(world.count)


def delete_a_rotated_file(history: History) -> None:
    rotated = [path for path in history.world.files if path != history.world.path and path.exists()]
    if rotated:
        history.world.destroy(history.dice.choice(sorted(rotated)))


def delete_the_log(history: History) -> None:
    if history.world.path.exists():
        history.world.destroy(history.world.path)


def wait(history: History) -> None:
    history.world.now += 1


OPERATIONS: dict[Callable[[History], None], int] = {
    write: 12,
    write_much: 2,
    write_late: 4,
    write_in_two_parts: 3,
    read_some: 6,
    read_all: 8,
    stop: 2,
    start: 4,
    kill: 3,
    rename_and_create: 6,
    rename_only: 2,
    create: 4,
    copytruncate: 4,
    pack: 3,
    truncate: 1,
    delete_a_rotated_file: 1,
    delete_the_log: 1,
    wait: 3,
}


def test_random_histories_lose_nothing_and_invent_nothing(tmp_path: Path) -> None:
    print(f"histories: {HISTORIES} from seed {SEED}")
    for seed in range(SEED, SEED + HISTORIES):
        directory = tmp_path / str(seed)
        directory.mkdir()
        history = History(directory, seed)
        history.play()
        follower = history.follower
        why = f"seed {seed}: {' '.join(history.told)}"
        assert follower.lost == [], why
        assert follower.invented == [], why
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
