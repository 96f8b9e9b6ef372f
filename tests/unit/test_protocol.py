"""popauthd.protocol: bytes in, one of three outcomes out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd.protocol import NEED_MORE, NO, YES, Bad, Lookup, NeedMore, read_control, read_lookup, write_control

LOOKUPS = [
    ("a line", b"192.0.2.1\n", False, Lookup("192.0.2.1")),
    ("ended by closing", b"192.0.2.1", True, Lookup("192.0.2.1")),
    ("CRLF", b"192.0.2.1\r\n", False, Lookup("192.0.2.1")),
    ("IPv6 written out, as exim -bh does", b"2001:0db8:0000:0000:0000:0000:0000:0007\n", False, Lookup("2001:db8::7")),
    ("mapped", b"::ffff:192.0.2.1\n", False, Lookup("192.0.2.1")),
    ("torn", b"192.0.", False, NEED_MORE),
    ("nothing yet", b"", False, NEED_MORE),
    ("nothing at all", b"", True, Bad("not an address")),
    ("an empty line", b"\n", False, Bad("not an address")),
    ("two lines", b"192.0.2.1\n192.0.2.2\n", False, Bad("more than one line")),
    ("too long", b"1" * 65, False, Bad("longer than 64 bytes")),
    ("64 bytes without an end", b"1" * 64, False, Bad("longer than 64 bytes")),
    ("64 bytes with their end", b"192.0.2.1\r\n" + b" " * 53, False, Bad("more than one line")),
    ("63 bytes without an end", b"1" * 63, False, NEED_MORE),
    ("64 bytes, ended by closing", b"1" * 64, True, Bad("not an address")),
    ("65 bytes, ended by closing", b"1" * 65, True, Bad("longer than 64 bytes")),
    ("not ASCII", b"\xff\n", False, Bad("not an address")),
    ("NUL", b"192.0.2.1\0\n", False, Bad("not an address")),
    ("a zone id", b"fe80::1%eth0\n", False, Bad("not an address")),
    ("an HTTP request", b"GET / HTTP/1.0\n", False, Bad("not an address")),
]


@pytest.mark.parametrize(("data", "ended", "outcome"), [row[1:] for row in LOOKUPS], ids=[row[0] for row in LOOKUPS])
def test_a_lookup_request_has_one_of_three_outcomes(data: bytes, ended: bool, outcome: object) -> None:
    assert read_lookup(data, ended=ended) == outcome


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_an_outcome_and_never_an_exception(data: bytes, ended: bool) -> None:
    assert isinstance(read_lookup(data, ended=ended), (NeedMore, Lookup, Bad))
    assert isinstance(read_control(data), (NeedMore, dict, Bad))


CONTROL = [
    ("torn", b'{"command":', NEED_MORE),
    ("not JSON", b"hello\n", Bad("not JSON")),
    ("deeply nested", b"[" * 60000 + b"\n", Bad("not JSON")),
    ("not an object", b"[1]\n", Bad("not a JSON object")),
    ("two lines", b"{}\n{}\n", Bad("more than one line")),
    ("endless", b"x" * 65537, Bad("too long")),
    ("64 KiB, which may go on", b"x" * 65536, NEED_MORE),
    ("a request", b'{"command":"status"}\n', {"command": "status"}),
]


@pytest.mark.parametrize(("data", "outcome"), [row[1:] for row in CONTROL], ids=[row[0] for row in CONTROL])
def test_a_control_request_has_one_of_three_outcomes(data: bytes, outcome: object) -> None:
    assert read_control(data) == outcome


def test_what_is_written_can_be_read() -> None:
    assert read_control(write_control({"user": "j\u00fcrgen\n\u202e"})) == {"user": "j\u00fcrgen\n\u202e"}


def test_what_is_written_is_one_line_of_ascii_without_blanks() -> None:
    assert write_control({"user": "j\u00fcrgen\n", "ports": [1, 2]}) == b'{"user":"j\\u00fcrgen\\n","ports":[1,2]}\n'


def test_the_words_of_an_answer_are_what_exim_compares_with() -> None:
    assert (YES, NO) == (b"yes", b"no")
