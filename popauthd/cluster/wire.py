"""An event as an entry of the stream, and back: signed, bounded, and open to newer versions. Pure.

Fields, by their names: v version of this wire, k kind, n node, r its run (a new one at each start), i number in the
run, t time of sending in epoch ms, kid name of the key, mac; and those of the kind (KINDS). All values are text.
mac is HMAC-SHA256, in hex, over the stream's name and all other fields, sorted by name, each with its length before it:
so no field can pass for another, and a field that only a newer node knows is under it too.

Who can write to the stream but has no key can do nothing but send an entry again. That changes nothing while it is
fresh, as events merge by maximum, and later it is refused: the engine's time in its id is not that of its sending.

LIMIT: whoever has the key, so any node, can tell anything in the name of any node.
"""

from __future__ import annotations

import hmac
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from popauthd import address
from popauthd.cluster.events import Hello, PeerEvent, PeerGrant, PeerLogin, PeerRevocation
from popauthd.cluster.keys import Keys
from popauthd.cluster.stream import Fields
from popauthd.config.values import NODE
from popauthd.policy.peer_names import is_peer_name

VERSION = b"1"
REPLAY_MS = 600_000  # how far the engine's time and the sender's may lie apart; a clock that is minutes off still works
MOST_FIELDS, NAME_BYTES, VALUE_BYTES = 64, 32, 512
LATEST = 253_402_300_799  # the end of the year 9999, epoch seconds
METHOD_BYTES = 64

_RUN = re.compile(r"[0-9a-f]{16}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")
_PROTOCOL = re.compile(r"[a-z0-9-]{0,20}")
_VERSION = re.compile(r"[A-Za-z0-9.+~-]{0,40}")


@dataclass(frozen=True, slots=True)
class Received:
    """An event that a node with the key has sent. run: 16 hex digits. number: counts the events of that run."""

    event: PeerEvent
    node: str
    run: str
    number: int
    sent_ms: int


@dataclass(frozen=True, slots=True)
class Rejected:
    """An entry that counts for nothing.

    reason: forged, replayed, malformed, or unknown-kind, which is what a newer version sends. node: who sent it; ""
    unless the signature is good.
    """

    reason: str
    node: str = ""


def encode(
    event: PeerEvent, *, node: str, run: str, number: int, sent_ms: int, stream: str, keys: Keys
) -> dict[bytes, bytes]:
    """The fields of an entry. The event must fit (see `fits`); ValueError is our own mistake."""
    kind, row = next((kind, row) for kind, row in KINDS.items() if isinstance(event, row.record))
    texts = {"v": VERSION.decode(), "k": kind, "n": node, "r": run, "i": str(number), "t": str(sent_ms)}
    texts["kid"] = keys.signing.key_id
    fields = _encoded({**texts, **row.write(event)})
    fit = _read(fields)
    if isinstance(fit, Rejected):
        why = f"not fit to be sent: {event!r} of node {node!r}, run {run!r}, number {number}, at {sent_ms}"
        raise ValueError(why)  # noqa: TRY004 - the value is wrong
    return {**fields, b"mac": _mac(keys.signing.secret, stream, fields)}


def fits(event: PeerEvent) -> bool:
    """Whether an event may travel: canonical addresses, pseudonyms, times in their bounds, a method of few bytes."""
    row = next(row for row in KINDS.values() if isinstance(event, row.record))
    try:
        return row.read(_encoded(row.write(event))) == event
    except ValueError:
        return False


def decode(fields: Fields, *, stream: str, keys: Keys, id_ms: int) -> Received | Rejected:
    """Read an entry. id_ms: the engine's time in its id. Never raises."""
    if len(fields) > MOST_FIELDS or any(len(n) > NAME_BYTES or len(v) > VALUE_BYTES for n, v in fields.items()):
        return Rejected("malformed")
    rest = dict(fields)
    mac = rest.pop(b"mac", b"")
    secret = keys.secret(rest.get(b"kid", b"").decode("ascii", "replace"))
    if secret is None or not hmac.compare_digest(mac, _mac(secret, stream, rest)):
        return Rejected("forged")
    found = _read(rest)
    if isinstance(found, Received) and abs(id_ms - found.sent_ms) > REPLAY_MS:
        return Rejected("replayed", found.node)
    return found


def _encoded(texts: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.encode("ascii"): value.encode("utf-8") for name, value in texts.items()}


def _mac(secret: bytes, stream: str, fields: Fields) -> bytes:
    parts = [b"popauthd event", stream.encode("utf-8", "surrogateescape")]
    for name, value in sorted(fields.items()):
        parts += name, value
    data = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    return hmac.digest(secret, data, "sha256").hex().encode("ascii")


def _read(fields: Fields) -> Received | Rejected:
    """What fields say that are signed well."""
    node = ""
    try:
        node = _matching(fields, "n", NODE)
        row = KINDS.get(fields[b"k"].decode("ascii", "replace")) if fields[b"v"] == VERSION else None
        if row is None:
            return Rejected("unknown-kind", node)
        run, number, sent_ms = _matching(fields, "r", _RUN), _number(fields, "i"), _number(fields, "t")
        return Received(row.read(fields), node, run, number, sent_ms)
    except (KeyError, ValueError):
        return Rejected("malformed", node)


def _text(fields: Fields, name: str) -> str:
    return fields[name.encode()].decode("utf-8")


def _matching(fields: Fields, name: str, form: re.Pattern[str]) -> str:
    found = _text(fields, name)
    if not form.fullmatch(found):
        raise ValueError(name)
    return found


def _number(fields: Fields, name: str) -> int:
    return int(_matching(fields, name, _NUMBER))


def _time(fields: Fields, name: str) -> int:
    found = _number(fields, name)
    if found > LATEST:
        raise ValueError(name)
    return found


def _flag(fields: Fields, name: str) -> bool:
    found = fields[name.encode()]
    if found not in (b"0", b"1"):
        raise ValueError(name)
    return found == b"1"


def _address(fields: Fields, name: str, *, none: bool = False) -> str:
    found = _text(fields, name)
    if not (none and not found) and address.key(found) != found:
        raise ValueError(name)
    return found


def _user(fields: Fields, name: str, *, none: bool = False) -> str:
    found = _text(fields, name)
    if not (none and not found) and not (is_peer_name(found) and found == found.lower()):
        raise ValueError(name)
    return found


def _method(fields: Fields, name: str) -> str:
    found = _text(fields, name)
    if len(fields[name.encode()]) > METHOD_BYTES or not found.isprintable():
        raise ValueError(name)
    return found


def _not_before(earlier: int, later: int) -> int:
    if later < earlier:
        raise ValueError(later)
    return later


def _write_login(event: PeerEvent) -> dict[str, str]:
    assert isinstance(event, PeerLogin)
    times = {"g": str(event.at), "h": str(event.open_at)}
    line = {"p": event.protocol, "m": event.method, "s": str(int(event.tls))}
    return {"a": event.address, "u": event.user, **times, **line}


def _read_login(fields: Fields) -> PeerEvent:
    at, open_at = _time(fields, "g"), _time(fields, "h")
    line = _matching(fields, "p", _PROTOCOL), _method(fields, "m"), _flag(fields, "s")
    return PeerLogin(_address(fields, "a"), _user(fields, "u"), at, _not_before(at, open_at), *line)


def _write_grant(event: PeerEvent) -> dict[str, str]:
    assert isinstance(event, PeerGrant)
    return {"a": event.address, "g": str(event.at), "e": str(event.expires_at)}


def _read_grant(fields: Fields) -> PeerEvent:
    at = _time(fields, "g")
    return PeerGrant(_address(fields, "a"), at, _not_before(at, _time(fields, "e")))


def _write_revocation(event: PeerEvent) -> dict[str, str]:
    assert isinstance(event, PeerRevocation)
    return {"g": str(event.at), "a": event.address, "u": event.user}


def _read_revocation(fields: Fields) -> PeerEvent:
    found = PeerRevocation(_time(fields, "g"), _address(fields, "a", none=True), _user(fields, "u", none=True))
    if found.address and found.user:
        raise ValueError("both")
    return found


def _write_hello(event: PeerEvent) -> dict[str, str]:
    assert isinstance(event, Hello)
    return {"w": str(int(event.wants_all)), "b": event.version}


def _read_hello(fields: Fields) -> PeerEvent:
    return Hello(_flag(fields, "w"), _matching(fields, "b", _VERSION))


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of events: its record, and its own fields written and read. `read` raises KeyError or ValueError."""

    record: type[PeerEvent]
    write: Callable[[PeerEvent], dict[str, str]]
    read: Callable[[Fields], PeerEvent]


KINDS: Mapping[str, Kind] = {
    "login": Kind(PeerLogin, _write_login, _read_login),
    "grant": Kind(PeerGrant, _write_grant, _read_grant),
    "revocation": Kind(PeerRevocation, _write_revocation, _read_revocation),
    "hello": Kind(Hello, _write_hello, _read_hello),
}
"""Every kind, by its word in the field k."""
