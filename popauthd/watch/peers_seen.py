"""Which other nodes were heard of, and what is odd about them: a clock that is off, our own name, signatures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from popauthd.cluster.events import Hello
from popauthd.cluster.traffic import Heard
from popauthd.status import PeerStatus
from popauthd.watch.health import Health

HELLO_SECONDS = 10  # how often a node says that it is there
SKEW_MS = 30_000
TWICE_SECONDS = 5  # our name was used by another for so long, so it is not the end of our own run before
TOLD_SECONDS = 60  # how long after the last sign a condition about somebody else holds
FORGED_ENOUGH = 3
FORGED_SECONDS = 600
FORGET_SECONDS = 86400
PEERS = 1000


class PeersSeen:
    """What was heard of other nodes since the start. now: epoch seconds."""

    def __init__(self, node: str, health: Health) -> None:
        self._node = node
        self._health = health
        self._peers: dict[str, PeerStatus] = {}
        self._twin = 0, 0  # when another run under our name was first and last heard of
        self._forged: list[int] = []

    @property
    def all(self) -> tuple[PeerStatus, ...]:
        """The nodes, by name."""
        return tuple(self._peers[name] for name in sorted(self._peers))

    def heard(self, one: Heard, now: int) -> None:
        """Take in who sent an event."""
        at = now - one.age_ms // 1000
        if one.beside:
            self._twin = self._twin[0] or at, max(at, self._twin[1])
        if one.node == self._node:
            return
        before = self._peers.get(one.node)
        if before is None and len(self._peers) >= PEERS:
            return
        version = one.event.version if isinstance(one.event, Hello) else (before.version if before else "")
        if before is None or at >= before.seen_at:
            self._peers[one.node] = PeerStatus(one.node, at, one.age_ms, one.skew_ms, version)
        elif version != before.version:
            self._peers[one.node] = replace(before, version=version)

    def rejected(self, reasons: Mapping[str, int], now: int) -> None:
        """Take in what was not taken, by reason."""
        self._forged += [now] * min(reasons.get("forged", 0), FORGED_ENOUGH)
        self._forged = self._forged[-FORGED_ENOUGH:]

    def tend(self, now: int) -> None:
        """Say what holds of it now."""
        for name, peer in list(self._peers.items()):
            if now - peer.seen_at > FORGET_SECONDS:
                del self._peers[name]
            off = abs(peer.skew_ms) > SKEW_MS and now - peer.seen_at <= TOLD_SECONDS
            way = "behind" if peer.skew_ms > 0 else "ahead of"
            self._say(
                "cluster-clock-skew", name, off, f"its clock is {abs(peer.skew_ms) // 1000} s {way} the engine's", now
            )
        first, last = self._twin
        twice = last - first >= TWICE_SECONDS and now - last <= TOLD_SECONDS
        if first and now - last > TOLD_SECONDS:
            self._twin = 0, 0
        self._say("cluster-node-name-twice", self._node, twice, "another node tells under this name", now)
        wrong = len(self._forged) == FORGED_ENOUGH and now - self._forged[0] <= FORGED_SECONDS
        self._say("cluster-key-wrong", "", wrong, "events came that are signed with no key of ours", now)

    def own_clock(self, offset_ms: int, now: int) -> None:
        """How far the engine's clock is ahead of ours."""
        way = "behind" if offset_ms > 0 else "ahead of"
        evidence = f"this node's clock is {abs(offset_ms) // 1000} s {way} the engine's"
        self._say("cluster-clock-skew", "", abs(offset_ms) > SKEW_MS, evidence, now)

    def _say(self, word: str, about: str, holds: bool, evidence: str, now: int) -> None:
        if holds:
            self._health.holds(word, about, evidence, now)
        else:
            self._health.over(word, about)
