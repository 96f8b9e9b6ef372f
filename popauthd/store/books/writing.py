"""The parts of the books that change them, within one LMDB write transaction."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

from popauthd.store.books import counters, refusals, revocation_times, shared
from popauthd.store.books.bulk import Bulk
from popauthd.store.books.logins import Logins
from popauthd.store.books.peers import Peers
from popauthd.store.books.published import SWEEP_AT_MOST
from popauthd.store.books.reading import Reading
from popauthd.store.books.revocations import Revocations
from popauthd.store.books.rules import Rules
from popauthd.store.books.transaction import Transaction


class Writing:
    """The parts of the books, for changes, and the changes that concern several parts.

    rows: the stored logins. times: the stored revocations. bulk: enters many logins and session ends at once. The other
    parts have the names of what they hold. peers: enters what other nodes tell.
    """

    def __init__(self, transaction: Transaction, rules: Rules) -> None:
        known = Reading(transaction, rules)
        self.transaction = transaction
        self.meta = known.meta
        self.counters = known.counters
        self.places = known.places
        self.refusals = known.refusals
        self.outbox = known.outbox
        self.rows = known.logins
        self.times = known.revocations
        self.shared = known.shared
        self.published = known.published
        self.sessions = known.sessions
        self.logins = Logins(self.rows, self.times, self.published, self.shared, self.sessions, self.meta, rules)
        self.revocations = Revocations(self.rows, self.times, self.published, self.logins, self.meta, rules)
        self.bulk = Bulk(transaction, self.meta, self.times, self.published, self.sessions, rules, self.outbox)
        self.peers = Peers(self.rows, self.times, self.published, self.logins)
        self.more_to_forget = False

    def finish(self) -> None:
        """Write down the times that were noted, and what is to be told to others: the last step of a transaction."""
        self.outbox.revocations(self.revocations.made)
        self.meta.finish()

    def recount(self, now: int) -> None:
        """Count again the users of shared addresses that are due for it."""
        self.published.recompute_all(self.shared.due(now), now)

    def forget(self, now: int, history_seconds: int, at_most: int = SWEEP_AT_MOST) -> int:
        """Forget what no longer matters, at most `at_most` entries of each kind; returns the number of logins.

        `more_to_forget` then says whether it must be called again, in another transaction.
        """
        logins, done = self.rows.forget(now, history_seconds, at_most)
        most = max(done, self.sessions.forget_ended(now, at_most))
        refused_before = now - max(history_seconds, 3600)
        stale: dict[str, Callable[[bytes, bytes], bool]] = {
            "counters": lambda key, _value: counters.is_old(key, now),
            "refusals": lambda _key, value: refusals.is_before(value, refused_before),
            "shared": lambda _key, value: shared.is_over(value, now - shared.REMEMBERED_SECONDS),
            "revocations": lambda _key, value: revocation_times.is_over(value, now),
        }
        for database, is_stale in stale.items():
            found = (key for key, value in self.transaction.scan(database) if is_stale(key, value))
            keys = list(islice(found, at_most))
            for key in keys:
                self.transaction.delete(database, key)
            most = max(most, len(keys))
        self.more_to_forget = most >= at_most
        return logins

    def clock_was_set_back(self, seconds: int, now: int) -> None:
        """Move every time that would now be too late, so that no grant outlives its lifetime in real time.

        now: the wall clock after the step. Times that are already past stay. The others move by the whole step, so
        a grant that had expired before the step does not come back, and a revoked login stays revoked.
        """
        for row in [row for row in self.rows.of() if row.expires_at > now]:
            revoked_at = self.times.latest_at(row.address, row.user)
            login_at = row.login_at - seconds
            if revoked_at < row.login_at and revoked_at <= now:  # the revocation stays, so the login must stay later
                login_at = max(login_at, revoked_at + 1)
            expires_at = row.expires_at - seconds
            if row.lifetime_seconds:
                expires_at = min(expires_at, now + row.lifetime_seconds)
            self.rows.store(row._replace(login_at=login_at, expires_at=expires_at), row)
        self.sessions.move(seconds)
        self.times.move(seconds, now)
        self.meta.clock_was_set_back(seconds, now)
        addresses = {address for address, _expiry in self.published.all()}
        self.published.recompute_all(addresses.union(found.address for found in self.shared.all()), now)
        self.rows.queue_anew()
        self.published.queue_anew()
