"""A small world for the log file source: a log that is written, rotated and destroyed, and a follower.

The writer numbers its lines and knows which were in a file that it destroyed. The follower keeps
the place as the daemon does: with each chunk, what it learnt and where it stands.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from popauthd.sources import Gap
from popauthd.sources.file.source import LogFile

START = 1795469400
LINE = re.compile(rb"(\d{10}) line-(\d{6}) x*")
WIDTH = 200  # bytes of a line
BURST = 1000  # lines: more than one block of 65 KiB, so that a follower under load is left behind


def stamp(line: bytes, _now: int) -> int | None:
    """The stamp of a line of this world."""
    return int(line[:10]) if re.match(rb"\d{10} ", line) else None


@contextmanager
def without_rights() -> Iterator[None]:
    """As a user to whom permissions apply: root is refused nothing."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def zstd(data: bytes) -> bytes:
    return subprocess.run(["zstd", "-qc"], input=data, stdout=subprocess.PIPE, check=True).stdout


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".zst": zstd,
}


class World:
    """The log, its writer, and the clock of both."""

    def __init__(self, directory: Path, name: str = "mail.log") -> None:
        self.directory = directory
        self.path = directory / name
        self.now = START
        self.count = 0
        self.files: dict[Path, set[int]] = {self.path: set()}
        self.destroyed: set[int] = set()
        self.path.touch()

    def line(self) -> bytes:
        """The next line, with its LF."""
        self.count += 1
        text = b"%d line-%06d " % (self.now, self.count)
        return text.ljust(WIDTH - 1, b"x") + b"\n"

    def write(self, lines: int = 1, *, to: Path | None = None, end: bytes = b"") -> None:
        """Append whole lines, as a log writer does, and then `end` as it is."""
        path = to or self.path
        first = self.count
        with path.open("ab") as log:
            log.write(b"".join(self.line() for _ in range(lines)) + end)
        self.files.setdefault(path, set()).update(range(first + 1, self.count + 1))

    def append(self, data: bytes) -> None:
        """Append bytes that are no line of this world."""
        with self.path.open("ab") as log:
            log.write(data)

    def sibling(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)

    def move(self, source: Path, target: Path) -> None:
        """Rename; what stood at the target is destroyed."""
        self.destroyed |= self.files.pop(target, set())
        source.rename(target)
        self.files[target] = self.files.pop(source, set())

    def shift(self, first: int = 1) -> None:
        """Make room for a new `.first`, as logrotate does: the highest number moves first."""
        names = [str(path) for path in self.files if path.exists()]
        pattern = re.compile(re.escape(str(self.path)) + r"\.(\d+)(\.gz|\.xz|\.zst|\.bz2)?")
        hits = [hit for hit in map(pattern.fullmatch, names) if hit]
        for hit in sorted(hits, key=lambda one: int(one[1]), reverse=True):
            self.move(Path(hit[0]), self.sibling(f".{int(hit[1]) + 1}{hit[2] or ''}"))

    def create(self) -> None:
        self.path.touch()
        self.files[self.path] = set()

    def rename_create(self, suffix: str = ".1") -> None:
        if suffix == ".1":
            self.shift()
        self.move(self.path, self.sibling(suffix))
        self.create()

    def copytruncate(self) -> None:
        self.shift()
        shutil.copyfile(self.path, self.sibling(".1"))
        self.files[self.sibling(".1")] = self.files[self.path]
        os.truncate(self.path, 0)
        self.files[self.path] = set()

    def pack(self, suffix: str, packing: str) -> None:
        """Compress a rotated file and remove it, as gzip and its like do."""
        plain = self.sibling(suffix)
        packed = self.sibling(suffix + packing)
        packed.write_bytes(PACKERS[packing](plain.read_bytes()))
        shutil.copystat(plain, packed)
        plain.unlink()
        self.files[packed] = self.files.pop(plain)

    def destroy(self, path: Path) -> None:
        """Remove a file for good."""
        self.destroyed |= self.files.pop(path, set())
        path.unlink()

    def truncate(self, size: int = 0) -> None:
        """Cut the log without a copy. What is cut is lost to whoever has not read it."""
        os.truncate(self.path, size)
        kept = {int(hit[2]) for hit in whole(self.path.read_bytes())}
        self.destroyed |= self.files[self.path] - kept
        self.files[self.path] = kept


def whole(data: bytes) -> list[re.Match[bytes]]:
    """The lines of this world in some bytes: whole ones, that end in LF."""
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n")[:-1]]
    return [hit for hit in map(LINE.fullmatch, lines) if hit]


def turn(world: World, lines: int = 1) -> None:
    """Rotate the log by rename, and write to the new one."""
    world.rename_create()
    world.write(lines)


def open_in(directory: Path) -> int:
    """How many files of a directory this process has open."""
    count = 0
    for one in Path("/proc/self/fd").iterdir():
        try:
            count += one.readlink().is_relative_to(directory)
        except FileNotFoundError:  # the list itself
            continue
    return count


def read_so_far() -> int:
    """Bytes that this process has read by system calls."""
    return int(Path("/proc/self/io").read_text().split()[1])


class Follower:
    """Reads the log as the daemon does; `saved` is what a kill leaves behind."""

    def __init__(self, world: World, oldest: int = START - 900) -> None:
        self.world = world
        self.oldest = oldest
        self.got: list[int] = []
        self.refused: list[bytes] = []
        self.gaps: list[Gap] = []
        self.saved: list[bytes] = []
        self.log: LogFile | None = None
        self.start()

    def start(self) -> None:
        """Start at the place saved last."""
        self.stop()
        self.log = LogFile(str(self.world.path), stamp, clock=lambda: self.world.now)
        self.log.resume(self.saved[-1] if self.saved else None, self.oldest)

    def stop(self) -> None:
        if self.log is not None:
            self.gaps += self.log.take_gaps()
            self.log.close()
            self.log = None

    def kill(self) -> None:
        """Die after a block was read and before it was committed; start again."""
        self.stop()
        if len(self.saved) > 1:
            self.saved.pop()
        self.start()

    def read(self, chunks: int = 1_000_000) -> None:
        """Read until nothing is left, or so many chunks."""
        if self.log is None:
            return
        for _ in range(chunks):
            chunk = self.log.read(self.world.now)
            if chunk is None:
                break
            assert chunk.block.endswith(b"\n")
            self.take(chunk.block)
            self.saved.append(chunk.place)
        self.gaps += self.log.take_gaps()

    def take(self, block: bytes) -> None:
        for line in block.split(b"\n")[:-1]:
            hit = LINE.fullmatch(line.removesuffix(b"\r"))
            if hit and len(line.removesuffix(b"\r")) == WIDTH - 1:
                self.got.append(int(hit[2]))
            else:
                self.refused.append(line)

    @property
    def lost(self) -> list[int]:
        """Written, not read, and not destroyed by the writer."""
        return sorted(set(range(1, self.world.count + 1)) - set(self.got) - self.world.destroyed)

    @property
    def invented(self) -> list[int]:
        return sorted(number for number in set(self.got) if not 1 <= number <= self.world.count)

    @property
    def missed(self) -> list[int]:
        """Destroyed by the writer before it was read."""
        return sorted(self.world.destroyed - set(self.got))


class Stage:
    """Where a row is played: `step` writes and lets the follower do what it does in this mode.

    dice: for the mode "mixed", in which every look is one of another mode, and every step writes few lines or many.
    """

    def __init__(self, world: World, follower: Follower, mode: str, dice: random.Random | None = None) -> None:
        self.world = world
        self.follower = follower
        self.mode = mode
        self._dice = dice

    def step(self, lines: int = 3) -> None:
        if self._dice is not None:
            lines = self._dice.choice((0, lines, 50, BURST, 3 * BURST))
        self.world.write(BURST if self.mode == "under load" else lines)
        self.look()

    def look(self) -> None:
        self.world.now += 1
        looks = {"running": self._all, "stopped": self._none, "killed": self._die, "under load": self._some}
        looks[self.mode if self._dice is None else self._dice.choice(tuple(looks))]()

    def finish(self) -> None:
        if self.mode == "stopped":
            self.follower.start()
        self.follower.read()
        self.world.now += 3600  # rotated files are given up
        self.follower.read()

    def _all(self) -> None:
        self.follower.read()

    def _none(self) -> None:
        """A follower that is down sees nothing."""

    def _die(self) -> None:
        self.follower.read(1)
        self.follower.kill()

    def _some(self) -> None:
        self.follower.read(1)


def state(follower: Follower) -> dict[str, str | int | None]:
    """What `popauthctl status` shows of its log."""
    assert follower.log is not None
    found: dict[str, str | int | None] = asdict(follower.log.state())
    return found


def told(follower: Follower) -> list[str]:
    """The sentences of the gaps that it has found."""
    return [gap.what for gap in follower.gaps]
