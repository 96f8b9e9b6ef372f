"""Something odd takes a file's place while all runs: nothing ends with a traceback, no stranger relays, and when the
file is back all is right again.

POPAUTHD_ODD sets how many pairs of a file and an oddity are played (three unless told), POPAUTHD_SEED
the seed. The long campaign:

    POPAUTHD_ODD=1000 sh tests/run.sh -s tests/faults/test_odd_files.py
"""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import shutil
import socket
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.patient import STRANGER, Patient
from tests.support.daemons import Installation
from tests.support.dose import dose, first_seed
from tests.support.helpers import eventually

PAIRS = dose("ODD", 3)
SEED = first_seed(3)
WITHIN = 60.0
ODD_SECONDS = 2.2  # the configuration is looked at every two
MAY_END = {0, 74, 77, 78, None}  # what is taken away ends who needs it, with words


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


ODDITIES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _path: None,
    "a directory": Path.mkdir,
    "a pipe": os.mkfifo,
    "a socket": a_socket,
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "an empty file": Path.touch,
    "garbage": lambda path: path.write_bytes(random.Random(1).randbytes(100_000)),
}
FILES = (
    "popauthd.toml",
    "dovecot.log",
    "denied",
    "state",
    "state/books.mdb",
    "state/books.mdb-lock",
    "state/revocations.jsonl",
    "run/relay-hosts",
    "run/relay-hosts.new",
    "run/configured",
    "run/relay.mdb",
    "run/relay.mdb-lock",
)
# Of these nothing is wrong when it is gone, or it is made anew: nobody gives it back.
REMADE = ("run/relay-hosts", "run/relay-hosts.new", "run/configured", "run/relay.mdb", "run/relay.mdb-lock")


def mode_of(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return 0


def take_away(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[Patient]:
    (tmp_path / "denied").write_text("nobody@example.org\n")
    made = Installation(tmp_path, f"host_list = true\nhold_no = '0s'\ndeny_users = '{tmp_path}/denied'")
    yield Patient(made, random.Random(SEED), WITHIN)
    made.close()


@pytest.mark.slow
def test_what_is_odd_for_a_while_ends_nothing_with_a_traceback(patient: Patient) -> None:
    pairs = list(itertools.product(FILES, ODDITIES))
    patient.dice.shuffle(pairs)
    print(f"seed {SEED}")
    patient.comes_right()
    ended = []
    for name, oddity in pairs[:PAIRS]:
        patient.log_in()
        path = patient.installation.directory / name
        away = path.with_name(f"{path.name}.away")
        if os.path.lexists(path):
            path.rename(away)
        with contextlib.suppress(FileExistsError):  # it was made anew in this moment
            ODDITIES[oddity](path)
        until = time.monotonic() + ODD_SECONDS
        while time.monotonic() < until:
            assert patient.installation.ask(STRANGER) in ("no", "")
            time.sleep(0.05)
        if name not in REMADE or not stat.S_ISREG(mode_of(path)):
            take_away(path)
        if away.exists() and name not in REMADE:
            away.rename(path)
        take_away(away)
        for process in patient.installation.processes[-2:]:
            status = process.poll()
            assert status in MAY_END, (name, oddity, status)
            if status is not None:
                ended.append(f"{name} {oddity}: {status}")
        told = patient.installation.errors("watch") + patient.installation.errors("respond")
        assert "Traceback" not in told, (name, oddity, told[-3000:])
        patient.comes_right()
        eventually(
            lambda: patient.installation.host_list() == patient.installation.published(),
            "the host list follows",
            WITHIN,
        )
    print(f"{min(PAIRS, len(pairs))} oddities; ended: {'; '.join(ended) or 'none'}")
