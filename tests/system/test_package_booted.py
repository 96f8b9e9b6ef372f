"""The package on Debian 12 and 13 as they run in the world: booted, with systemd, Dovecot and Exim as services."""

from __future__ import annotations

import pytest

from tests.package.building import of_release
from tests.package.machine import THE_END, chapters, play
from tests.package.roots import SUITES

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.package]

Results = dict[str, tuple[int, str]]


@pytest.fixture(scope="module", params=SUITES)
def results(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Results:
    deb = of_release(request.param, tmp_path_factory.mktemp("deb"))
    return play(request.param, deb, tmp_path_factory.mktemp(f"booted-{request.param}"))


@pytest.mark.parametrize("chapter", chapters())
def test_booted(results: Results, chapter: str) -> None:
    assert chapter in results, results[THE_END][1]
    status, said = results[chapter]
    assert status == 0, said
