"""Every single-line case of the adversarial corpus has its verdict: recogniser and policy together."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from popauthd import address
from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Grant, Ignored, Login, Refusal, SessionEnd, Verdict
from popauthd.policy.decide import decide
from popauthd.reasons import IGNORED, REFUSED
from tests.support.dovecot_lines import Case, raw
from tests.support.policy import default_limits

CORPUS = Path(__file__).parents[2] / "corpus"
FRAMINGS = {"file": "dovecot-file", "syslog": "syslog", "journal": "journal"}

# The corpus says that its expiries are for a lifetime of 900 s; every one of them is for 1800 s.
CORPUS_LIFETIME = 1800


def cases(*names: str) -> list[Any]:
    """The cases of corpus files, labelled; sequences are for the readers of files."""
    rows: list[Case] = []
    for name in names:
        rows += [json.loads(text) for text in (CORPUS / name).read_text(encoding="utf-8").splitlines()]
    return [pytest.param(row, id=row["id"]) for row in rows if row["format"] != "sequence"]


def clock(case: Case) -> int:
    """The wall clock of a case."""
    return int(datetime.datetime.fromisoformat(case["now"]).timestamp())


def verdicts(case: Case, lifetime: int) -> list[Verdict]:
    """What popauthd makes of the case, line by line, in the zone the test has set."""
    config = case.get("config", {})
    ident = config.get("syslog_ident", "dovecot")
    reading = Options(
        framing=FRAMINGS[case["format"].split("-")[0]],
        timestamp=config.get("timestamp", ""),
        hostnames=tuple(config.get("hostnames", ())),
        programs=(ident,) if isinstance(ident, str) else tuple(ident),
    )
    limits = default_limits(
        lifetime_seconds=lifetime,
        never=tuple(address.network(text) for text in config.get("never_grant", ())),
        own_addresses=tuple(address.network(text) for text in config.get("own_addresses", ())),
    )
    now = clock(case)
    recogniser = Recogniser(reading)
    found: list[Verdict] = []
    for line in raw(case).split(b"\n"):
        event = recogniser.line(line, now)
        found.append(decide(event, limits, now) if isinstance(event, Login) else event)
    return found


def word(verdict: Verdict) -> str:
    """The corpus's word for a verdict."""
    if isinstance(verdict, Refusal):
        return "ignored+expired" if verdict.reason == "expired" else "ignored+counted"
    return {Grant: "grant", Ignored: "ignored", SessionEnd: "session-end"}[type(verdict)]


@pytest.fixture(autouse=True)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each case runs in its own time zone, UTC if it names none."""
    case = request.node.callspec.params["case"]
    monkeypatch.setenv("TZ", case.get("tz", "UTC"))
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize("case", cases("adversarial.jsonl"))
def test_a_case_of_the_corpus_has_its_verdict(case: Case) -> None:
    expect = case["expect"]
    if expect["verdict"] == "wait":  # an unfinished line is the source's to hold back; here it is no line
        assert Recogniser(Options("dovecot-file")).block(raw(case), 0) == ([], 0)
        return
    found = verdicts(case, CORPUS_LIFETIME)
    words = {word(verdict) for verdict in found}
    assert words & {expect["verdict"], *case.get("also_ok", ())}, found
    grants = [verdict for verdict in found if isinstance(verdict, Grant)]
    if expect["verdict"] == "grant" and grants:
        assert [(g.address, g.expires_at) for g in grants] == [(expect["grant"], expect["expiry"])]
    assert bool(grants) == ("grant" in words)
    assert case.get("never") not in {grant.address for grant in grants}
    assert {v.reason for v in found if isinstance(v, Refusal | Ignored)} <= REFUSED.keys() | IGNORED.keys()


@pytest.mark.parametrize("case", cases("adversarial.jsonl"))
def test_with_the_default_lifetime_a_grant_ends_fifteen_minutes_after_the_login(case: Case) -> None:
    long = [v for v in verdicts(case, CORPUS_LIFETIME) if isinstance(v, Grant)]
    short = [v for v in verdicts(case, 900) if isinstance(v, Grant)]
    now = clock(case)
    assert [g.expires_at for g in short] == [g.login_at + 900 for g in long if g.login_at + 900 > now]
