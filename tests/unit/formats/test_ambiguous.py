"""A user may call himself anything: no name moves the address of a login, in any server's line."""

from __future__ import annotations

import functools
import re
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd.address import canonical
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Login, Refusal
from tests.support.corpus_samples import FILES, NOW, Sample, reading, samples

EVIL = b"203.0.113.66"


class Granting(NamedTuple):
    """A sample that grants, with the lines before it, and the user in it."""

    before: tuple[bytes, ...]
    sample: Sample
    user: bytes
    address: str


@functools.cache
def granting(path: Path) -> list[Granting]:
    """The samples of a file that grant to a user whose name can be exchanged for another."""
    found = []
    for framing in sorted({row.framing for row in samples(path)}):
        reader = Recogniser(reading(path, framing))
        before: list[bytes] = []
        for row in samples(path):
            if row.framing != framing:
                continue
            event = reader.line(row.raw, NOW)
            if isinstance(event, Login) and len(event.user) > 2 and event.user.encode() in row.raw:
                found.append(Granting(tuple(before[-2:]), row, event.user.encode(), event.address))
            before.append(row.raw)
    return found


def outcome(path: Path, row: Granting, name: bytes) -> Login | object:
    """What becomes of the login of a user with that name, when his server writes it as it stands."""
    reader = Recogniser(reading(path, row.sample.framing))
    for line in row.before:
        reader.line(line, NOW)
    return reader.line(row.sample.raw.replace(row.user, name), NOW)


def pieces(row: Granting) -> list[bytes]:
    """What a name is made of to look like the rest of its own line, with another address."""
    line = row.sample.raw
    address = row.address.encode()
    after = line[line.rfind(row.user) + len(row.user) :]
    before = line[: line.find(row.user)]
    rest = [after, before[-40:], before[-12:], *re.findall(rb"[^0-9A-Za-z]+|[0-9A-Za-z.:]+", after)]
    forged = [text.replace(address, EVIL) for text in rest]
    addresses = [EVIL, b"2001:db8:1:2:", b"2001:db8::", b"::", b":", b":7", b"198.51.100", b"1.2.3.4", address]
    return [text for text in dict.fromkeys((*forged, *addresses, b"x", b" ", b"@", b"@d", b"1")) if text]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
@given(data=st.data())
def test_no_name_moves_the_address(path: Path, data: st.DataObject) -> None:
    row = data.draw(st.sampled_from(granting(path)))
    name = b"".join(data.draw(st.lists(st.sampled_from(pieces(row)), min_size=1, max_size=8)))
    event = outcome(path, row, name.replace(b"\n", b""))
    if isinstance(event, Login):
        assert canonical(event.address) == canonical(row.address), name


NAMES = [
    ("vpopmail", b"login success", b"a:2001:db8:1:2:", "ambiguous"),
    ("vpopmail", b"login success", b"a@d:2001:db8:1:2:", "ambiguous"),
    ("vpopmail", b"login success", b"a:2001:db8::7", "ambiguous"),
    ("popa3d", b"passed for", b"x -- [203.0.113.66]", "ambiguous"),
    ("courier", b"LOGIN", b"x, ip=[203.0.113.66]", "bad-elements"),
    ("teapop", b"Successful", b"x [192.0.2.1] from [203.0.113.66]", "bad-elements"),
    ("uw", b"Login user=", b"x host=h [203.0.113.66]", "bad-elements"),
    ("zimbra", b"INFO", b"x;ip=192.0.2.1;oip=203.0.113.66", "bad-elements"),
]


@pytest.mark.parametrize(("name", "text", "user", "reason"), NAMES, ids=[f"{row[0]} {row[2]!r}" for row in NAMES])
def test_a_name_that_goes_on_as_its_line_does_is_refused(name: str, text: bytes, user: bytes, reason: str) -> None:
    path = next(path for path in FILES if path.stem == name)
    row = next(row for row in granting(path) if text in row.sample.raw and b"--" not in row.user)
    event = outcome(path, row, user)
    assert isinstance(event, Refusal), event
    assert event.reason == reason
