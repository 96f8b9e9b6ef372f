"""What a node of a newer version sends: a field more in every entry, and a kind of entry that nobody here knows.

Signed here once more, from the description in popauthd/cluster/wire.py and not by its code.
"""

from __future__ import annotations

import hashlib
import hmac

from popauthd.cluster.keys import Keys
from popauthd.cluster.stream import Fields


def signed(fields: Fields, keys: Keys, stream: str) -> dict[bytes, bytes]:
    """The fields with the signature that belongs to them."""
    rest = {name: value for name, value in fields.items() if name != b"mac"}
    parts = [b"popauthd event", stream.encode()]
    for name in sorted(rest):
        parts += [name, rest[name]]
    text = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
    mac = hmac.new(keys.signing.secret, text, hashlib.sha256).hexdigest()
    return {**rest, b"mac": mac.encode()}


def with_a_field_more(fields: Fields, keys: Keys, stream: str) -> dict[bytes, bytes]:
    """The entry as a newer version sends it."""
    return signed({**fields, b"zone": b"east"}, keys, stream)


def of_a_new_kind(fields: Fields, keys: Keys, stream: str) -> dict[bytes, bytes]:
    """An entry that says something which is not known here."""
    return signed({**fields, b"k": b"quota", b"q": b"12"}, keys, stream)


def forged(fields: Fields, at: bytes) -> dict[bytes, bytes]:
    """An entry that was changed by who has no key: a login that nobody saw."""
    return {**fields, b"k": b"login", b"a": at, b"g": b"4000000000", b"h": b"4000000000"}
