"""The one intake of events: logins, session ends and revocations, whoever brings them.

An event comes from a log, from Dovecot itself, from an administrator, or from another node. It passes the same judge
(policy), a batch (batch.py, peer_batch.py) and the same door (ledger.py). Times of logins and revocations are merged by
maximum: an event may come twice, late, or from elsewhere.

While a log lags behind, many of its blocks make one batch, which is entered before long. Until then, and while it
cannot be entered, a batch waits; while it cannot be entered, nothing more is read. It is entered before the clock or
the limits change by which it was judged. What Dovecot or an administrator hands in does not wait: it is entered at
once, or who handed it in is told, and may try again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from popauthd.cluster.events import PeerEvent
from popauthd.formats.columns import Block
from popauthd.logs import Quiet
from popauthd.model import AnyEvent, Failure, Login
from popauthd.policy.plain import PlainJudge
from popauthd.text import safe
from popauthd.watch.batch import Batch, Entered, Terms, kind_of_dovecots
from popauthd.watch.deduplication import Twice
from popauthd.watch.failed_logins import FailedLogins
from popauthd.watch.grant_log import GrantLog
from popauthd.watch.housekeeping import Housekeeping
from popauthd.watch.ledger import Ledger
from popauthd.watch.notes import Notes
from popauthd.watch.peer_batch import PeerBatch, kind_of_peers

log = logging.getLogger("popauthd.watch")

FULL = 16_000  # entries of a batch; more are faster, and take more memory and a longer turn
FULL_WITH_OTHERS = 2_000  # where somebody may wait for an answer while a batch is entered
WAIT_SECONDS = 1.0  # how long a batch waits for more


class Intake:
    """Judges events and enters them. Raises StoreError while they cannot be entered.

    housekeeping: has what waits entered before it changes the clock or the limits. many_ways: a login may be told by
    more than one source. waited_for: somebody may wait for an answer while a batch is entered. failed: the failed
    logins that are remembered. grant_log: what the log tells of grants.
    """

    def __init__(
        self, ledger: Ledger, housekeeping: Housekeeping, *, many_ways: bool, waited_for: bool = False
    ) -> None:
        self.failed = FailedLogins()
        self.grant_log = GrantLog(log)
        self._ledger = ledger
        self._housekeeping = housekeeping
        self._notes = housekeeping.notes
        self._many_ways = many_ways
        self._waited_for = waited_for
        self._twice = Twice()
        self._waiting: dict[str, Batch] = {}  # by source
        self._enter_at = 0.0  # when the first of them has waited long enough
        self._stuck = False  # one of them could not be entered
        self._judge = PlainJudge(housekeeping.limits.now, kind_of_dovecots)
        self._peers_judge = PlainJudge(housekeeping.limits.now, kind_of_peers)
        self._quiet = Quiet(log)
        housekeeping.settle = self.enter_waiting

    @property
    def notes(self) -> Notes:
        """What is told and counted beside what is entered."""
        return self._notes

    @property
    def waiting(self) -> bool:
        """Whether a batch waits to be entered."""
        return bool(self._waiting)

    def heed(self, *, many_ways: bool, waited_for: bool) -> None:
        """Whether from now on a login may be told by more than one source, and whether somebody may wait."""
        self._many_ways, self._waited_for = many_ways, waited_for

    def enter_waiting(self, now: int) -> None:
        """Enter every batch that waits."""
        for source in list(self._waiting):
            self.enter_of(source, now)
        self._stuck = False

    def enter_stuck(self, now: int) -> None:
        """Try again to enter what could not be entered: call it before anything is read."""
        if self._stuck:
            self.enter_waiting(now)

    def enter_of(self, source: str, now: int) -> None:
        """Enter the batch of one log, if it has one that waits."""
        if source in self._waiting:
            self._stuck = True
            self._enter(self._waiting[source], now)
            del self._waiting[source]
            self._stuck = False

    def take_block(
        self, source: str, block: Block, place: bytes, now: int, *, silence: int = 0, more: bool = False
    ) -> None:
        """Take in what a block of a log taught, with the place in the log that follows it.

        silence: see Meta.set_longest_silence. more: there is more to read at once, so the batch may wait for that.
        """
        if not self._waiting:
            self._enter_at = time.monotonic() + WAIT_SECONDS
        batch = self._waiting.setdefault(source, Batch(source))
        batch.place = place
        batch.longest_silence = max(batch.longest_silence, silence)
        batch.counts.update(self._notes.take_counts())
        batch.counts["lines"] += block.lines
        others = [event for _place, event in block.others]
        terms = self._terms(others, {*map(bytes.decode, set(block.logins.local))}, now, holding=self._holding)
        batch.learn_block(block, self._judge, terms)
        full = FULL_WITH_OTHERS if self._waited_for else FULL
        if not more or batch.entries >= full or time.monotonic() >= self._enter_at:
            self.enter_of(source, now)

    def take(self, events: Sequence[AnyEvent], source: str, now: int, *, unread_seconds: int = 0) -> Entered:
        """Enter events that somebody hands in, at once; when this returns they are published.

        They open no session to be held: only a log tells of its end, and a log that does tells of its beginning.
        unread_seconds: see Batch.
        """
        self._housekeeping.tend_clock(now)
        batch = Batch(source, unread_seconds=unread_seconds)
        batch.learn(events, self._terms(events, set(), now, holding=False))
        return self._enter(batch, now)

    def take_from_peers(self, events: Sequence[PeerEvent], place: str, now: int) -> Entered:
        """Enter what other nodes tell, with the place in their stream that follows it."""
        self._housekeeping.tend_clock(now)
        limits = self._housekeeping.limits.now
        if self._peers_judge.limits is not limits:
            self._peers_judge = PlainJudge(limits, kind_of_peers)
        batch = PeerBatch(place)
        batch.learn(events, self._peers_judge, limits, self._ledger.rules.hold_seconds, now)
        return self._enter(batch, now)

    @property
    def _holding(self) -> bool:
        return self._ledger.rules.hold_seconds > 0

    def _terms(self, events: Sequence[AnyEvent], local: set[str], now: int, *, holding: bool) -> Terms:
        """By what these events are judged. local: more addresses that logins came in on."""
        # The addresses that logins came in on are this machine's.
        limits = self._housekeeping.limits
        limits.learn_own({*local, *(event.local_address for event in events if isinstance(event, Login))} - {""})
        self.failed.remember((event for event in events if isinstance(event, Failure)), now)
        if self._judge.limits is not limits.now:
            self._judge = PlainJudge(limits.now, kind_of_dovecots)
        twice = self._twice if self._many_ways else None
        return Terms(limits.now, now, holding, twice, self._housekeeping.clock.booted_at)

    def _enter(self, batch: Batch | PeerBatch, now: int) -> Entered:
        with self._ledger.change() as writing:
            entered = batch.enter(writing, now, remember=self._many_ways)
        self._tell(batch.source, entered, now)
        return entered

    def _tell(self, source: str, entered: Entered, now: int) -> None:
        word = "would be granted (dry run)" if self._ledger.dry_run else "granted"
        self.grant_log.tell(word, entered.opened, source, more=entered.opened_more)
        for refusal in entered.refused:
            self._quiet.warn(
                refusal.reason,
                f"refused reason={refusal.reason} address={safe(refusal.address)} user={safe(refusal.user)} "
                f"source={source}",
            )
        for shared in entered.shared:
            self._notes.add(
                f"shared address {shared.address}: more than {self._ledger.rules.shared_users} users logged in from "
                "it within the lifetime; it is no longer granted. Name it in `proxies`, or in `always` if it must "
                "relay",
                now,
            )
