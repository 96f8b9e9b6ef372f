"""Fuzz of every server's format: no exception, and no login but one that a second, separate reading defends.

POPAUTHD_FUZZ_LINES sets how many lines (a long run: 1000000), POPAUTHD_FUZZ_SEED the seed, which is printed.
"""

from __future__ import annotations

import random

import pytest

from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.formats.servers import FORMATS
from popauthd.model import Login
from tests.support.corpus_samples import CORPUS, FILES, FRAMING, NOW, samples
from tests.support.dose import dose
from tests.support.dovecot_lines import defensible
from tests.support.oracle import SERVERS, syslog
from tests.support.oracle_state import Oracle

LINES = dose("FUZZ_LINES", 12000)
SEED = dose("FUZZ_SEED", 4)
ALL = tuple(SERVERS)
LOGS = [
    *[
        ((name,), framing)
        for name in ALL
        for framing in sorted({row.framing for row in samples(CORPUS / f"{name}.txt")})
    ],
    (ALL, "syslog"),
    (ALL, "zimbra-file"),
    (ALL, "nginx-file"),
    (ALL, "stalwart-file"),
    (ALL, "qpopper-file"),
]
CORPORA = {path.stem: [row.raw for row in samples(path)] for path in FILES}
EVERY = [raw for lines in CORPORA.values() for raw in lines]
PIECES = [
    b" ", b", ", b"=", b":", b": ", b"[", b"]", b"[6.6.6.6]", b"6.6.6.6", b"::1", b"::ffff:6.6.6.6", b"'", b'"', b"`",
    b"(", b")", b"<", b">", b";", b"\\", b"\r", b"\x00", b"\xff", b"\xe2\x80\xa8", b"->", b"-", b".", b"1", b"[1]",
    b"LOGIN, user=a, ip=[6.6.6.6]", b"login: x [6.6.6.6] a plaintext User logged in", b"Login user=a host=[6.6.6.6]",
    b"oip=6.6.6.6;", b"remoteIp = 6.6.6.6, ", b'" at (x) 6.6.6.6', b"Session from 6.6.6.6", b"connect from 6.6.6.6",
    b"user a authenticated", b"User a logged in", b'status="ok"', b" login success a:6.6.6.6", b"imapd: ", b"anonymous",
    b"a" * 90, b"Mar  1 10:00:00 h ", b"2026-11-23T21:00:00Z ", b"popa3d[11]: ", b"INFO", b"client logged in, client: ",
]  # fmt: skip


def mutated(chance: random.Random, names: tuple[str, ...]) -> bytes:
    """A line of these servers, or of any, or of none, with a few cuts, insertions, exchanges and splices."""
    kind = chance.random()
    if kind < 0.05:
        return chance.randbytes(chance.randrange(120)).replace(b"\n", b"")
    line = chance.choice(CORPORA[chance.choice(names)] if kind < 0.9 else EVERY)
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3))):
        at = chance.randrange(len(line) + 1)
        end = min(len(line), at + chance.choice((0, 0, 0, 1, 2, 5, 12)))
        kind = chance.random()
        if kind < 0.6:
            piece = chance.choice(PIECES)
        elif kind < 0.8:
            piece = chance.randbytes(chance.randrange(3)).replace(b"\n", b"")
        else:
            other = chance.choice(CORPORA[chance.choice(names)])
            piece = other[chance.randrange(len(other) + 1) :]
        line = line[:at] + piece + line[end:]
    return line


@pytest.mark.parametrize(
    ("names", "framing"), LOGS, ids=[f"{'+'.join(n) if len(n) < 2 else 'all'}-{f}" for n, f in LOGS]
)
def test_no_login_is_found_that_a_second_reading_does_not_defend(names: tuple[str, ...], framing: str) -> None:
    count = LINES // 2 // len(LOGS)
    print(f"seed {SEED}, {count} lines")
    chance = random.Random(f"{SEED} {names} {framing}")
    reader, oracle = Recogniser(Options(framing, names, timezone="UTC")), Oracle(names, framing)
    logins = 0
    for number in range(count):
        line = mutated(chance, names)
        event = reader.line(line, NOW)
        login = event if isinstance(event, Login) else None
        logins += login is not None
        assert oracle.agrees(line, login), (SEED, number, line, event)
    assert logins or count < 200 or (names == ALL and framing != "syslog"), (
        "nothing was granted: the fuzz tests nothing"
    )


def proxied(line: bytes, login: Login) -> bool:
    """Whether a proxy's line holds one message with one rip outside the user's brackets."""
    head, word, rest = line.partition(b"tarted proxying to ")
    between, opening, rest = rest.partition(b": user=<")
    user, closing, after = rest.partition(b">")
    rips = [part for part in after.split(b", ") if part.lower().startswith(b"rip=")]
    return (
        bool(word and opening and closing and user)
        and b"rip=" not in (head + between).lower()
        and not {*b"<\r\0"} & set(user)
        and [rip.replace(b'"', b"") for rip in rips] == [b"rip=" + login.address.encode()]
        and login.user == user.decode("utf-8", "backslashreplace")
    )


@pytest.mark.parametrize("framing", ["dovecot-file", "syslog"])
@pytest.mark.parametrize("proxies", [False, True], ids=["", "proxies"])
def test_no_login_of_dovecot_is_found_that_a_second_reading_does_not_defend(framing: str, proxies: bool) -> None:
    chance = random.Random(f"{SEED} dovecot {framing}")
    reader = Recogniser(Options(framing, proxy_lines=proxies, timezone="UTC"))
    logins = {"dovecot": 0, "dovecot-0.99": 0, "dovecot-proxy": 0}
    for number in range(LINES // 8):
        line = mutated(chance, ("dovecot", "dovecot-proxy"))
        event = reader.line(line, NOW)
        if isinstance(event, Login):
            logins[event.format] += 1
            fits = proxied if event.format == "dovecot-proxy" else defensible
            parts = syslog(line) if framing == "syslog" else None  # structured data may hold anything
            assert fits(line, event) or (parts and fits(parts.text, event)), (SEED, number, line, event)
    assert logins["dovecot"]
    assert bool(logins["dovecot-proxy"]) == proxies


@pytest.mark.parametrize("name", ALL)
def test_the_second_reading_grants_every_sample_that_grants(name: str) -> None:
    for framing in {row.framing for row in samples(CORPUS / f"{name}.txt")}:
        oracle, reader = Oracle((name,), framing), Recogniser(Options(framing, (name,), timezone="UTC"))
        for row in samples(CORPUS / f"{name}.txt"):
            if row.framing == framing:
                event = reader.line(row.raw, NOW)
                assert oracle.agrees(row.raw, event if isinstance(event, Login) else None), row.raw


def test_every_server_has_a_second_reading() -> None:
    assert {row.part_of for row in FORMATS} == {*SERVERS, "dovecot"}  # Dovecot's is in test_block.py
    assert set(FRAMING.values()) >= {framing for _, framing in LOGS}
