"""Lines of real servers, and lines near them: each has its verdict, alone and in a block."""

from __future__ import annotations

import json
from typing import Any

import pytest

from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Ignored, Login, Refusal
from popauthd.reasons import IGNORED, REFUSED
from tests.support.corpus_samples import CORPUS

CASES = [json.loads(text) for text in (CORPUS / "real-lines.jsonl").read_text(encoding="utf-8").splitlines()]
VERDICTS = {Login: "grant", Refusal: "refused", Ignored: "ignored"}


def reader_of(case: dict[str, Any]) -> Recogniser:
    """A recogniser with the options that a case names."""
    settings = case.get("settings", {})
    options = Options(
        case["framing"],
        tuple(case["formats"]),
        case["proxy_lines"],
        timezone="UTC",
        services=tuple(settings.get("services", {}).items()),
        rip_last=settings.get("rip_last", False),
    )
    return Recogniser(options)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["kind"])
def test_a_line_of_a_real_server_has_its_verdict(case: dict[str, Any]) -> None:
    line = case["line"].encode()
    event = reader_of(case).line(line, case["now"])
    assert VERDICTS[type(event)] == case["want"], event
    if isinstance(event, Login):
        assert event.address.removeprefix("::ffff:") == "198.51.100.7"
    elif isinstance(event, Refusal | Ignored):
        assert event.reason in {**REFUSED, **IGNORED}
    events, _ = reader_of(case).block(line + b"\n", case["now"])
    assert events == ([] if isinstance(event, Ignored) else [event])


def test_a_login_whose_password_was_not_checked_has_a_reason_of_its_own() -> None:
    found = {
        case["kind"]: event.reason
        for case in CASES
        if isinstance(event := reader_of(case).line(case["line"].encode(), case["now"]), Refusal)
    }
    assert found["K3 proxied"] == found["K3 nopassword"] == found["K3 nopassword, TLS"] == "no-password"
    assert found["K3 anonymous"] == "anonymous"


def test_the_name_of_a_user_is_told_without_the_escapes_of_cyrus() -> None:
    case = next(case for case in CASES if case["kind"] == "K3 user in UTF-8")
    event = reader_of(case).line(case["line"].encode(), case["now"])
    assert isinstance(event, Login)
    assert event.user == "j\u00fcrgen"
