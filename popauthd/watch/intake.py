"""The one intake of events: logins, session ends and revocations, whoever brings them.

An event comes from a log, from Dovecot itself, from an administrator, or later from another node. It passes the same
judge (policy), the same batch (batch.py) and the same door (ledger.py). Times of logins and revocations are merged by
maximum: an event may come twice, late, or from elsewhere.

A batch of a log is kept while it cannot be entered, and nothing more is read until it is in. What Dovecot or an
administrator hands in is not kept: who handed it in is told, and may try again.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from popauthd.logs import Quiet
from popauthd.model import AnyEvent, Login
from popauthd.text import safe
from popauthd.watch.batch import Batch, Entered
from popauthd.watch.deduplication import Twice
from popauthd.watch.housekeeping import Housekeeping
from popauthd.watch.ledger import Ledger

log = logging.getLogger("popauthd.watch")


class Intake:
    """Judges events and enters them. Raises StoreError while they cannot be entered.

    many_ways: a login may be told by more than one source.
    """

    def __init__(self, ledger: Ledger, housekeeping: Housekeeping, *, many_ways: bool) -> None:
        self._ledger = ledger
        self._housekeeping = housekeeping
        self._limits = housekeeping.limits
        self._notes = housekeeping.notes
        self._many_ways = many_ways
        self._twice = Twice() if many_ways else None
        self._pending: Batch | None = None
        self._quiet = Quiet(log)

    @property
    def waiting(self) -> bool:
        """Whether a batch waits to be entered: call `enter_waiting` before anything is read."""
        return self._pending is not None

    def enter_waiting(self, now: int) -> None:
        """Try again to enter the batch that waits."""
        if self._pending is not None:
            self._enter(self._pending, now)
            self._pending = None

    def take_block(self, batch: Batch, events: Sequence[AnyEvent], now: int) -> None:
        """Enter what a block of a log taught, with its place in the log; `batch` waits if it cannot be entered."""
        batch.counts.update(self._notes.take_counts())
        self._judge(batch, events, now, holding=self._ledger.rules.hold_seconds > 0)
        self._pending = batch
        self.enter_waiting(now)

    def take(self, events: Sequence[AnyEvent], source: str, now: int, *, unread_seconds: int = 0) -> Entered:
        """Enter events that somebody hands in, at once; when this returns they are published.

        They open no session to be held: only a log tells of its end, and a log that does tells of its beginning.
        unread_seconds: see Batch.
        """
        self._housekeeping.tend_clock(now)
        batch = Batch(source, unread_seconds=unread_seconds)
        self._judge(batch, events, now, holding=False)
        return self._enter(batch, now)

    def _judge(self, batch: Batch, events: Sequence[AnyEvent], now: int, *, holding: bool) -> None:
        # The addresses that logins came in on are this machine's.
        self._limits.learn_own({event.local_address for event in events if isinstance(event, Login)} - {""})
        booted_at = self._housekeeping.clock.booted_at
        batch.learn(events, self._limits.now, now, holding=holding, twice=self._twice, booted_at=booted_at)

    def _enter(self, batch: Batch, now: int) -> Entered:
        with self._ledger.change() as writing:
            entered = batch.enter(writing, now, remember=self._many_ways)
        self._tell(batch.source, entered, now)
        return entered

    def _tell(self, source: str, entered: Entered, now: int) -> None:
        word = "would be granted (dry run)" if self._ledger.dry_run else "granted"
        for grant in entered.opened:
            log.info(
                "%s address=%s expires_at=%d user=%s source=%s",
                word, grant.address, grant.expires_at, safe(grant.user), source,
            )  # fmt: skip
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
