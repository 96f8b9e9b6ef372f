"""Every benchmark once with a tiny dose: that it runs, prints its table, and appends its line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.helpers import ROOT

FOLDER = ROOT / "tests/bench"


@dataclass(frozen=True, slots=True)
class Dose:
    """The arguments of a run of some seconds. servers: whether it starts real Dovecot and Exim."""

    arguments: str
    servers: bool = False


DOSES = {
    "catch_up": Dose("--lines 1500 --variant real --variant require_tls --peer-lines 100"),
    "host_list": Dose("--addresses 500 --logins 1"),
    "journal_record": Dose("--records 20 --rounds 2"),
    "logfile": Dose("--lines 2000 --one-by-one 20 --gigabytes 0.01"),
    "lookups": Dose("--entries 1000 --clients 1 --seconds 0.2 --rounds 1 --lines 100000"),
    "memory": Dose("--rate 100 --minutes 0.02 --every 0.5"),
    "popauthctl": Dose("--runs 1"),
    "push": Dose("--runs 1", servers=True),
    "recognise": Dose("--lines 2000 --rounds 1"),
    "race": Dose("--tries 2 --busy 0 --source file", servers=True),
    "starts": Dose("--grants 500"),
    "rcpt": Dose("--tries 3 --rounds 1", servers=True),
    "steps": Dose("--few 50 --many 500"),
    "sustained": Dose("--first 200 --most 200 --seconds 0.5"),
    "visible": Dose("--rate 0 --rate 50 --seconds 0.5"),
}


def run(name: str, told: Path) -> tuple[str, dict[str, Any]]:
    """What the benchmark prints, and what it appends to the file `told`."""
    command = [sys.executable, "-m", f"tests.bench.bench_{name}", *DOSES[name].arguments.split(), "--json", str(told)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = told.read_text(encoding="ascii").splitlines()
    return done.stdout, json.loads(line)


def says(name: str, told: Path) -> None:
    """Run it, and hold the table and the line to each other."""
    printed, line = run(name, told)
    assert line["bench"] == name
    assert line["rows"]
    heads = dict.fromkeys(head for row in line["rows"] for head in row)
    assert all(head in printed.splitlines()[0] for head in heads), printed
    assert len(printed.splitlines()) > len(line["rows"]), printed
