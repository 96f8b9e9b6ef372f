"""The kinds of settings: each reads what TOML gave and returns the value used inside.

A kind raises ValueError saying what would be right. Durations are whole seconds inside unless the
kind says milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from popauthd import address
from popauthd.config.engine_url import read_url

UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
SMTP_BYTES = 400  # a line of SMTP has at most 512
MECHANISM = re.compile(r"[A-Z0-9_-]{1,20}")
SERVICE = re.compile(r"[A-Za-z0-9_.-]{1,64}")
NODE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
STREAM = re.compile(r"[A-Za-z0-9_.:{}-]{1,128}")  # none that an ACL of Redis takes for a pattern
DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")


def duration_ms(value: object) -> int:
    """Read a length of time: a number of seconds, or text with one unit ("15m", "100ms")."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value * 1000
    if isinstance(value, str) and (match := DURATION.fullmatch(value)):
        return int(match[1]) * UNIT_MS[match[2]]
    raise ValueError('must be a length of time such as "15m", "90s", "100ms" or a number of seconds')


def between(low: str, high: str) -> Callable[[object], int]:
    """A reader of durations between two bounds, in whole seconds; the bounds are part of the message."""
    low_ms, high_ms = duration_ms(low), duration_ms(high)

    def read(value: object) -> int:
        ms = duration_ms(value)
        if ms % 1000 or not low_ms <= ms <= high_ms:
            raise ValueError(f"must be whole seconds between {low} and {high}")
        return ms // 1000

    return read


def milliseconds(high: str) -> Callable[[object], int]:
    """A reader of short durations from 0 up to a bound, in milliseconds."""
    high_ms = duration_ms(high)

    def read(value: object) -> int:
        ms = duration_ms(value)
        if ms > high_ms:
            raise ValueError(f"must be at most {high}")
        return ms

    return read


def boolean(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false, without quotes")  # noqa: TRY004 - one kind of error a reader
    return value


def text(value: object) -> str:
    """Read one string."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError('must be text in quotes, such as "value"')
    return value


def smtp_text(value: object) -> str:
    """Read what an SMTP server may say: one line of visible characters, in any language; empty for none."""
    line = text(value)
    if not line.isprintable() or line != line.strip() or len(line.encode("utf-8", "surrogateescape")) > SMTP_BYTES:
        raise ValueError(f"must be one line of text, of at most {SMTP_BYTES} bytes, without spaces around it")
    return line


def absolute_path(value: object) -> str:
    """Read an absolute path."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError('must be an absolute path in quotes, such as "/var/log/mail.log"')
    return value


def absolute_path_or_none(value: object) -> str:
    """Read an absolute path, or empty text for none."""
    return "" if value == "" else absolute_path(value)


def texts(value: object) -> tuple[str, ...]:
    """Read a list of strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError('must be a list of texts, such as ["mx1", "mx2"]')
    return tuple(value)


def networks(value: object) -> tuple[address.Network, ...]:
    """Read a list of networks in CIDR form; a plain address is a network of one."""
    if not isinstance(value, list):
        raise ValueError('must be a list of networks, such as ["10.0.0.0/8", "2001:db8::/32"]')  # noqa: TRY004
    found = []
    for item in value:
        if not isinstance(item, str):
            raise ValueError(f"{item!r} must be in quotes")  # noqa: TRY004
        try:
            found.append(address.network(item))
        except ValueError as error:
            raise ValueError(f"{item!r} is not a network ({error}); write it like 192.0.2.0/24") from error
    return tuple(found)


def choice(*words: str) -> Callable[[object], str]:
    """A reader that accepts one of a few words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return read


def number(low: int, high: int) -> Callable[[object], int]:
    """A reader of whole numbers between two bounds."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise ValueError(f"must be a whole number between {low} and {high}, without quotes")
        return value

    return read


def one_of(*numbers: int) -> Callable[[object], int]:
    """A reader that accepts one of a few numbers."""

    def read(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or value not in numbers:
            raise ValueError(f"must be one of {', '.join(map(str, numbers))}, without quotes")
        return value

    return read


def some_of(*words: str) -> Callable[[object], tuple[str, ...]]:
    """A reader of a list of words from a few, each at most once and at least one."""

    def read(value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not value or len(set(map(str, value))) != len(value):
            raise ValueError(f"must be a list of some of {', '.join(words)}")
        for item in value:
            if item not in words:
                raise ValueError(f"has {item!r}, which is none of {', '.join(words)}")
        return tuple(value)

    return read


def mechanisms(value: object) -> tuple[str, ...]:
    """Read a list of SASL mechanisms (RFC 4422 3.1), in upper case."""
    names = texts(value)
    for name in names:
        if not MECHANISM.fullmatch(name.upper()):
            raise ValueError(f'has {name!r}, which is no SASL mechanism; write it like "CRAM-MD5"')
    return tuple(name.upper() for name in names)


def lifetimes(value: object) -> tuple[tuple[address.Network, int], ...]:
    """Read a table of network = length of time; the narrowest network comes first."""
    if not isinstance(value, dict):
        raise ValueError('must be a table of networks, such as { "10.0.0.0/8" = "1h" }')  # noqa: TRY004
    read = between("1s", "7d")
    rows = []
    for (key, length), net in zip(value.items(), networks(list(value)), strict=True):
        try:
            rows.append((net, read(length)))
        except ValueError as error:
            raise ValueError(f"for {key!r}: {length!r} {error}") from error
    if len({net for net, _seconds in rows}) != len(rows):
        raise ValueError("names a network twice")
    return tuple(sorted(rows, key=lambda row: -row[0].prefixlen))


def services(value: object) -> tuple[tuple[str, str], ...]:
    """Read a table of name or port = "imap" or "pop3"."""
    if not isinstance(value, dict):
        raise ValueError('must be a table of services, such as { imapmail = "imap", 10110 = "pop3" }')  # noqa: TRY004
    for name, protocol in value.items():
        if not SERVICE.fullmatch(name) or protocol not in ("imap", "pop3"):
            raise ValueError(f'has {name!r} = {protocol!r}; write a name or a port, and "imap" or "pop3"')
    return tuple(value.items())


def engine_url(value: object) -> str:
    """Read the URL of a cluster's engine (engine_url.py), or empty text for none."""
    found = text(value)
    if found:
        read_url(found)
    return found


def node_name(value: object) -> str:
    """Read a node's name, or empty text for this machine's host name."""
    found = text(value)
    if found and not NODE.fullmatch(found):
        raise ValueError("must be a name of at most 64 letters, digits, dots, dashes and underscores")
    return found


def stream_name(value: object) -> str:
    """Read the name of a key in Redis."""
    found = text(value)
    if not STREAM.fullmatch(found):
        raise ValueError("must be a name of at most 128 letters, digits and . : - _ { }")
    return found
