"""Which way an ACL asks popauthd."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from popauthd import config
from popauthd.config import ClusterConfig, Config
from popauthd.doctor.checks import Paths
from popauthd.doctor.exim import installed, places, way_of
from popauthd.doctor.verdicts import FAIL, SKIP
from popauthd.eximsetup.commands import Exim
from tests.support.helpers import ROOT

RECIPES = {
    "socket": "/run/popauthd/lookup.sock",
    "readlookup": Paths().readlookup,
    "hostlist": "/run/popauthd/relay-hosts",
}


@pytest.mark.parametrize(("cluster", "state"), [(None, FAIL), (ClusterConfig(), SKIP)], ids=["alone", "a node"])
def test_a_machine_without_exim_is_a_fault_unless_other_nodes_relay(
    cluster: ClusterConfig | None, state: str, tmp_path: Path
) -> None:
    exim = Exim(str(tmp_path / "exim4"))
    (verdict,) = installed(exim, Config(cluster=cluster))
    assert verdict.state == state


@pytest.mark.parametrize("way", RECIPES)
def test_each_recipe_is_known_by_how_it_asks(way: str) -> None:
    ours = places(config.load(os.devnull), Paths().readlookup)
    assert way_of(ours, (ROOT / f"exim/acl-{way}").read_text()) == (way, RECIPES[way])


def test_other_lookups_of_an_acl_are_not_taken_for_ours() -> None:
    ours = places(config.load(os.devnull), Paths().readlookup)
    grey = "defer condition = ${readsocket{/run/greylistd/socket}{--grey}{5s}{}{}}\n"
    assert way_of(ours, grey) is None
    assert way_of(ours, grey + "# ${readsocket{/run/popauthd/lookup.sock}") is None
    assert way_of(ours, grey + (ROOT / "exim/acl-socket").read_text()) == ("socket", RECIPES["socket"])
