"""Builds the package from this tree, as packaging/build-deb.sh does for everybody, or from a copy of it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.helpers import ROOT
from tests.package.roots import checked

PARTS = ("popauthd", "exim", "dovecot", "packaging", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml")


def build(into: Path, root: Path = ROOT) -> Path:
    """The .deb, with its .changes beside it."""
    said = checked(["sh", root / "packaging/build-deb.sh", into])
    return Path(said.splitlines()[-1])


def copied(into: Path) -> Path:
    """The tree as somebody else has it: another place, another time, files that only he may read."""
    into.mkdir()
    for part in PARTS:
        source = ROOT / part
        if source.is_dir():
            shutil.copytree(source, into / part, copy_function=shutil.copy, symlinks=True)
        else:
            shutil.copy(source, into / part)
    for path in into.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o700 if path.is_dir() or os.access(path, os.X_OK) else 0o600)
    return into


def of_version(version: str, into: Path) -> Path:
    """The .deb of the same source under another version."""
    source = copied(into / "source")
    changelog = source / "packaging/debian/changelog"
    _, _, rest = changelog.read_text().partition(")")
    changelog.write_text(f"popauthd ({version}){rest}")
    return build(into, source)
