"""The little of HTTP/1.x that Dovecot's auth policy client speaks, without I/O: bytes in, one of three outcomes out.

A request is read only if it can be read in one way: CRLF line ends, no folded or repeated header, a body of exactly
Content-Length bytes, no transfer coding. Whatever else comes is Refused with a status, and ends the connection: where
the next request would begin can no longer be told. Bounded by HEAD_BYTES and BODY_BYTES.

Takes time in proportion to the bytes, in however small pieces they come: no pattern can match a text in two ways,
and `Requests` looks at no byte again that it has looked at.
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
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_VALUE = re.compile(rb"[^\x00-\x08\x0a-\x1f\x7f]*")
_LENGTH = re.compile(rb"[0-9]{1,9}")
_BLANKS = b" \t"


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


@dataclass(frozen=True, slots=True)
class _Head:
    """A head that holds. length: of the body. begins: where in the bytes the body does."""

    method: str
    target: str
    headers: Mapping[str, bytes]
    keep_alive: bool
    length: int
    begins: int


class Requests:
    """What one client sends, request by request: `feed` it, then call `following` until it needs more."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._seen = 0  # bytes that hold no end of a head
        self._head: _Head | None = None

    def __len__(self) -> int:
        """The bytes that are not used yet."""
        return len(self._data)

    def feed(self, more: bytes) -> None:
        """Take in what has come."""
        self._data += more

    def following(self) -> NeedMore | Request | Refused:
        """The next request. Once it is Refused, it is for ever."""
        if self._head is None:
            head = self._read_head()
            if not isinstance(head, _Head):
                return head
            self._head = head
        head = self._head
        size = head.begins + head.length
        if len(self._data) < size:
            return NEED_MORE
        request = Request(
            head.method, head.target, head.headers, bytes(self._data[head.begins : size]), size, head.keep_alive
        )
        del self._data[:size]
        self._seen, self._head = 0, None
        return request

    def _read_head(self) -> NeedMore | _Head | Refused:
        data = self._data
        end = data.find(b"\r\n\r\n", max(0, self._seen - 3), HEAD_BYTES)
        if end >= 0:
            return _head(bytes(data[:end]))
        if len(data) >= HEAD_BYTES:
            return Refused(431, "too long a head")
        if self._hopeless():
            return Refused(400, "not HTTP")
        self._seen = len(data)
        return NEED_MORE

    def _hopeless(self) -> bool:
        """Whether what has come of a head cannot become one: then there is no sense in waiting for the rest."""
        data, seen = self._data, self._seen
        if data.find(b"\0", seen) >= 0:
            return True
        feed = data.find(b"\n", seen)
        if feed < 0 or data.find(b"\n", 0, feed) >= 0:  # the first line has not ended, or has been looked at
            return False
        return data[max(0, feed - 1) : feed] != b"\r" or _START.fullmatch(data, 0, feed - 1) is None


def read_request(data: bytes) -> NeedMore | Request | Refused:
    """Read the first request from all bytes received so far."""
    requests = Requests()
    requests.feed(data)
    return requests.following()


def write_response(status: int, body: bytes, *, keep_alive: bool) -> bytes:
    """One whole response with a JSON body."""
    head = (
        f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"Connection: {'keep-alive' if keep_alive else 'close'}\r\n\r\n"
    )
    return head.encode("ascii") + body


def _head(text: bytes) -> _Head | Refused:
    """A head from its bytes, without the empty line that ends it."""
    start, *lines = text.split(b"\r\n")
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
    tokens = {token.strip(_BLANKS).lower() for token in headers.get("connection", b"").split(b",")}
    keep_alive = b"close" not in tokens and (match[4] != b"0" or b"keep-alive" in tokens)
    return _Head(match[1].decode(), match[2].decode(), headers, keep_alive, length, len(text) + 4)


def _headers(lines: list[bytes]) -> dict[str, bytes] | Refused:
    if len(lines) > HEADERS:
        return Refused(431, "too many headers")
    headers: dict[str, bytes] = {}
    for line in lines:
        word, colon, text = line.partition(b":")
        value = text.strip(_BLANKS)
        if not colon or _NAME.fullmatch(word) is None or _VALUE.fullmatch(value) is None:
            return Refused(400, "a header line that is none")
        name = word.decode("ascii").lower()
        if name in headers:
            return Refused(400, "a header twice")
        headers[name] = value
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
