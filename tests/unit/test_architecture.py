"""packaging/notes/architecture.md, the map of the house: what it names is there, and every room is on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.helpers import ROOT

MAP = ROOT / "packaging/notes/architecture.md"
PATHS = sorted(set(re.findall(r"`((?:popauthd|exim|dovecot|packaging|tests)/[\w./-]*)`", MAP.read_text())))


@pytest.mark.parametrize("path", PATHS)
def test_a_path_on_the_map_is_in_the_tree(path: str) -> None:
    found = ROOT / path
    assert found.is_dir() if path.endswith("/") else found.is_file()


def test_every_folder_of_the_package_is_on_the_map() -> None:
    folders = {path for path in (ROOT / "popauthd").iterdir() if path.is_dir() and path.name != "__pycache__"}
    named = {ROOT / Path(*Path(path).parts[:2]) for path in PATHS}
    assert {path.name for path in folders - named} == set()


def test_the_map_is_one_page() -> None:
    lines = MAP.read_text().splitlines()
    assert len(lines) <= 80
    assert max(len(line) for line in lines if not line.startswith(("|", "    "))) <= 120
