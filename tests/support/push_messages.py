"""Messages of the push sources, as Dovecot sends them."""

from __future__ import annotations

import json

NOW = 1_795_469_400


def push(*fields: bytes, version: bytes = b"popauthd-login-1") -> bytes:
    return b"\0".join((version, *fields)) + b"\0\0"


NEEDED = (b"at=%d" % NOW, b"address=192.0.2.7", b"user=anna", b"protocol=imap")
ALL = (*NEEDED, b"mechanism=PLAIN", b"local=198.51.100.5", b"session=aKTnLvhgIrN/AAAB", b"secured=TLS")
REPORT = {
    "login": "anna", "remote": "192.0.2.7", "local": "198.51.100.5", "protocol": "imap", "session": "aKTn/AAAB",
    "mechanism": "PLAIN", "proxy": "no", "nologin": "no", "success": True, "policy_reject": False, "tls": True,
}  # fmt: skip
SECRET = b"0123456789abcdef-secret"
LOGIN = json.dumps(REPORT).encode()


def request(
    body: bytes = LOGIN,
    target: bytes = b"/?command=report",
    secret: bytes = SECRET,
    more: bytes = b"",
    method: bytes = b"POST",
) -> bytes:
    head = b"%b %b HTTP/1.1\r\nX-API-Key: %b\r\nContent-Length: %d\r\n%b\r\n" % (
        method,
        target,
        secret,
        len(body),
        more,
    )
    return head + body


CLOSE = b"Connection: close\r\n"


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


NOBODY = 65534
