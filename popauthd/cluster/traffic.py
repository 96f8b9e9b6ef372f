"""What goes between the link and the watcher of a node. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from popauthd.cluster.events import PeerEvent
from popauthd.cluster.keys import Keys

INBOUND, OUTBOUND = "reading", "sending"  # the halves of a link


@dataclass(frozen=True, slots=True)
class Sender:
    """Who we are in the cluster. run: 16 hex digits, new at each start. stream: its name. keep_seconds: how long an
    entry is kept in it at least.
    """

    node: str
    run: str
    stream: str
    keys: Keys
    keep_seconds: int = 3600


@dataclass(frozen=True, slots=True)
class Heard:
    """An event that another run has sent, its times by our clock.

    age_ms: how long ago the engine got it. skew_ms: the engine's time in its id minus the sender's when it was sent, so
    how far the sender's clock is behind. beside: it was sent under our own name while we are in the stream already.
    """

    event: PeerEvent
    node: str
    run: str
    id: str
    age_ms: int = 0
    skew_ms: int = 0
    beside: bool = False


@dataclass(frozen=True, slots=True)
class Incoming:
    """What was read. place: up to where, for the next start (see `Place`). rejected: how many entries, by reason.

    gap: what is lost, a sentence; "" for nothing: then it is read from the beginning again. caught_up: all that the
    stream has is read. offset_ms: the engine's clock minus ours.
    """

    heard: tuple[Heard, ...] = ()
    place: str = ""
    rejected: Mapping[str, int] = field(default_factory=dict)
    gap: str = ""
    caught_up: bool = False
    offset_ms: int = 0

    @property
    def empty(self) -> bool:
        """Whether nothing of it must be entered."""
        return not (self.heard or self.rejected or self.gap)


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a stream. position: how many entries there ever were up to it; -1 if that is not known."""

    id: str = ""
    position: int = -1

    def __str__(self) -> str:
        return f"{self.id} {self.position}"


def read_place(text: str) -> Place:
    """The place that a text says; the beginning if it says none."""
    entry_id, _, position = text.partition(" ")
    head, dash, tail = entry_id.partition("-")
    if dash and head.isdecimal() and tail.isdecimal() and position.removeprefix("-").isdecimal():
        return Place(entry_id, int(position))
    return Place()
