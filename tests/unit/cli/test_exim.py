"""popauthctl exim: in which order it says what it did."""

from __future__ import annotations

import pytest

from popauthd.cli.exim import Said, chosen
from popauthd.config import from_mapping
from popauthd.errors import ConfigError
from popauthd.eximsetup.plan import VIAS


def test_the_result_is_printed_first_and_the_change_last(capsys: pytest.CaptureFixture[str]) -> None:
    said = Said()
    said("--- /dev/null\n+++ /etc/popauthd/exim-acl")
    said("WARNING: an open relay")
    said("tried: a stranger relays: 550")
    assert capsys.readouterr().out == "WARNING: an open relay\n", "at once"
    said.end("Exim asks popauthd")
    first, *_rest, last = capsys.readouterr().out.splitlines()
    assert (first, last) == ("Exim asks popauthd", "+++ /etc/popauthd/exim-acl")


def test_exim_is_not_told_to_read_a_host_list_that_is_not_kept() -> None:
    for via in VIAS:
        assert chosen(via, from_mapping({}, "test")) == via
    without = from_mapping({"host_list": False}, "test")
    with pytest.raises(ConfigError, match=r"^host_list = false: popauthd keeps no host list, so nobody could relay"):
        chosen("hostlist", without)
    assert chosen("socket", without) == "socket"
