"""What Dovecot itself tells of logins, without I/O: bytes in, a Login or what is wrong with them out.

The post-login script sends one message: fields that each end in NUL, and an empty one. The first is VERSION, each
other one `key=value` by the rows of FIELDS. No value can hold a NUL (they come from the environment), so none
can begin a field of its own, whatever a user calls himself. At most PUSH_BYTES. A message without any field tells of
no login: it asks whether its sender is heard.

The auth policy server gets JSON: the attributes that the snippet asks Dovecot for, and `success` and `tls`, which
Dovecot adds. A key that stands there twice spoils the report. `proxy` and `nologin` must say "no": Dovecot reports
success for a login that it passes on without looking at the password, and for one that it will not let in.

The time is the teller's, so that one read late does not grant longer; one that lies ahead is policy's to judge.
"""

from __future__ import annotations

import calendar
import json
import re
import time
from collections.abc import Callable
from typing import Any

from popauthd import address
from popauthd.model import Failure, Ignored, Login
from popauthd.protocol import NEED_MORE, Bad, NeedMore

VERSION = b"popauthd-login-1"
OK = b"granted\n"
NO = b"refused\n"
HEARD = b"heard\n"
ASK = VERSION + b"\0\0"
PUSH_BYTES = 4096
USER_BYTES = 512
PROTOCOLS = ("imap", "pop3")
FORMAT = "dovecot"

_ADDRESS = re.compile(rb"[0-9A-Fa-f:.]{2,45}")
_NO_ADDRESS = re.compile(rb"[0-9A-Fa-f:.]{0,45}")
_MECHANISM = re.compile(rb"[A-Za-z0-9_-]{0,40}")
_SESSION = re.compile(rb"[A-Za-z0-9+/:._@-]{0,255}")
_TIME = re.compile(rb"[0-9]{1,11}")
_SECURED = re.compile(rb"(?:|secured|TLS)")
_PROTOCOL = re.compile(rb"[a-z0-9-]{1,20}")
_USER = re.compile(rb"[^\0]{0,%d}" % USER_BYTES)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

FIELDS: dict[str, tuple[re.Pattern[bytes], bool]] = {
    "at": (_TIME, True),
    "address": (_ADDRESS, True),
    "user": (_USER, True),
    "protocol": (_PROTOCOL, True),
    "mechanism": (_MECHANISM, False),
    "local": (_NO_ADDRESS, False),
    "session": (_SESSION, False),
    "secured": (_SECURED, False),
}
"""The script's fields: what a value looks like, and whether it must be there."""

ATTRIBUTES: dict[str, tuple[re.Pattern[bytes], bool]] = {
    "login": (_USER, True),
    "remote": (_NO_ADDRESS, True),
    "protocol": (_PROTOCOL, True),
    "mechanism": (_MECHANISM, True),
    "local": (_NO_ADDRESS, False),
    "session": (_SESSION, False),
}
"""The report's texts that become a Login, likewise."""

UNLESS_NO = {"proxy": "proxied", "nologin": "nologin"}
"""Attributes that must be "no", with the reason if they are anything else."""


class Push:
    """One message of the script, in pieces as they come; no byte is looked at twice before it is whole."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._seen = 0  # bytes that hold no end

    def feed(self, more: bytes) -> None:
        """Take in what has come."""
        self._data += more

    def read(self) -> NeedMore | Login | Ignored | Bad:
        """What `read_push` says of all bytes so far."""
        data, begin = self._data, VERSION + b"\0"
        known = data[: len(begin)] == begin[: len(data)]
        if known and len(data) <= PUSH_BYTES and data.find(b"\0\0", max(0, self._seen - 1)) < 0:
            self._seen = len(data)
            return NEED_MORE
        return read_push(bytes(data))


def read_push(data: bytes) -> NeedMore | Login | Ignored | Bad:
    """Read the script's message from all bytes received so far. Ignored: it is ASK."""
    if data == ASK:
        return Ignored("asked", FORMAT)
    if len(data) > PUSH_BYTES:
        return Bad("too long")
    first, *rest = data.split(b"\0")
    if not data.endswith(b"\0\0"):
        known = VERSION.startswith(first) if not rest else first == VERSION
        if not known:
            return Bad("not from popauthd's script, or from another version of it")
        return Bad("more than one message") if b"" in rest[:-1] else NEED_MORE
    if first != VERSION:
        return Bad("not from popauthd's script, or from another version of it")
    fields: dict[str, bytes] = {}
    for field in rest[:-2]:
        key, equals, value = field.partition(b"=")
        name = key.decode("ascii", "replace")
        if not equals or name not in FIELDS or name in fields:
            return Bad("a field that is unknown, empty, or there twice")
        fields[name] = value
    if why := _misfit(fields, FIELDS):
        return Bad(why)
    if fields["protocol"].decode() not in PROTOCOLS:
        return Bad("neither imap nor pop3")
    return Login(
        int(fields["at"]),
        fields["address"].decode(),
        _user(fields["user"]),
        fields["protocol"].decode(),
        fields.get("mechanism", b"").decode(),
        fields.get("secured") == b"TLS",
        fields.get("session", b"").decode(),
        fields.get("local", b"").decode(),
        FORMAT,
    )


def read_report(body: bytes, now: int) -> Login | Ignored | Bad:
    """Read the body of a `command=report`. now: epoch seconds at which Dovecot sent it."""
    try:
        report = json.loads(body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return Bad("not JSON, or a key twice")
    if not isinstance(report, dict):
        return Bad("not a JSON object")
    if not isinstance(report.get("success"), bool) or not isinstance(report.get("tls"), bool):
        return Bad("does not say success and tls")
    if not report["success"]:
        return Ignored("failed", FORMAT, _failure(report, now))
    protocol = report.get("protocol")
    if isinstance(protocol, str) and protocol not in PROTOCOLS:
        return Ignored("other-service", FORMAT)
    return _reported(report, now)


def _failure(report: dict[str, Any], now: int) -> Failure | None:
    """Who failed to log in, if the report tells."""
    remote, user = report.get("remote"), report.get("login")
    client = address.canonical(remote) if isinstance(remote, str) else None
    return None if client is None else Failure(now, client, user[:USER_BYTES] if isinstance(user, str) else "")


def _reported(report: dict[str, Any], now: int) -> Login | Ignored | Bad:
    for key, reason in UNLESS_NO.items():
        if not isinstance(report.get(key), str):
            return Bad(f"does not say {key}; see popauthd's snippet for Dovecot")
        if report[key] != "no":
            return Ignored(reason, FORMAT)
    given = {key: report[key] for key in ATTRIBUTES if key in report}
    if not all(isinstance(value, str) for value in given.values()):
        return Bad("an attribute that is not text")
    fields = {key: value.encode("utf-8", "backslashreplace") for key, value in given.items()}
    if why := _misfit(fields, ATTRIBUTES):
        return Bad(why)
    if not fields["remote"]:
        return Ignored("no-address", FORMAT)  # a login by a program on this host, which has none
    return Login(
        now,
        fields["remote"].decode(),
        _user(fields["login"]),
        fields["protocol"].decode(),
        fields["mechanism"].decode(),
        report["tls"],
        fields.get("session", b"").decode(),
        fields.get("local", b"").decode(),
        FORMAT,
    )


def sent_at(date: bytes, now: int) -> int:
    """When a request was sent, by its Date header (it may have waited while we were stopped); else, now."""
    try:
        return min(now, calendar.timegm(time.strptime(date.decode("ascii"), "%a, %d %b %Y %H:%M:%S GMT")))
    except ValueError:
        return now


def _misfit(fields: dict[str, bytes], rows: dict[str, tuple[re.Pattern[bytes], bool]]) -> str:
    """What is wrong with the fields, or ""."""
    for name, (pattern, needed) in rows.items():
        if name not in fields:
            if needed:
                return f"no {name}"
        elif not pattern.fullmatch(fields[name]):
            return f"{name} is not as it should be"
    return ""


def _user(name: bytes) -> str:
    """A name as Dovecot's log shows it: control characters are question marks."""
    return _CONTROL.sub("?", name.decode("utf-8", "backslashreplace"))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice")
    return found


def _refuse(name: str) -> Callable[[], None]:
    raise ValueError(f"{name} is not JSON")
