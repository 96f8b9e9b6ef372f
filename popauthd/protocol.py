"""The two protocols, without I/O: bytes in, one of three outcomes out (more needed, a request, bad).

Lookup: the client sends an address, ended by LF or by closing its side, at most 64 bytes; the reply
is `yes` or `no`, without a line feed, and the connection is closed.

Control: one JSON object on one line, at most 64 KiB, and one such line back; the object names its
`command`. Only the owner of the watcher and root may speak it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from popauthd import address

LOOKUP_BYTES = 64
CONTROL_BYTES = 65536
YES = b"yes"
NO = b"no"


class NeedMore:
    """The request is not whole yet."""


class Lookup(NamedTuple):
    """A whole lookup request; `address` is canonical."""

    address: str


@dataclass(frozen=True, slots=True)
class Bad:
    """What came is not a request; `why` is for the log."""

    why: str


NEED_MORE = NeedMore()


def read_lookup(data: bytes, *, ended: bool) -> NeedMore | Lookup | Bad:
    """Read a lookup request from all bytes received so far; `ended`: the client has closed its side."""
    if len(data) > LOOKUP_BYTES:
        return Bad("longer than 64 bytes")
    line, feed, rest = data.partition(b"\n")
    if not feed and not ended:
        return Bad("longer than 64 bytes") if len(data) == LOOKUP_BYTES else NEED_MORE
    if rest:
        return Bad("more than one line")
    try:
        client = address.canonical(line.removesuffix(b"\r").decode("ascii"))
    except UnicodeDecodeError:
        client = None
    return Bad("not an address") if client is None else Lookup(client)


def read_control(data: bytes) -> NeedMore | dict[str, Any] | Bad:
    """Read a control request (or reply) from all bytes received so far."""
    line, feed, rest = data.partition(b"\n")
    if not feed:
        return Bad("too long") if len(data) > CONTROL_BYTES else NEED_MORE
    if rest:
        return Bad("more than one line")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return Bad("not JSON")
    return value if isinstance(value, dict) else Bad("not a JSON object")


def write_control(value: Mapping[str, Any]) -> bytes:
    """One control request or reply, as it goes over the socket."""
    return json.dumps(value, separators=(",", ":")).encode("ascii") + b"\n"
