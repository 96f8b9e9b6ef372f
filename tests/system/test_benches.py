"""The benchmarks with real servers run; the others are in tests/unit/bench/test_benches.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.benches import DOSES, says

pytestmark = pytest.mark.system


@pytest.mark.parametrize("name", [name for name, dose in DOSES.items() if dose.servers])
def test_it_prints_its_table_and_appends_one_line(name: str, tmp_path: Path) -> None:
    says(name, tmp_path / "told")
