"""What comes from outside is read without an exception, and nothing is believed but what a second reading defends.

Log lines have a fuzz of their own (tests/unit/formats/test_fuzz.py, POPAUTHD_FUZZ_LINES). POPAUTHD_FUZZ_REQUESTS sets
how many lookups, POPAUTHD_FUZZ how many of each other kind, POPAUTHD_SEED the seed. The long campaign:

    POPAUTHD_FUZZ_REQUESTS=1000000 POPAUTHD_FUZZ=100000 sh tests/run.sh -s tests/faults/test_fuzz.py
"""

from __future__ import annotations

import ipaddress
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from popauthd import config
from popauthd.config.settings import SETTINGS
from popauthd.errors import ConfigError, PopauthdError
from popauthd.model import Ignored, Login
from popauthd.protocol import Bad, Lookup, NeedMore, read_control, read_lookup, write_control
from popauthd.sources.push.http import BODY_BYTES, Refused, Request, Requests, read_request, write_response
from popauthd.sources.push.messages import Push, read_push, read_report, sent_at
from popauthd.watch.assembly import build
from popauthd.watch.commands import handle
from popauthd.watch.watcher import Watcher
from tests.support.dose import dose, first_seed
from tests.support.push_messages import ALL, LOGIN, NOW, REPORT, push, request

SEED = first_seed(1)
LOOKUPS = dose("FUZZ_REQUESTS", 20_000)
REST = dose("FUZZ", 2_000)
ADDRESSES = (b"192.0.2.7", b"2001:db8::1", b"::ffff:192.0.2.1", b"::192.0.2.1", b"fe80::1%eth0", b"10.0.0.1", b"::")
PIECES = [
    b"", b"\0", b"\n", b"\r\n", b" ", b".", b":", b"::", b"/64", b"%", b"0", b"00", b"1" * 40, b"255", b"256", b"-1",
    b'"', b"\\", b"\\ud800", b"\\u0000", b"{", b"}", b"[", b"]", b"[" * 3000, b",", b"null", b"true", b"NaN", b"1e999",
    b"9" * 5000, b"\xff", b"\xc3\xa9", b"\xed\xa0\x80", b"\xe2\x80\xae", b"=", b"\0\0", b"user=", b"address=::1",
    b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"\r\n\r\n", b"HTTP/1.0",
    b"yes", b"@", b"*", b"a" * 600, b"#", b"'''",
    b"[[source]]", *ADDRESSES,
]  # fmt: skip


def mutated(dice: random.Random, whole: Sequence[bytes]) -> bytes:
    """One of them with a few cuts, insertions, exchanges and splices; or anything."""
    if dice.random() < 0.02:
        return dice.randbytes(dice.randrange(100))
    text = dice.choice(whole)
    for _ in range(dice.choice((0, 1, 1, 1, 2, 3))):
        at = dice.randrange(len(text) + 1)
        end = min(len(text), at + dice.choice((0, 0, 0, 1, 2, 5, 20)))
        kind = dice.random()
        if kind < 0.6:
            piece = dice.choice(PIECES)
        elif kind < 0.8:
            piece = dice.randbytes(dice.randrange(3))
        else:
            other = dice.choice(whole)
            piece = other[dice.randrange(len(other) + 1) :]
        text = text[:at] + piece + text[end:]
    return text


def cut(dice: random.Random, text: bytes) -> Iterator[bytes]:
    """A text in pieces, as they may come."""
    while text:
        size = dice.choice((1, 3, 50, len(text)))
        yield text[:size]
        text = text[size:]


def address_of(text: bytes) -> str | None:
    """A second reading of an address."""
    try:
        found = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        return None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return None if "%" in str(found) else str(mapped or found)


def test_a_lookup_is_answered_for_the_address_that_stands_in_it_or_not_at_all() -> None:
    dice = random.Random(SEED)
    whole = [address + end for address in ADDRESSES for end in (b"\n", b"\r\n", b"")]
    asked = 0
    for number in range(LOOKUPS):
        text, ended = mutated(dice, whole), dice.random() < 0.5
        read = read_lookup(text, ended=ended)
        if isinstance(read, Lookup):
            asked += 1
            line = text.removesuffix(b"\n").removesuffix(b"\r")
            assert read.address == address_of(line), (SEED, number, text)
            assert ended or text.endswith(b"\n"), (SEED, number, text)
    assert asked > LOOKUPS // 10


CONTROL: list[dict[str, Any]] = [
    {"command": "status"},
    {"command": "grant", "address": "192.0.2.7", "seconds": 60, "own_addresses": ["198.51.100.5"]},
    {"command": "grant", "address": "2001:db8:1:2::/64"},
    {"command": "revoke", "address": "192.0.2.7"},
    {"command": "revoke", "user": "anna@example.org"},
    {"command": "revoke", "what": "all"},
    {"command": "reload"},
    {"command": "failed", "networks": ["192.0.2.0/24"], "users": ["anna"]},
]
VALUES: list[Any] = [
    None, True, 0, -1, 1 << 70, 1.5, "", "\0", "\ud800", "\udcff", "é" * 300, "@example.org", [], [None], ["\ud800"],
    {}, "192.0.2.7", "::ffff:192.0.2.7", "2001:db8::/64", "2001:db8::/32", "0.0.0.0/0", "all", "grant", "revoke",
    [["x"]],
]  # fmt: skip


@pytest.fixture
def watcher(tmp_path: Path) -> Iterator[Watcher]:
    log = tmp_path / "dovecot.log"
    log.touch()
    (tmp_path / "run").mkdir()
    (tmp_path / "state").mkdir()
    told = {"run_dir": f"{tmp_path}/run", "state_dir": f"{tmp_path}/state", "source": [{"path": str(log)}]}
    settings = config.from_mapping(told, "the test")
    made = build(settings, settings.sources, lambda: False)
    made.start()
    yield made
    made.close()


def asked_for(dice: random.Random) -> bytes:
    """A request with values exchanged, or spoilt as text."""
    wanted = dict(dice.choice(CONTROL))
    if dice.random() < 0.4:
        return mutated(dice, [write_control(wanted)])
    for _ in range(dice.randrange(3)):
        wanted[dice.choice([*wanted, "address", "user", "seconds", "own_addresses", "networks"])] = dice.choice(VALUES)
    return write_control(wanted)


def test_the_control_socket_grants_what_it_says_and_nothing_else(watcher: Watcher) -> None:
    dice = random.Random(SEED)
    granted: set[str] = set()
    grants = 0
    for number in range(REST):
        text = asked_for(dice)
        wanted = read_control(text)
        if not isinstance(wanted, dict):
            assert isinstance(wanted, NeedMore | Bad)
            continue
        try:
            reply = handle(watcher, wanted)
        except PopauthdError as error:
            reply = {"error": str(error)}
        assert isinstance(read_control(write_control(reply)), dict), (SEED, number, text)
        if wanted.get("command") == "grant" and "error" not in reply:
            assert wanted["address"].partition("/")[0] not in ("", "0.0.0.0"), (SEED, number, text)
            granted.add(reply["address"])
            grants += 1
        if wanted.get("command") == "revoke" and wanted.get("what") == "all":
            granted.clear()
        if number % 50 == 0:
            watcher.turn()
            with watcher.ledger.reading() as reading:
                published = {address for address, _expiry in reading.published.all()}
            assert published <= granted, (SEED, number, text)
    assert grants > REST // 50


def test_a_message_of_the_post_login_script_is_read_in_one_way_or_not_at_all() -> None:
    dice = random.Random(SEED)
    whole = [push(*ALL), push(*ALL[:4]), push(), push(*ALL, version=b"popauthd-login-2")]
    logins = 0
    for number in range(REST):
        text = mutated(dice, whole)
        told, pieces = read_push(text), Push()
        for piece in cut(dice, text):
            pieces.feed(piece)
            read = pieces.read()
            if not isinstance(read, NeedMore):
                break
        if isinstance(told, Login):
            logins += 1
            assert isinstance(read, Login | Bad), (SEED, number, text)
            fields = text.split(b"\0")
            assert f"address={told.address}".encode() in fields, (SEED, number, text)
            assert f"at={told.at}".encode() in fields or b"at=0" in text, (SEED, number, text)
            assert text.count(b"\0address=") == 1, (SEED, number, text)
    assert logins > REST // 20


def test_a_request_of_dovecots_policy_client_is_read_in_one_way_or_not_at_all() -> None:
    dice = random.Random(SEED)
    bodies = [LOGIN, *(json.dumps({**REPORT, name: value}).encode() for name in REPORT for value in VALUES[:12])]
    whole = [request(body) for body in bodies] + [request(b"", method=b"GET"), request(LOGIN) * 2]
    logins = 0
    for number in range(REST):
        text = mutated(dice, whole)
        first, pieces = read_request(text), Requests()
        read: NeedMore | Request | Refused = NeedMore()
        for piece in cut(dice, text):
            pieces.feed(piece)
            read = pieces.following()
            if not isinstance(read, NeedMore):
                break
        assert isinstance(first, Refused) or read == first or type(read) is type(first), (SEED, number, text)
        if isinstance(first, Refused):
            write_response(first.status, b"", keep_alive=False)
        elif isinstance(first, Request):
            assert len(first.body) <= BODY_BYTES
            assert text.find(b"\r\n\r\n" + first.body) >= 0, (SEED, number, text)
        body = mutated(dice, bodies)
        told = read_report(body, sent_at(mutated(dice, [b"Mon, 23 Nov 2026 21:00:00 GMT"]), NOW))
        if isinstance(told, Login):
            logins += 1
            report = json.loads(body)
            assert (report["success"], report["proxy"], report["nologin"]) == (True, "no", "no"), (SEED, number, body)
            assert told.address == report["remote"], (SEED, number, body)
            assert told.at <= NOW
        else:
            assert isinstance(told, Ignored | Bad)
    assert logins > REST // 50


CONFIGURATION = [
    "\n".join(f"{row.key} = {json.dumps(row.default)}" for row in SETTINGS if not isinstance(row.default, dict)),
    'lifetime = "20m"\nnever = ["10.0.0.0/8", "2001:db8::/32"]\n[[source]]\npath = "/var/log/a"\nframing = "syslog"',
    'lifetime_by_network = { "10.0.0.0/8" = "1h", "2001:db8::/32" = 60 }\nprotocols = ["imap"]\nshared_users = 5\n',
    '[[source]]\ntype = "journal"\n[[source]]\npath = "/var/log/dovecot.log"\nhostnames = ["mx1"]\nrip_last = true\n',
    '[cluster]\nurl = "redis+sentinel://node%20a@s1:26379,[2001:db8::1]/main?db=2"\nnode = "mx1"\n',
]


def test_a_configuration_is_taken_whole_or_refused_with_words(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    file = tmp_path / "popauthd.toml"
    whole = [text.encode() for text in CONFIGURATION]
    taken = 0
    for number in range(REST):
        text = mutated(dice, whole)
        file.write_bytes(text)
        try:
            found = config.load(str(file))
        except ConfigError as error:
            assert str(file) in str(error), (SEED, number, text)
        else:
            taken += 1
            assert 1 <= found.lifetime_seconds <= 7 * 86400, (SEED, number, text)
            assert found.cluster is None or found.cluster.engine.hosts or found.cluster.engine.path, (
                SEED,
                number,
                text,
            )
    assert taken > REST // 20
