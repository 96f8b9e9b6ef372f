"""Building the package: the same file whoever builds it and where, and nothing that lintian would say against it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.package.building import build
from tests.package.roots import checked

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.package]

PARTS = ("popauthd", "exim", "dovecot", "packaging", "README.md", "CHANGELOG.md", "LICENSE", "pyproject.toml")


def copied(into: Path) -> Path:
    """The tree as somebody else has it: another place, another time, files that only he may read."""
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


def test_two_builders_make_the_same_package(tmp_path: Path) -> None:
    other = tmp_path / "elsewhere"
    other.mkdir()
    first = build(tmp_path / "first")
    umask = os.umask(0o077)
    try:
        second = build(tmp_path / "second", copied(other))
    finally:
        os.umask(umask)
    sums = {hashlib.sha256(deb.read_bytes()).hexdigest() for deb in (first, second)}
    assert len(sums) == 1


def test_lintian_has_nothing_to_say(tmp_path: Path) -> None:
    changes = next(build(tmp_path).parent.glob("*.changes"))
    said = checked(["lintian", "--allow-root", "--pedantic", "--display-info", "--display-experimental", changes])
    assert said == ""


def test_building_leaves_the_tree_as_it_was(tmp_path: Path) -> None:
    def state() -> str:
        return subprocess.run(
            ["find", *PARTS, "-not", "-path", "*/__pycache__*", "-printf", "%p %m %T@ %s\n"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip

    before = state()
    build(tmp_path)
    assert state() == before
    assert not (ROOT / "debian").exists()
