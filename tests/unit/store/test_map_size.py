"""store/map_size.py and exim/readlookup, which has the same rule: address space on machines of both word sizes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from popauthd.store.map_size import map_bytes
from tests.support.helpers import ROOT

WORDS = {32: (1 << 31) - 1, 64: (1 << 63) - 1}
GIB = 1 << 30
# Where sys.maxsize is set before the script is read, as it would be there.
READLOOKUP = """
import runpy, sys
sys.maxsize = int(sys.argv[1])
print(runpy.run_path(sys.argv[2], run_name="readlookup")["MAP_SIZE"])
"""


def readlookups(word: int) -> int:
    """How large a map exim/readlookup opens on a machine of this word."""
    command = [sys.executable, "-c", READLOOKUP, str(WORDS[word]), str(ROOT / "exim/readlookup")]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.parametrize("wanted", [GIB, 4 * GIB, 8 * GIB, 64 * GIB])
def test_a_64_bit_machine_has_room_for_all_that_is_wanted(wanted: int) -> None:
    assert map_bytes(wanted, WORDS[64]) == wanted


@pytest.mark.parametrize("wanted", [GIB, 4 * GIB, 8 * GIB, 64 * GIB])
def test_a_32_bit_machine_has_room_for_two_maps_and_half_of_its_2_gib_left(wanted: int) -> None:
    assert map_bytes(wanted, WORDS[32]) == GIB // 2


@pytest.mark.parametrize("word", WORDS)
def test_what_is_small_is_given_as_it_is(word: int) -> None:
    assert map_bytes(1 << 20, WORDS[word]) == 1 << 20


def test_this_machine_s_own_word_counts() -> None:
    assert map_bytes(1 << 80) == (sys.maxsize + 1) // 4


@pytest.mark.parametrize("word", WORDS)
def test_readlookup_goes_by_the_same_rule(word: int) -> None:
    assert readlookups(word) == map_bytes(64 * GIB, WORDS[word])
