"""Debian 12 with popauthd in use becomes Debian 13: booted, with Dovecot 2.3 and then 2.4, Exim and systemd."""

from __future__ import annotations

import pytest

from tests.package.building import of_release
from tests.package.machine import THE_END, UPGRADED, chapters, play_upgrade

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.package]

Results = dict[str, tuple[int, str]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    deb = of_release("bookworm", tmp_path_factory.mktemp("deb"))
    return play_upgrade(deb, tmp_path_factory.mktemp("upgraded"))


@pytest.mark.parametrize("chapter", chapters(UPGRADED))
def test_from_debian_12_to_13(results: Results, chapter: str) -> None:
    assert chapter in results, results[THE_END][1]
    status, said = results[chapter]
    assert status == 0, said
