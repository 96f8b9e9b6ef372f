"""The generator of logs: what it says of a log is what the strict reader finds in it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Login, Refusal, SessionEnd
from tests.bench.generate import CHUNK, DOVECOT_FILE, ISO, MIXES, SYSLOG, Recipe, Truth, make

END = 1_795_469_400
LINES = 3 * CHUNK + 7


def recipe(**changes: str | int | float) -> Recipe:
    """A small log; few clients, so that each logs in again."""
    wanted = {"lines": LINES, "users": 300, "addresses": 200, "end": END, **changes}
    return Recipe(**wanted)  # type: ignore[arg-type]


def read(framing: str, *paths: Path) -> tuple[Truth, Counter[str], set[int]]:
    """What the strict reader finds, line by line: the truth, what was refused, and the times of the logins."""
    found, refused, times = Truth(), Counter[str](), set()
    for path in paths:
        reader = Recogniser(Options(framing=framing))
        for line in path.read_bytes().splitlines():
            event = reader.line(line, END)
            if isinstance(event, Login):
                pair = (event.address, event.user)
                found.logins[pair] = max(event.at, found.logins.get(pair, 0))
                found.open[event.session] = pair
                if event.tls:
                    found.secured.add(pair)
                found.lines["login"] += 1
                times.add(event.at)
            elif isinstance(event, SessionEnd):
                assert found.open.pop(event.session)[1] == event.user  # it is of a login before it
                found.lines["end"] += 1
            elif isinstance(event, Refusal):
                refused[event.reason] += 1
    return found, refused, times


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("framing", [SYSLOG, ISO, DOVECOT_FILE])
def test_the_truth_is_what_the_strict_reader_finds(tmp_path: Path, mix: str, framing: str) -> None:
    paths = [tmp_path / "mx1", tmp_path / "mx2"]
    truth = make(recipe(mix=mix, framing=framing, odd_every=40), *paths)
    found, refused, times = read("dovecot-file" if framing == DOVECOT_FILE else "syslog", *paths)
    assert (found.logins, found.secured, found.open) == (truth.logins, truth.secured, truth.open)
    assert found.lines["login"] == truth.lines["login"] + truth.lines["odd login"]
    assert found.lines["end"] == truth.lines["end"]
    assert refused == {"hostile-failure": truth.lines["odd"] - truth.lines["odd login"]}
    assert sum(path.read_bytes().count(b"\n") for path in paths) == LINES
    assert all(END - 600 <= at < END for at in times)


def test_the_shares_are_those_of_the_recipe(tmp_path: Path) -> None:
    truth = make(recipe(lines=40_000, ipv6=0.3, tls=0.6, addresses=2000, users=1000), tmp_path / "log")
    shares = {kind: 100 * truth.lines[kind] / 40_000 for kind in MIXES["real"]}
    assert shares == pytest.approx(MIXES["real"], abs=2)
    six = sum(":" in address for address, _user in truth.logins) / len(truth.logins)
    assert six == pytest.approx(0.3, abs=0.05)
    assert len(truth.secured) / len(truth.logins) == pytest.approx(0.6, abs=0.05)


def test_a_seed_gives_the_same_log_again_and_another_one_another(tmp_path: Path) -> None:
    logs = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make(recipe(seed=seed), tmp_path / name)
        logs.append((tmp_path / name).read_bytes())
    assert logs[0] == logs[1] != logs[2]


def test_an_odd_line_stands_at_every_so_many_th_place(tmp_path: Path) -> None:
    plain, odd = make(recipe(), tmp_path / "a"), make(recipe(odd_every=7), tmp_path / "b")
    lines = (tmp_path / "b").read_text().splitlines()
    assert (plain.lines["odd"], odd.lines["odd"]) == (0, len(lines[6::7]))
    odd_forms = (", mpid=42, method=PLAIN", "TLSv1.3 with cipher", "user=<imap-login: Login: ")
    assert [number % 7 for number, line in enumerate(lines) if any(form in line for form in odd_forms)] == [6] * len(
        lines[6::7]
    )
