"""This node as a member of a cluster: what goes out to other nodes, and what comes in from them.

It knows neither process nor engine; popauthd/cluster/__init__.py says how it is driven. What comes in passes the one
intake, and is committed with the place up to which the stream was read. What goes out is what waits in the outbox; then
all that stands here, if somebody has lost something or ten minutes have passed (told_again.py); and a Hello.

A node in dry run hears, and tells nothing but that it is there.
"""

from __future__ import annotations

from collections.abc import Iterable

from popauthd import __version__
from popauthd.cluster.events import Hello, PeerEvent
from popauthd.cluster.traffic import INBOUND, OUTBOUND, Heard, Incoming
from popauthd.status import ClusterStatus
from popauthd.store.books import Writing
from popauthd.store.books.outbox import Entry
from popauthd.watch.health import Health
from popauthd.watch.intake import Intake
from popauthd.watch.ledger import Ledger
from popauthd.watch.peer_batch import SOURCE
from popauthd.watch.peers_seen import HELLO_SECONDS, PeersSeen
from popauthd.watch.told_again import ToldAgain

AT_ONCE = 500  # events in one batch
SAVE_SECONDS = 60
REMOVE_AT_ONCE = 5000
REMOVE_SECONDS = 1.0  # what was told is taken out of the outbox this often: each time syncs the books to disk
ASKED_LATELY_MS = 60_000  # an older request, read again after a start, was answered long ago
UNREACHABLE_SECONDS = 5  # a restart of the engine takes less
FULL = "full"


class Member:
    """This node. `start` within the first transaction. node: its name; run: 16 hex digits, new at each start.

    place: up to where the stream has been read and entered; for the next Inbound.
    """

    def __init__(self, node: str, run: str, ledger: Ledger, intake: Intake, health: Health) -> None:
        self.node = node
        self.run = run
        self.place = ""
        self._ledger = ledger
        self._intake = intake
        self._health = health
        self._seen = PeersSeen(node, health)
        self._again = ToldAgain()
        self._out: list[Entry] | None = None  # the entries that were given out and are neither sent nor dropped
        self._told: set[Entry] = set()  # sent, and still in the outbox
        self._remove_at = 0.0
        self._hello_at = 0.0
        self._wants_all = False
        self._save_at = 0
        self._asked = False
        self._healing = False
        self._gaps = 0
        self._dry = ledger.dry_run
        self._troubles: dict[str, tuple[str, str, int]] = {}  # half -> word, text, since

    def start(self, writing: Writing, now: int) -> None:
        """Begin. A node that is new here, or whose books are, asks for all and tells all."""
        self.place = (writing.places.of(SOURCE) or b"").decode("ascii")
        writing.revocations.name_peers(now)
        if not self.place:
            self._wants_all = True
            self._again.ask(now)

    def received(self, incoming: Incoming, now: int) -> None:
        """Enter what was read. Raises StoreError: hand it in again then, before anything else."""
        if not incoming.empty or incoming.place != self.place:
            events = [one.event for one in incoming.heard if not isinstance(one.event, Hello)]
            # A place behind nothing that matters is not worth a commit; it is read again after a restart.
            if events or not 0 < self._save_at - now <= SAVE_SECONDS:
                self._intake.take_from_peers(events, incoming.place, now)
                self._save_at = now + SAVE_SECONDS
            self.place = incoming.place
        for reason, number in incoming.rejected.items():  # counted before long: strangers may send as much as they like
            self._intake.notes.count({f"cluster.{reason}": number})
        if incoming.gap:
            self._intake.notes.count({"cluster.gap": 1})
            self._gaps += 1
            self._wants_all = self._healing = True
            self._again.ask(now)
            self._health.holds("cluster-gap", "", f"{incoming.gap}; all is read and told again", now)
        self._hear(incoming.heard, now)
        self._seen.rejected(incoming.rejected, now)
        self._seen.own_clock(incoming.offset_ms, now)
        told = self._again.served or self._ledger.dry_run
        if self._healing and incoming.caught_up and told and not self._wants_all:
            self._healing = False
            self._health.over("cluster-gap")

    def _hear(self, heard: Iterable[Heard], now: int) -> None:
        for one in heard:
            self._seen.heard(one, now)
            if isinstance(one.event, Hello) and one.event.wants_all and one.age_ms <= ASKED_LATELY_MS:
                self._again.ask(now)

    def more(self, now: float) -> bool:
        """Whether there may be something to give out at once."""
        return self._out is None and self._again.running and self._again.due(now)

    def outgoing(self, now: float) -> tuple[PeerEvent, ...]:
        """What to send next; () if there is nothing, or if what was given out before is still under way."""
        if self._out is not None:
            return ()
        entries: list[Entry] = []
        events: list[PeerEvent] = []
        if not self._ledger.dry_run:
            entries, events = self._waiting(now)
        if now - self._hello_at >= HELLO_SECONDS or self._wants_all or now < self._hello_at:
            events.append(Hello(wants_all=self._wants_all, version=__version__))
            self._asked, self._hello_at = self._wants_all, now
        if events:
            self._out = entries
        return tuple(events)

    def _waiting(self, now: float) -> tuple[list[Entry], list[PeerEvent]]:
        with self._ledger.reading() as reading:
            found = reading.outbox.waiting(AT_ONCE, self._told)
            events = [event for _entry, event in found]
            if not events and self._again.due(now):
                events = self._again.piece(reading, self._ledger.rules, now, AT_ONCE)
        return [entry for entry, _event in found], events

    def sent(self, now: float) -> None:
        """What was given out is in the stream."""
        if self._out is not None:
            if not self._told:
                self._remove_at = now + REMOVE_SECONDS
            self._told.update(self._out)
            if len(self._told) >= REMOVE_AT_ONCE:
                self._remove_at = 0.0
            self._out = None
            if self._asked:
                self._wants_all = self._asked = False

    def dropped(self) -> None:
        """What was given out will not be sent: it is given out again."""
        if self._out is not None:
            self._out, self._asked, self._hello_at = None, False, 0.0
            self._again.again()

    def failed(self, half: str, word: str, text: str, now: int) -> None:
        """What an EngineError of a half said; word "" if the half works."""
        before = self._troubles.pop(half, None)
        if word:
            self._troubles[half] = word, text, now if before is None else before[2]

    def tend(self, now: int) -> None:
        """Do what is due, and say what holds; at every turn. Raises StoreError."""
        if self._told and not 0 < self._remove_at - now <= REMOVE_SECONDS:
            with self._ledger.change() as writing:
                writing.outbox.sent(self._told)
            self._told.clear()
        if self._dry and not self._ledger.dry_run:  # what came meanwhile is in no outbox
            self._again.ask(now)
        self._dry = self._ledger.dry_run
        self._seen.tend(now)
        full = next((text for word, text, _since in self._troubles.values() if word == FULL), "")
        away = [one for one in self._troubles.values() if one[0] != FULL]
        lasting = [f"{text} ({word})" for word, text, since in away if not 0 <= now - since < UNREACHABLE_SECONDS]
        for word, evidence in (("cluster-full", full), ("cluster-unreachable", "; ".join(dict.fromkeys(lasting)))):
            if evidence:
                self._health.holds(word, "", evidence, now)
            else:
                self._health.over(word)

    def status(self, unsent: int) -> ClusterStatus:
        """How this node is in the cluster. unsent: entries of the outbox."""
        told = {half: self._troubles[half][1] if half in self._troubles else "" for half in (INBOUND, OUTBOUND)}
        waiting = max(0, unsent - len(self._told))
        return ClusterStatus(self.node, self.place, waiting, self._gaps, told[INBOUND], told[OUTBOUND], self._seen.all)
