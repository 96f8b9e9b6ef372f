"""Whatever a stranger writes costs in proportion to its bytes: eight times as long is about eight times as dear.

Compared is the time of this process alone, for two lengths of the same text in the same run: 8 for what is linear, 64
for what is quadratic, 512 for what is cubic.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from popauthd.formats.framing import detect
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Login
from popauthd.policy.user_list import UserList
from popauthd.protocol import CONTROL_BYTES, NEED_MORE, read_control, read_lookup
from popauthd.sources.push.http import HEAD_BYTES, Requests
from popauthd.sources.push.messages import PUSH_BYTES, Push, read_report
from tests.support.corpus_samples import FILES, NOW, reading, samples

TIMES = 8
AT_MOST = 32  # between linear and quadratic
TRIES = 5


def seconds(what: Callable[[bytes], object], text: bytes) -> float:
    """The least that it takes, of three times."""
    least = 1e9
    for _ in range(3):
        before = time.process_time()
        what(text)
        least = min(least, time.process_time() - before)
    return least


def linear(what: Callable[[bytes], object], make: Callable[[int], bytes], short: int) -> None:
    """Fail if it grows faster than the text does; several tries, as others use the machine too."""
    for _ in range(TRIES):
        found = seconds(what, make(short * TIMES)) / max(seconds(what, make(short)), 20e-6)
        if found < AT_MOST:
            return
    pytest.fail(f"{TIMES} times as long takes {found:.0f} times as long")


def request(data: bytes) -> object:
    requests = Requests()
    requests.feed(data)
    return requests.following()


def byte_by_byte(data: bytes) -> object:
    requests = Requests()
    told: object = NEED_MORE
    for byte in data:
        requests.feed(bytes([byte]))
        told = requests.following()
    return told


def pushed(data: bytes) -> object:
    push = Push()
    told: object = NEED_MORE
    for byte in data:
        push.feed(bytes([byte]))
        told = push.read()
    return told


START = b"POST / HTTP/1.1\r\n"
END = b"\x01\r\n\r\n"
HEADS = [
    ("blanks and a control byte", b"A:", b" ", END),
    ("tabs and blanks", b"A:", b" \t", END),
    ("blanks behind a value", b"A: b", b" ", END),
    ("words", b"A: ", b"b ", END),
    ("blanks between commas", b"Content-Length: 0\r\nConnection: a", b" ", b"b\r\n\r\n"),
    ("commas", b"Content-Length: 0\r\nConnection: a", b" ,", b"b\r\n\r\n"),
    ("a long name", b"", b"A", b": b\r\n\r\n"),
    ("colons", b"A", b":", END),
    ("line ends", b"A: b", b"\r", b"\r\n\r\n"),
    ("digits", b"Content-Length: ", b"9", b"\r\n\r\n"),
]


@pytest.mark.parametrize(("begin", "pump", "end"), [row[1:] for row in HEADS], ids=[row[0] for row in HEADS])
def test_the_head_of_a_request(begin: bytes, pump: bytes, end: bytes) -> None:
    def make(size: int) -> bytes:
        return START + begin + pump * (size // len(pump)) + end

    assert len(make(960 * TIMES)) < HEAD_BYTES
    linear(request, make, 960)


def test_a_request_that_comes_byte_by_byte() -> None:
    linear(byte_by_byte, lambda size: START + b"A:" + b" " * size, 960)
    linear(byte_by_byte, lambda size: START + b"A:b\r\n" * (size // 5), 960)
    head = START + b"A: " + b"b" * 4000 + b"\r\nContent-Length: 16384\r\n\r\n"
    linear(byte_by_byte, lambda size: head + b"x" * size, 1900)


def test_a_message_of_the_script_that_comes_byte_by_byte() -> None:
    field = b"popauthd-login-1\0" + b"user=a\0" * 2
    assert len(field) + 480 * TIMES < PUSH_BYTES
    linear(pushed, lambda size: field + b"a" * size, 480)
    linear(pushed, lambda size: field + b"a\0" * (size // 2), 480)


BODIES = [
    ("nested", lambda size: b"[" * size),
    ("objects", lambda size: b'{"a":' * (size // 5)),
    ("digits", lambda size: b'{"a":' + b"9" * size + b"}"),
    ("digits of a fraction", lambda size: b'{"a":0.' + b"9" * size + b"}"),
    ("an exponent", lambda size: b'{"a":1e' + b"9" * size + b"}"),
    ("keys", lambda size: b"{" + b",".join(b'"%d":1' % number for number in range(size // 8)) + b"}"),
    ("escapes", lambda size: b'{"a":"' + b"\\u0041" * (size // 6) + b'"}'),
    ("blanks", lambda size: b"{" + b" " * size + b"}"),
]


@pytest.mark.parametrize("make", [row[1] for row in BODIES], ids=[row[0] for row in BODIES])
def test_json(make: Callable[[int], bytes]) -> None:
    linear(lambda body: read_report(body, NOW), make, 2000)
    assert 8000 * TIMES < CONTROL_BYTES
    linear(lambda body: read_control(body + b"\n"), make, 8000)
    journal = Recogniser(reading(next(path for path in FILES if path.stem == "dovecot"), "journal"))
    linear(lambda body: journal.line(body, NOW), make, 8000)
    linear(lambda body: detect(b'{"__REALTIME_TIMESTAMP":1,' + body + b"\n"), make, 8000)


def test_a_lookup_and_a_user() -> None:
    linear(lambda data: read_lookup(data, ended=True), lambda size: b"1." * size, 8000)
    users = UserList([("*", True)])
    linear(lambda name: users.holds(name.decode()), lambda size: b"a@" * size, 8000)


def pumps(line: bytes, user: bytes) -> list[bytes]:
    """What a stranger would repeat: what the line's patterns wait for, and what they may pass over."""
    after = line.partition(user)[2] if user else line[-40:]
    words = re.findall(rb"[A-Za-z]+[:=]? ?", line)[-8:]
    singles = [bytes([byte]) for byte in b" a1.:,()<>[]{}'\"=/@-\\\x00\r\t\xff"]
    return [
        *singles,
        *words,
        after,
        line,
        b"user=<",
        b"rip=",
        b"login: ",
        b")<a",
        b"): ",
        b", a=b",
        b'="',
        b"] [",
        b"<",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_line_of_any_server(path: Path) -> None:
    """One login of each framing, with something repeated in the place of its user, before it and at its end."""
    seen = set()
    for row in samples(path):
        reader = Recogniser(reading(path, row.framing))
        event = reader.line(row.raw, NOW)
        if not isinstance(event, Login) or row.framing in seen:
            continue
        seen.add(row.framing)
        user = event.user.encode()
        begin, _, end = row.raw.partition(user)
        for pump in pumps(row.raw, user):
            for before, behind in ((begin, end), (begin, b""), (row.raw, b""), (row.raw[: len(row.raw) // 2], row.raw)):

                def make(size: int, before: bytes = before, pump: bytes = pump, behind: bytes = behind) -> bytes:
                    return before + pump * (size // len(pump)) + behind

                fresh = Recogniser(reading(path, row.framing))
                fresh.line(row.raw, NOW)
                linear(lambda line, fresh=fresh: fresh.line(line, NOW), make, 4000)  # type: ignore[misc]
                linear(lambda line, fresh=fresh: fresh.block(line + b"\n" + line + b"\n", NOW), make, 4000)  # type: ignore[misc]
