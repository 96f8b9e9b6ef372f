"""The little of HTTP/1.x that Dovecot's auth policy client speaks, without I/O: bytes in, one of three outcomes out.

A request is read only if it can be read in one way: CRLF line ends, no folded or repeated header, a body of exactly
Content-Length bytes, no transfer coding. Whatever else comes is Refused with a status, and ends the connection: where
the next request would begin can no longer be told. Bounded by HEAD_BYTES and BODY_BYTES.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from popauthd.protocol import NEED_MORE, NeedMore

HEAD_BYTES = 8192
BODY_BYTES = 16384
HEADERS = 50
REASONS = {
    200: "OK",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    411: "Length Required",
    413: "Content Too Large",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}

_START = re.compile(rb"([A-Z]{1,20}) ([!-~]{1,2000}) HTTP/([0-9])\.([0-9])")
_HEADER = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*?)[ \t]*")
_LENGTH = re.compile(rb"[0-9]{1,9}")
_TOKENS = re.compile(rb"[ \t]*,[ \t]*")


@dataclass(frozen=True, slots=True)
class Request:
    """One whole request. headers: by name in lower case. size: the bytes it took, body included."""

    method: str
    target: str
    headers: Mapping[str, bytes]
    body: bytes
    size: int
    keep_alive: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """What came is no request that we read: the status to answer, and why, for the log."""

    status: int
    why: str


def read_request(data: bytes) -> NeedMore | Request | Refused:
    """Read the first request from all bytes received so far."""
    end = data.find(b"\r\n\r\n", 0, HEAD_BYTES)
    if end < 0:
        if len(data) >= HEAD_BYTES:
            return Refused(431, "too long a head")
        return Refused(400, "not HTTP") if _hopeless(data) else NEED_MORE
    start, *lines = data[:end].split(b"\r\n")
    match = _START.fullmatch(start)
    if match is None:
        return Refused(400, "not HTTP")
    if match[3] != b"1":
        return Refused(505, "not HTTP/1")
    headers = _headers(lines)
    if isinstance(headers, Refused):
        return headers
    length = _length(match[1], headers)
    if isinstance(length, Refused):
        return length
    size = end + 4 + length
    if len(data) < size:
        return NEED_MORE
    tokens = {token.lower() for token in _TOKENS.split(headers.get("connection", b""))}
    keep_alive = b"close" not in tokens and (match[4] != b"0" or b"keep-alive" in tokens)
    return Request(match[1].decode(), match[2].decode(), headers, data[end + 4 : size], size, keep_alive)


def write_response(status: int, body: bytes, *, keep_alive: bool) -> bytes:
    """One whole response with a JSON body."""
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
    )
    return head.encode("ascii") + body


def _hopeless(data: bytes) -> bool:
    """Whether what has come of a head cannot become one: then there is no sense in waiting for the rest."""
    line, ended, _rest = data.partition(b"\r\n")
    return b"\0" in data or (bool(ended) and _START.fullmatch(line) is None) or b"\n" in line


def _headers(lines: list[bytes]) -> dict[str, bytes] | Refused:
    if len(lines) > HEADERS:
        return Refused(431, "too many headers")
    headers: dict[str, bytes] = {}
    for line in lines:
        match = _HEADER.fullmatch(line)
        if match is None:
            return Refused(400, "a header line that is none")
        name = match[1].decode("ascii").lower()
        if name in headers:
            return Refused(400, "a header twice")
        headers[name] = match[2]
    return headers


def _length(method: bytes, headers: Mapping[str, bytes]) -> int | Refused:
    if "transfer-encoding" in headers:
        return Refused(501, "a transfer coding")
    if "expect" in headers:
        return Refused(417, "an expectation")
    text = headers.get("content-length")
    if text is None:
        return Refused(411, "no Content-Length") if method == b"POST" else 0
    if not _LENGTH.fullmatch(text):
        return Refused(400, "a Content-Length that is no number")
    length = int(text)
    return Refused(413, "too long a body") if length > BODY_BYTES else length
