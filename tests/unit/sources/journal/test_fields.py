"""What is handed over of a journal record, and how long it may be."""

from __future__ import annotations

from popauthd.formats.recogniser import LINE_BYTES
from popauthd.sources.journal.fields import LONGEST_VALUE, chosen, size


def test_only_the_fields_that_are_read_are_handed_over() -> None:
    record = {"MESSAGE": b"said", "_UID": b"0", "_CMDLINE": b"x", "__CURSOR": "s=1", "__REALTIME_TIMESTAMP": 7}
    assert chosen(record) == {"__REALTIME_TIMESTAMP": 7, "_UID": b"0", "MESSAGE": b"said"}


def test_a_value_that_is_cut_is_still_too_long_for_a_message() -> None:
    assert LONGEST_VALUE == LINE_BYTES + 1
    assert chosen({"MESSAGE": b"x" * 300_000}) == {"MESSAGE": b"x" * LONGEST_VALUE}
    assert chosen({"MESSAGE": b"x" * LONGEST_VALUE}) == {"MESSAGE": b"x" * LONGEST_VALUE}


def test_each_of_several_values_is_cut() -> None:
    assert chosen({"MESSAGE": [b"x" * 300_000, b"y"]}) == {"MESSAGE": [b"x" * LONGEST_VALUE, b"y"]}


def test_the_size_counts_names_and_values() -> None:
    assert size({"MESSAGE": b"12345", "_UID": [b"0", b"10"], "__REALTIME_TIMESTAMP": 7}) == 12 + 7 + 28
