"""The texts of the ACL file: what a client is told, and by which words a refusal of relaying is known."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from popauthd.address import network
from popauthd.config import load
from popauthd.eximsetup import plan
from popauthd.eximsetup.site import Site

LIFETIMES = [
    (900, "15 minutes"),
    (1800, "30 minutes"),
    (3600, "60 minutes"),
    (60, "60 seconds"),
    (90, "90 seconds"),
    (5400, "90 minutes"),
    (7200, "2 hours"),
    (86400, "24 hours"),
    (172800, "2 days"),
    (1, "1 second"),
]


@pytest.mark.parametrize(("seconds", "words"), LIFETIMES)
def test_the_refusal_says_the_site_s_own_lifetime(seconds: int, words: str) -> None:
    config = replace(load(os.devnull), lifetime_seconds=seconds)
    text = plan.refusal(config)
    assert text == f"Relay access denied: check mail, then send within {words}"
    assert len(text) <= 60, "mail programs cut it off"


def test_the_shortest_lifetime_holds_for_all_and_the_administrator_s_text_before_it() -> None:
    networks = ((network("10.0.0.0/8"), 300), (network("192.0.2.0/24"), 7200))
    config = replace(load(os.devnull), lifetime_by_network=networks)
    assert plan.refusal(config).endswith("within 5 minutes")
    assert plan.refusal(replace(config, refusal="Erst abrufen")) == "Erst abrufen"


WORDS = [
    ("550 relay not permitted", ""),
    ("550 Relaying denied by example.org", ""),
    ("550 5.7.1 relay not permitted", ""),
    ("550 Administrative prohibition", ""),
    ("550 strange \\N", ""),
    ("550 Hier nicht (nur {Kunden}) + 5$", "Hier nicht (nur {Kunden}) + 5$"),
]


@pytest.mark.parametrize(("reply", "words"), WORDS)
def test_a_site_s_own_words_are_kept_in_the_file(reply: str, words: str) -> None:
    assert plan.other_words(reply) == words
    assert plan.words_of(plan.acl(Site(), "socket", words=words)) == words


def test_the_parts_that_are_replaced_stand_in_every_recipe() -> None:
    for via in plan.VIAS:
        text = plan.acl(Site(), via)
        assert text.count(plan.TEXT) == 1
        assert text.count(plan.KNOWN_WORDS) == 1
        assert plan.acl(Site(), via, "a $ {b} \\").count(r"{a \$ \{b\} \\}") == 1
        granting = plan.granting(text)
        assert "set acl_m_popauthd_ask = yes" not in granting
        assert granting.count("set acl_m_popauthd = yes") == 1
    assert plan.words_of(None) == ""
