"""Builds the package from this tree, as packaging/build-deb.sh does for everybody."""

from __future__ import annotations

from pathlib import Path

from tests.helpers import ROOT
from tests.package.roots import checked


def build(into: Path, root: Path = ROOT) -> Path:
    """The .deb, with its .changes beside it."""
    said = checked(["sh", root / "packaging/build-deb.sh", into])
    return Path(said.splitlines()[-1])
