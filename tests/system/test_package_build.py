"""Building the package: the same file whoever builds it and where, and nothing that lintian would say against it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from tests.helpers import ROOT
from tests.package.building import PARTS, build, copied
from tests.package.roots import checked

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.package]


def test_two_builders_make_the_same_package(tmp_path: Path) -> None:
    first = build(tmp_path / "first")
    umask = os.umask(0o077)
    try:
        second = build(tmp_path / "second", copied(tmp_path / "elsewhere"))
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
