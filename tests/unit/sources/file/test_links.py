"""A link in the log's place: which are followed, and what a stranger gains by making or turning one (nothing)."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from popauthd.sources.file.open_file import Trouble, followed
from tests.support.logworld import Follower, World, without_rights

STRANGER = 12345
US = 65534  # of `without_rights`


@pytest.fixture
def directory() -> Iterator[Path]:
    """One that every user may look into, as /var/log; pytest's own are root's alone."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def link(path: Path, target: Path, owner: int = 0) -> None:
    """Make a symbolic link of a user, in place of what stands there."""
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    os.chown(path, owner, owner, follow_symlinks=False)


LEADS = "now leads to a file of user"
# Who made the link, whose file it leads to, of whom it was at the set-up (-1: there was none), as which user we run.
RULES = [
    ("root's own", 0, 0, 0, 0, ""),
    ("root's, to the log of the file's owner", 0, STRANGER, STRANGER, 0, ""),
    ("of the file's owner", STRANGER, STRANGER, STRANGER, 0, ""),
    ("ours", US, 0, 0, US, ""),
    ("root's, for us", 0, 0, 0, US, ""),
    ("to the first file that turns up", 0, STRANGER, -1, 0, ""),
    ("a stranger's", STRANGER, 0, 0, 0, f"is a symbolic link made by user {STRANGER}"),
    ("a stranger's, for us", STRANGER, 0, 0, US, f"is a symbolic link made by user {STRANGER}"),
    ("a stranger's, where there was no file", STRANGER, 0, -1, 0, f"is a symbolic link made by user {STRANGER}"),
    ("a stranger's, to a file of his", STRANGER, STRANGER, 0, 0, f"{LEADS} {STRANGER}, before of 0"),
    ("root's, turned to another's file", 0, STRANGER, 0, 0, f"{LEADS} {STRANGER}, before of 0"),
    ("root's, turned to root's file", 0, 0, STRANGER, 0, f"{LEADS} 0, before of {STRANGER}"),
]


@contextmanager
def running_as(user: int) -> Iterator[None]:
    if user != US:
        yield
    else:
        with without_rights():
            yield


@pytest.mark.parametrize(
    ("maker", "target", "before", "we", "why"), [row[1:] for row in RULES], ids=[r[0] for r in RULES]
)
def test_a_link_is_followed_only_by_the_rule(
    directory: Path, maker: int, target: int, before: int, we: int, why: str
) -> None:
    log, real = directory / "mail.log", directory / "real.log"
    real.touch()
    os.chown(real, target, target)
    link(log, real, maker)
    with running_as(we):
        if not why:
            assert followed(str(log), before) == str(real)
            return
        with pytest.raises(Trouble) as caught:
            followed(str(log), before)
    assert caught.value.kind == "refused"
    assert str(caught.value) == f"{log} {why}"


def test_a_link_to_nothing_is_a_log_that_is_missing(directory: Path) -> None:
    log = directory / "mail.log"
    link(log, directory / "gone")
    with pytest.raises(Trouble) as caught:
        followed(str(log), 0)
    assert caught.value.kind == "missing"


def test_a_file_in_the_place_of_a_configured_link_is_read(directory: Path) -> None:
    """The link is gone, its rule with it: whoever may make a file there may write the log."""
    log = directory / "mail.log"
    log.touch()
    os.chown(log, STRANGER, STRANGER)
    assert followed(str(log), STRANGER) == str(log)


@pytest.fixture
def world(directory: Path) -> World:
    return World(directory)


def why(follower: Follower) -> str:
    assert follower.log is not None
    state = follower.log.state()
    assert state.status == "refused", state
    return str(state.why)


def forged(world: World, owner: int) -> Path:
    """A file with a line that nobody but its maker wrote."""
    path = world.directory / "forged"
    path.write_bytes(world.line())
    world.destroyed.add(world.count)
    os.chown(path, owner, owner)
    return path


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "restarted"])
def test_a_link_to_the_log_itself_is_refused_where_none_was_set_up(world: World, stopped: bool) -> None:
    """The file at the end is the right one today; whoever made the link can turn it tomorrow."""
    follower = Follower(world)
    world.write(2)
    follower.read()
    aside = world.directory / "aside"
    world.move(world.path, aside)
    link(world.path, aside, STRANGER)
    world.write(1, to=aside)
    if stopped:
        follower.start()
    follower.read()
    follower.read()
    assert "is a symbolic link, and was none when it was set up" in why(follower)
    world.path.unlink()
    world.move(aside, world.path)
    world.write(1)
    follower.read()
    follower.stop()
    assert follower.got == [1, 2, 3, 4]
    assert follower.gaps == []


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "restarted"])
@pytest.mark.parametrize(
    ("maker", "owner", "words"),
    [(STRANGER, 0, "made by user"), (STRANGER, STRANGER, LEADS), (0, STRANGER, LEADS)],
    ids=["another's link", "another's link to his file", "another's file"],
)
def test_a_configured_link_that_is_turned_is_not_followed(
    world: World, stopped: bool, maker: int, owner: int, words: str
) -> None:
    real = world.directory / "real.log"
    world.move(world.path, real)
    link(world.path, real)
    follower = Follower(world)
    world.write(2, to=real)
    follower.read()
    link(world.path, forged(world, owner), maker)
    if stopped:
        follower.start()
    follower.read()
    follower.read()
    assert words in why(follower)
    link(world.path, real)
    world.write(1, to=real)
    follower.read()
    assert follower.log is not None
    assert follower.log.state().status == "present"
    follower.stop()
    assert follower.got == [1, 2, 4]


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "restarted"])
def test_the_owner_of_the_first_file_behind_a_link_is_remembered(world: World, stopped: bool) -> None:
    real = world.directory / "real.log"
    world.path.unlink()
    link(world.path, real)
    follower = Follower(world)
    follower.read()
    world.write(2, to=real)
    os.chown(real, STRANGER, STRANGER)
    follower.read()
    link(world.path, forged(world, 0))
    if stopped:
        follower.start()
    follower.read()
    follower.read()
    assert f"{LEADS} 0, before of {STRANGER}" in why(follower)
    follower.stop()
    assert follower.got == [1, 2]


def test_a_log_that_could_not_be_looked_at_counts_as_no_link(world: World) -> None:
    real = world.directory / "real.log"
    world.move(world.path, real)
    link(world.path, real)
    world.write(1, to=real)
    world.directory.chmod(0o700)
    with without_rights():
        follower = Follower(world)
        follower.read()
        assert follower.log is not None
        assert follower.log.state().status == "unreadable"
    follower.read()
    assert "was none when it was set up" in why(follower)
    follower.stop()
    assert follower.got == []
