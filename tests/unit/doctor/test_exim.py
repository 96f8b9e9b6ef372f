"""Which way an ACL asks popauthd."""

from __future__ import annotations

import os

import pytest

from popauthd import config
from popauthd.doctor.checks import Paths
from popauthd.doctor.exim import places, way_of
from tests.support.helpers import ROOT

RECIPES = {
    "socket": "/run/popauthd/lookup.sock",
    "readlookup": Paths().readlookup,
    "hostlist": "/run/popauthd/relay-hosts",
}


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
