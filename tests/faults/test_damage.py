"""Books and relay map are damaged in every way: all is made anew, the bad file is kept, and what was revoked stays so.

Books while the watcher is down (stopped or killed), the map also while it runs. POPAUTHD_DAMAGES sets how often each
kind of damage is done to each (else three kinds are), POPAUTHD_WITHIN in how many seconds all must be right again,
POPAUTHD_SEED the seed. The long campaign:

    POPAUTHD_DAMAGES=20 POPAUTHD_WITHIN=10 sh tests/run.sh -s tests/faults/test_damage.py
"""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.patient import Patient
from tests.support.daemons import Installation
from tests.support.dose import dose, first_seed
from tests.support.helpers import eventually

TIMES = dose("DAMAGES", 0)
WITHIN = dose("WITHIN", 60)
SEED = first_seed(1)
PAGE = 4096


def overwrite(file: Path, at: int, data: bytes) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        opened.write(data)


def truncated(file: Path, dice: random.Random, _old: bytes) -> None:
    """Half of it is gone, or more: pages that are in use, not only free ones at its end."""
    os.truncate(file, dice.randrange(1, file.stat().st_size // 2))


def head_zeroed(file: Path, dice: random.Random, _old: bytes) -> None:
    overwrite(file, 0, bytes(dice.choice((PAGE, 2 * PAGE))))


def random_page(file: Path, dice: random.Random, _old: bytes) -> None:
    """One page holds anything; it may be one that nobody reads."""
    overwrite(file, PAGE * dice.randrange(file.stat().st_size // PAGE), dice.randbytes(PAGE))


def wrong_magic(file: Path, _dice: random.Random, _old: bytes) -> None:
    for page in (0, 1):
        overwrite(file, page * PAGE + 16, b"\xde\xc0\xef\xbf")


def old_meta(file: Path, _dice: random.Random, old: bytes) -> None:
    """The first pages are those of a while ago: what they lead to has been written over since."""
    overwrite(file, 0, old)


def empty(file: Path, _dice: random.Random, _old: bytes) -> None:
    os.truncate(file, 0)


def another_file(file: Path, dice: random.Random, _old: bytes) -> None:
    file.unlink()
    file.write_bytes(dice.randbytes(dice.randrange(1, 9 * PAGE)))


def directory(file: Path, _dice: random.Random, _old: bytes) -> None:
    file.unlink()
    file.mkdir()


DAMAGE: dict[str, Callable[[Path, random.Random, bytes], None]] = {
    "truncated": truncated,
    "its head zeroed": head_zeroed,
    "a random page": random_page,
    "a wrong magic": wrong_magic,
    "an old meta page": old_meta,
    "empty": empty,
    "another file": another_file,
    "a directory": directory,
}
KEPT = {
    "truncated",
    "its head zeroed",
    "a wrong magic",
    "another file",
    "a directory",
}  # what cannot pass for a whole file


def await_another(file: Path) -> None:
    """Wait until another file is in the place of this one."""
    held = os.open(file, os.O_RDONLY)  # so that its inode's number is not given to the other one
    try:
        before = os.fstat(held).st_ino
        eventually(lambda: file.exists() and file.stat().st_ino != before, "another file is in its place", WITHIN)
    finally:
        os.close(held)


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Patient]:
    made = Installation(tmp_path, "hold_no = '0s'")
    yield Patient(made, random.Random(SEED), WITHIN)
    made.close()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["books", "map", "map, running"])
def test_what_is_damaged_is_made_anew_and_what_was_revoked_stays_so(patient: Patient, what: str) -> None:
    print(f"seed {SEED}")
    installation = patient.installation
    file = installation.directory / "state/books.mdb" if what == "books" else installation.run_dir / "relay.mdb"
    patient.comes_right()
    # A directory that comes while the watcher runs waits for the administrator, and is told.
    kinds = [kind for kind in DAMAGE if what != "map, running" or kind != "a directory"]
    played = kinds * TIMES or patient.dice.sample(kinds, 3)
    for kind in played:
        old = file.read_bytes()[: 2 * PAGE]
        patient.log_in()
        if what != "map, running":
            patient.end(patient.dice.choice((signal.SIGTERM, signal.SIGKILL)))
        for kept in file.parent.glob(f"{file.name}.damaged-*"):
            shutil.rmtree(kept) if kept.is_dir() else kept.unlink()
        DAMAGE[kind](file, patient.dice, old)
        if what == "map, running":
            await_another(file)
        patient.comes_right()
        kept_now = list(file.parent.glob(f"{file.name}.damaged-*"))
        assert kept_now or kind not in KEPT or what == "map, running", f"the bad file is kept: {kind}"
    print(f"{len(played)} times damaged, right after {patient.slowest:.1f} s at most")
    print(f"the responder ended {patient.deaths} times")
    assert not patient.revoked & installation.published().keys()
    assert "Traceback" not in installation.errors("watch") + installation.errors("respond")
