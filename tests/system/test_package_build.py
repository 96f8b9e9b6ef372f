"""Building the package: the same file whoever builds it and where, and nothing that lintian would say against it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.package.building import PARTS, TOOLS, build, build_inside
from tests.package.roots import SUITES, Root
from tests.support.helpers import ROOT

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.package]


@pytest.fixture(scope="module", params=SUITES)
def tools(request: pytest.FixtureRequest) -> Iterator[Root]:
    """A clean system with its release's own tools, and no network."""
    with Root(request.param, TOOLS) as root:
        yield root


def test_two_builders_make_the_same_package(tools: Root) -> None:
    first = build_inside(tools, "first")
    umask = os.umask(0o077)
    try:
        second = build_inside(tools, "elsewhere")
    finally:
        os.umask(umask)
    sums = {hashlib.sha256(deb.read_bytes()).hexdigest() for deb in (first, second)}
    assert len(sums) == 1


def test_lintian_has_nothing_to_say(tools: Root) -> None:
    changes = next(build_inside(tools, "judged").parent.glob("*.changes"))
    words = ["--allow-root", "--pedantic", "--display-info", "--display-experimental"]
    assert tools.run("lintian", *words, f"/tmp/{changes.parent.name}/{changes.name}") == ""


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
