"""popauthctl exim: in which order it says what it did."""

from __future__ import annotations

import pytest

from popauthd.cli.exim import Said


def test_the_result_is_printed_first_and_the_change_last(capsys: pytest.CaptureFixture[str]) -> None:
    said = Said()
    said("--- /dev/null\n+++ /etc/popauthd/exim-acl")
    said("WARNING: an open relay")
    said("tried: a stranger relays: 550")
    assert capsys.readouterr().out == "WARNING: an open relay\n", "at once"
    said.end("Exim asks popauthd")
    first, *_rest, last = capsys.readouterr().out.splitlines()
    assert (first, last) == ("Exim asks popauthd", "+++ /etc/popauthd/exim-acl")
