"""popauthd.sources.push.http: a request that can be read in one way only, or none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popauthd.protocol import NEED_MORE
from popauthd.sources.push.http import BODY_BYTES, HEAD_BYTES, Refused, Request, read_request, write_response

HEAD = b"POST /?command=report HTTP/1.1\r\n"
# As Dovecot 2.3.19 and 2.4.1 send it.
DOVECOT = (
    HEAD + b"Host: 127.0.0.1:4001\r\nDate: Tue, 24 Nov 2026 02:59:45 GMT\r\nUser-Agent: dovecot/auth-policy-client\r\n"
    b"Content-Length: 2\r\nConnection: Keep-Alive\r\nContent-Type: application/json\r\nX-API-Key: secret\r\n\r\n{}"
)


def test_dovecots_request_is_read() -> None:
    request = read_request(DOVECOT + b"POST")
    assert isinstance(request, Request)
    assert (request.method, request.target, request.body) == ("POST", "/?command=report", b"{}")
    assert request.headers["x-api-key"] == b"secret"
    assert (request.size, request.keep_alive) == (len(DOVECOT), True)


def test_a_torn_request_needs_more_at_every_byte() -> None:
    assert {read_request(DOVECOT[:end]) for end in range(len(DOVECOT))} == {NEED_MORE}


REFUSED = [
    ("another protocol", b"EHLO me\r\n", 400),
    ("a NUL", b"POST \0", 400),
    ("bare line feeds", b"POST / HTTP/1.1\nContent-Length: 0\n\n", 400),
    ("a bare line feed between headers", HEAD + b"A: b\nContent-Length: 0\r\n\r\n", 400),
    ("a bare carriage return", HEAD + b"A: b\rContent-Length: 0\r\n\r\n", 400),
    ("HTTP/2", b"POST / HTTP/2.0\r\n\r\n", 505),
    ("no HTTP version", b"POST /\r\n\r\n", 400),
    ("Content-Length twice", HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    ("Content-Length twice in one", HEAD + b"Content-Length: 2, 2\r\n\r\n{}", 400),
    ("Content-Length in other letters", HEAD + b"Content-Length: 2\r\ncontent-LENGTH: 4\r\n\r\n{}", 400),
    ("a signed Content-Length", HEAD + b"Content-Length: +2\r\n\r\n{}", 400),
    ("a negative Content-Length", HEAD + b"Content-Length: -2\r\n\r\n{}", 400),
    ("a blank in Content-Length", HEAD + b"Content-Length : 2\r\n\r\n{}", 400),
    ("digits of another script", HEAD + "Content-Length: \u0662\r\n\r\n{}".encode(), 400),
    ("chunked", HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    ("chunked with a length", HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", 501),
    ("an expectation", HEAD + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n", 417),
    ("a folded header", HEAD + b"A: b\r\n Content-Length: 2\r\n\r\n{}", 400),
    ("a header without a name", HEAD + b": b\r\n\r\n", 400),
    ("a header without a colon", HEAD + b"hello\r\n\r\n", 400),
    ("the secret twice", HEAD + b"X-API-Key: a\r\nX-API-Key: b\r\nContent-Length: 0\r\n\r\n", 400),
    ("no length", HEAD + b"Host: a\r\n\r\n", 411),
    ("a long body", HEAD + b"Content-Length: %d\r\n\r\n" % (BODY_BYTES + 1), 413),
    ("a length beyond all bounds", HEAD + b"Content-Length: %d\r\n\r\n" % 10**30, 400),
    ("a long head", HEAD + b"A: " + b"x" * HEAD_BYTES, 431),
    ("many headers", HEAD + b"".join(b"A%d: b\r\n" % number for number in range(60)) + b"\r\n", 431),
]


@pytest.mark.parametrize(("data", "status"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
def test_what_could_be_read_in_two_ways_is_refused(data: bytes, status: int) -> None:
    outcome = read_request(data)
    assert isinstance(outcome, Refused)
    assert outcome.status == status


KEPT = [
    ("1.1", b"HTTP/1.1", b"", True),
    ("1.1, close", b"HTTP/1.1", b"Connection: Close\r\n", False),
    ("1.0", b"HTTP/1.0", b"", False),
    ("1.0, keep-alive", b"HTTP/1.0", b"Connection: foo, keep-alive\r\n", True),
]


@pytest.mark.parametrize(("version", "header", "kept"), [row[1:] for row in KEPT], ids=[row[0] for row in KEPT])
def test_a_connection_is_kept_as_the_client_says(version: bytes, header: bytes, kept: bool) -> None:
    request = read_request(b"GET / " + version + b"\r\n" + header + b"\r\n")
    assert isinstance(request, Request)
    assert request.keep_alive is kept


def test_a_response_says_how_long_it_is() -> None:
    response = write_response(403, b"{}", keep_alive=False)
    assert response.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert response.endswith(b"Content-Length: 2\r\nConnection: close\r\n\r\n{}")


PIECES = st.sampled_from(
    [HEAD, b"\r\n", b"\n", b"Content-Length: 2", b"Content-Length: 999999", b": ", b"{}", b"\0", b" "]
)


@given(st.lists(PIECES | st.binary(max_size=30), max_size=20).map(b"".join))
def test_any_bytes_are_an_outcome_within_what_came(data: bytes) -> None:
    outcome = read_request(data)
    if isinstance(outcome, Request):
        assert outcome.size <= len(data)
        assert read_request(data[: outcome.size]) == outcome  # what follows changes nothing
        assert read_request(data[: outcome.size - 1]) is NEED_MORE
