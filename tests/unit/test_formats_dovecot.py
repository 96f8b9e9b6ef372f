"""Dovecot's lines: every sample of tests/corpus/dovecot.txt, and the values that come out of a login."""

from __future__ import annotations

import re

import pytest

from popauthd.formats import FORMATS, REASONS, Reading, Recogniser
from popauthd.model import Ignored, Login, Refusal
from tests.unit.corpus_samples import CORPUS, NOW, samples, word

SAMPLES = CORPUS / "dovecot.txt"
LINE = (
    b"Nov 23 21:00:00 imap-login: Info: Login: user=<alice@example.org>, method=PLAIN,"
    b" rip=192.0.2.10, lip=198.51.100.5, mpid=4242, TLS, session=<aKTnLvhgIrN/AAAB>"
)


@pytest.mark.parametrize(
    ("framing", "verdict", "line"),
    [pytest.param(*row[1:], id=f"{row.number} {row.framing} {row.verdict}") for row in samples(SAMPLES)],
)
def test_a_sample_line_has_its_verdict(framing: str, verdict: str, line: bytes) -> None:
    event = Recogniser(Reading(framing, timezone="UTC")).line(line, NOW)
    assert word(event) == verdict
    if isinstance(event, Refusal | Ignored):
        assert event.reason in REASONS


def test_a_login_comes_out_with_all_its_values() -> None:
    assert Recogniser(Reading("dovecot-file", timezone="UTC")).line(LINE, NOW) == Login(
        NOW - 10,
        "192.0.2.10",
        "alice@example.org",
        "imap",
        method="PLAIN",
        tls=True,
        session="aKTnLvhgIrN/AAAB",
        local_address="198.51.100.5",
        format="dovecot",
    )


def test_a_user_that_is_not_utf8_keeps_its_bytes_readable() -> None:
    event = Recogniser(Reading("dovecot-file")).line(LINE.replace(b"alice@", b"\xff\xc3\xa4"), NOW)
    assert isinstance(event, Login)
    assert event.user == "\\xff\u00e4example.org"


def test_a_docker_record_has_the_engines_time_not_the_containers() -> None:
    record = b'{"log":"%s\\n","stream":"stderr","time":"2026-11-23T20:00:00.5Z"}' % LINE
    event = Recogniser(Reading("dovecot-file", timezone="UTC")).line(record, NOW)
    assert isinstance(event, Login)
    assert event.at == NOW - 3610


OTHER_HOST = b"Nov 23 21:00:00 imap2 dovecot: " + LINE[16:].replace(b"Info: ", b"")


def test_a_host_that_is_not_configured_is_refused_and_one_that_is_is_taken() -> None:
    strict = Recogniser(Reading("syslog", hostnames=("mx1",))).line(OTHER_HOST, NOW)
    assert isinstance(strict, Refusal)
    assert strict.reason == "other-host"
    assert isinstance(Recogniser(Reading("syslog", hostnames=("mx1", "imap2"))).line(OTHER_HOST, NOW), Login)


def test_an_instance_of_another_name_counts_only_when_configured() -> None:
    line = OTHER_HOST.replace(b"dovecot:", b"mail-in[7]:")
    assert isinstance(Recogniser(Reading("syslog")).line(line, NOW), Refusal)
    assert isinstance(Recogniser(Reading("syslog", programs=("mail-in",))).line(line, NOW), Login)


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        pytest.param(Reading("sylog"), "framing 'sylog' is not known", id="framing"),
        pytest.param(Reading(formats=("qmail",)), "format 'qmail' is not known", id="format"),
        pytest.param(Reading(timezone="Mars/Base"), "timezone 'Mars/Base' is not known", id="zone"),
        pytest.param(Reading(timestamp="%Q"), "timestamp: %Q cannot be read", id="timestamp"),
        pytest.param(Reading(programs=()), "programs is empty", id="no program"),
        pytest.param(Reading(programs=("dove cot",)), "'dove cot' cannot stand in a syslog line", id="program"),
        pytest.param(Reading(hostnames=("[x]",)), "cannot stand in a syslog line", id="host"),
    ],
)
def test_a_reading_that_makes_no_sense_is_told_to_the_administrator(reading: Reading, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Recogniser(reading)


def test_the_table_names_each_format_once_and_says_where_it_is_from() -> None:
    assert len({row.name for row in FORMATS}) == len(FORMATS)
    assert all(row.source and row.since and row.triggers for row in FORMATS)
