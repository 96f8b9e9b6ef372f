"""Every server's sample lines have their verdicts, and every row of FORMATS has samples and near misses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.formats.servers import FORMATS
from popauthd.model import Event, Failure, Ignored, Login, Refusal
from popauthd.reasons import IGNORED, LINES
from tests.support.corpus_samples import CORPUS, FILES, NOW, is_told, reading, samples, word

OTHERS = [path for path in FILES if path.stem != "dovecot"]  # whose lines stand each for itself
PATHS = pytest.mark.parametrize("path", OTHERS, ids=lambda path: path.stem)


def readers_of(path: Path) -> dict[str, Recogniser]:
    """A recogniser for each framing that the samples of a file have."""
    return {framing: Recogniser(reading(path, framing)) for framing in {row.framing for row in samples(path)}}


def read(path: Path) -> list[tuple[Any, Event]]:
    """Every sample of a file, read in order by one recogniser a framing, with what came of it."""
    readers = readers_of(path)
    return [(row, readers[row.framing].line(row.raw, NOW)) for row in samples(path)]


@PATHS
def test_the_lines_of_a_server_have_their_verdicts(path: Path) -> None:
    for row, event in read(path):
        assert (row.number, word(event)) == (row.number, row.verdict), row.raw
        if isinstance(event, Refusal | Ignored):
            assert event.reason in {**LINES, **IGNORED}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_events_of_a_server_have_the_time_and_the_names_of_their_lines(path: Path) -> None:
    readers = readers_of(path)
    for row in samples(path):
        event = readers[row.framing].line(row.raw, NOW)
        assert is_told(event, row, readers[row.framing]), (row, event)


@PATHS
def test_a_block_has_the_verdicts_of_the_lines_of_a_server(path: Path) -> None:
    for framing in {row.framing for row in samples(path)}:
        rows = [row for row in samples(path) if row.framing == framing]
        events, count = Recogniser(reading(path, framing)).block(b"".join(row.raw + b"\n" for row in rows), NOW)
        assert count == len(rows)
        told = [event for event in events if not isinstance(event, Failure)]
        assert [word(event) for event in told] == [row.verdict for row in rows if "IGNORED" not in row.verdict]


@PATHS
def test_a_server_that_is_not_chosen_grants_nothing(path: Path) -> None:
    for row in samples(path):
        if "Login: user=<" not in row.raw.decode("latin-1"):
            event = Recogniser(Options(row.framing, timezone="UTC")).line(row.raw, NOW)
            assert not isinstance(event, Login), row.raw


@PATHS
def test_with_every_format_on_a_line_grants_the_same_login_or_nothing(path: Path) -> None:
    names = tuple(dict.fromkeys(row.part_of for row in FORMATS))
    own = {row.name for row in FORMATS if path.stem in (row.part_of, row.name)}
    part_of = tuple({row.part_of for row in FORMATS if row.name in own})
    for framing in {row.framing for row in samples(path)}:
        reader, alone = (Recogniser(Options(framing, n, proxy_lines=True, timezone="UTC")) for n in (names, part_of))
        granted = 0
        for row in [row for row in samples(path) if row.framing == framing]:
            event, expected = reader.line(row.raw, NOW), alone.line(row.raw, NOW)
            if isinstance(event, Login) and event.format in own:
                assert event == expected, row.raw
                granted += 1
        assert granted, framing


@pytest.mark.parametrize("name", [row.name for row in FORMATS])
def test_a_row_has_samples_that_grant_and_near_misses(name: str) -> None:
    row = next(row for row in FORMATS if row.name == name)
    path = CORPUS / f"{name if row.proxies else row.part_of}.txt"
    assert path in FILES, f"{name}: no {path.name}"
    if path.stem == "dovecot":
        found = [(sample, Recogniser(reading(path, sample.framing)).line(sample.raw, NOW)) for sample in samples(path)]
    else:
        found = read(path)
    grants = [event for _, event in found if isinstance(event, Login) and event.format == name]
    misses = [event for _, event in found if isinstance(event, Refusal) and event.format == name]
    assert grants, f"{name}: no sample that grants"
    assert misses, f"{name}: no near miss that is refused"


def test_every_sample_file_belongs_to_a_row() -> None:
    assert {path.stem for path in FILES} <= {row.part_of for row in FORMATS} | {r.name for r in FORMATS if r.proxies}


def test_the_table_says_of_each_row_whether_it_is_proved_or_only_sampled() -> None:
    for row in FORMATS:
        assert bool(row.real) != ("samples only" in row.source or "no server source seen" in row.source), row.name
