"""What the watcher and its link write to each other: a line of JSON for each thing said. Pure.

Watcher to link: `begin` (how to reach the engine, who we are, from where to read), `send` (events), `took` (what was
heard is entered). Link to watcher: `sent`, `heard` (Incoming), `state` (what an EngineError of a half said),
`fault` (why there can be no link).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple
from typing import Any

from popauthd.cluster.events import Hello, PeerEvent, PeerGrant, PeerLogin, PeerRevocation
from popauthd.cluster.traffic import Heard, Incoming

_KINDS: dict[str, type[PeerEvent]] = {"l": PeerLogin, "g": PeerGrant, "r": PeerRevocation, "h": Hello}
_NAMES = {record: name for name, record in _KINDS.items()}


def line(what: str, *rest: object) -> bytes:
    """A line that says something."""
    return json.dumps([what, *rest], separators=(",", ":")).encode("ascii") + b"\n"


def read_line(text: bytes) -> tuple[str, list[Any]]:
    """What a line says. Raises ValueError for our own mistake."""
    what, *rest = json.loads(text)
    return what, rest


def events_told(events: Sequence[PeerEvent]) -> list[list[object]]:
    """Events as JSON has them."""
    return [_told(event) for event in events]


def read_events(told: Sequence[Sequence[Any]]) -> list[PeerEvent]:
    """The events."""
    return [_event(one) for one in told]


def incoming_told(incoming: Incoming) -> list[object]:
    """What was read of a stream, as JSON has it."""
    heard = [
        [_told(one.event), one.node, one.run, one.id, one.age_ms, one.skew_ms, one.beside] for one in incoming.heard
    ]
    rest = incoming.place, dict(incoming.rejected), incoming.gap, incoming.caught_up, incoming.offset_ms
    return [heard, *rest]


def read_incoming(told: Sequence[Any]) -> Incoming:
    """What was read of a stream."""
    heard, *rest = told
    return Incoming(tuple(Heard(_event(event), *more) for event, *more in heard), *rest)


def _told(event: PeerEvent) -> list[object]:
    return [_NAMES[type(event)], *astuple(event)]


def _event(told: Sequence[Any]) -> PeerEvent:
    kind, *fields = told
    return _KINDS[kind](*fields)
