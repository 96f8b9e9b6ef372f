"""The README says what the settings table says."""

from __future__ import annotations

import json

import pytest

from popauthd.config.settings import SETTINGS, SOURCE_SETTINGS, Setting
from tests.support.helpers import ROOT


def table_line(row: Setting) -> str:
    """The README's line for a setting."""
    return f"| `{row.key}` | `{json.dumps(row.default)}` | {row.sentence} |"


@pytest.mark.parametrize("row", [*SETTINGS, *SOURCE_SETTINGS], ids=lambda row: row.key)
def test_the_readme_has_every_setting_as_it_is(row: Setting) -> None:
    assert table_line(row) in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
