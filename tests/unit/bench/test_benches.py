"""Every benchmark that needs no real server runs; the others are in tests/system/test_benches.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.benches import DOSES, FOLDER, says
from tests.support.helpers import ROOT


def test_every_benchmark_has_a_dose() -> None:
    printing = [path for path in FOLDER.glob("bench_*.py") if "from tests.bench.table import" in path.read_text()]
    assert {path.stem.removeprefix("bench_") for path in printing} == DOSES.keys()


def test_the_commands_of_the_table_are_there() -> None:
    told = (ROOT / "packaging/notes/measured.md").read_text(encoding="utf-8").partition("## Speed")[2]
    assert [name for name in re.findall(r"`bench_(\w+)", told) if not (FOLDER / f"bench_{name}.py").exists()] == []


@pytest.mark.parametrize("name", [name for name, dose in DOSES.items() if not dose.servers])
def test_it_prints_its_table_and_appends_one_line(name: str, tmp_path: Path) -> None:
    says(name, tmp_path / "told")
