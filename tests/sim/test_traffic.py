"""The figures of `python3 -m tests.sim traffic` come from what was really sent, read and kept."""

from __future__ import annotations

from tests.sim.play import directory
from tests.sim.traffic import Load, Traffic


def figures(load: Load) -> dict[str, float]:
    with directory() as place:
        played = Traffic(load, place)
        rows = played.play()
        played.close()
    return {str(row["what"]): float(row["figure"]) for row in rows}


def test_every_login_of_every_node_is_an_entry_and_comes_to_every_other_node() -> None:
    found = figures(Load(nodes=4, rate=200.0, seconds=4, seed=1, cut=0))
    assert found["a node: logins in its own log /s"] == 50
    assert found["the stream: entries in /s"] >= 195
    assert found["a node: entries read /s"] >= 190
    assert found["a node: logins remembered"] >= 750


def test_a_node_that_cannot_tell_keeps_one_event_for_each_client() -> None:
    found = figures(Load(nodes=2, rate=100.0, seconds=1, seed=1, clients=40, cut=300))
    assert found["cut off for 300 s: logins"] == 15000
    assert found["cut off for 300 s: events that wait"] == 40
