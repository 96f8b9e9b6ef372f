"""What the relay map must hold: which addresses may relay, and until when. Databases `published` and `due`.

An address may relay while a login on it is newer than every revocation that applies and its expiry lies ahead, unless
it is shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from popauthd.address import keys
from popauthd.store.books.login_rows import LoginRows
from popauthd.store.books.meta import Meta
from popauthd.store.books.revocation_times import RevocationTimes
from popauthd.store.books.rows import LoginRow, when
from popauthd.store.books.rules import Rules
from popauthd.store.books.shared import SharedAddresses
from popauthd.store.books.transaction import Transaction

EXPIRED_AT_MOST = 200  # expired logins that are kept for an address when its users are counted
SWEEP_AT_MOST = 5000  # entries a transaction, so that one sweep never holds up reading for long


class Published:
    """Keeps what is published in line with the logins of each address.

    `changes` collects what the relay map must be told: address -> expiry, or None to take it out. If `cleared`,
    everything else is taken out before.
    """

    def __init__(
        self,
        transaction: Transaction,
        meta: Meta,
        rows: LoginRows,
        times: RevocationTimes,
        shared: SharedAddresses,
        rules: Rules,
    ) -> None:
        self._transaction = transaction
        self._meta = meta
        self._rows = rows
        self._times = times
        self._shared = shared
        self._rules = rules
        self.changes: dict[str, int | None] = {}
        self.cleared = False

    def all(self) -> Iterator[tuple[str, int]]:
        """Every address with its expiry, as the relay map must hold them."""
        for key, value in self._transaction.scan("published"):
            yield key.decode("ascii"), int(value)

    def host_list(self) -> Iterator[tuple[str, int]]:
        """What `all` gives, in an order for a reader that takes the first line that fits.

        Networks come last, and an address in one of them has the later of the two expiries.
        """
        networks = []
        for key, expires_at in self.all():
            if ":" not in key:  # most of them, and there may be a million
                yield key, expires_at
            elif key.endswith("/64"):
                networks.append(key)
            else:
                others = (self.expiry(other) or 0 for other in keys(key)[1:])
                yield key, max(expires_at, *others, 0)
        for key in networks:
            yield key, self.expiry(key) or 0

    def expiry(self, address: str) -> int | None:
        """The published expiry of an address."""
        value = self._transaction.get("published", address.encode("ascii"))
        return None if value is None else int(value)

    def count(self) -> int:
        """How many addresses may relay, those included that have run out since the last sweep."""
        return self._transaction.count("published")

    def anything_due(self, now: int) -> bool:
        """Whether an address has run out and must be taken out of the map."""
        return self._transaction.any_due("due", now)

    def change(self, address: str, before: int | None, expires_at: int | None) -> None:
        """Publish an expiry, or None, in the place of the one `before`."""
        if before == expires_at:
            return
        key = address.encode("ascii")
        if before is not None:
            self._transaction.delete("due", when(before, key))
        if expires_at is None:
            self._transaction.delete("published", key)
        else:
            self._transaction.put("published", key, b"%d" % expires_at)
            self._transaction.put("due", when(expires_at, key), b"")
        self.changes[address] = expires_at

    def clear(self) -> int:
        """Publish nothing any more; returns how many addresses could relay."""
        closed = self.count()
        self._transaction.empty("published", "due", "shared")
        self.changes.clear()
        self.cleared = True
        return closed

    def stand(self, address: str, expires_at: int, now: int, *, anew: bool) -> str:
        """Publish that a login of an address stands until `expires_at`; "" or the reason why it opens nothing.

        anew: it did not stand before, so the users of the address must be counted.
        """
        before = self.expiry(address)
        if anew and self._rules.shared_users and before is not None:
            self.recompute(address, now)
            return "shared-address" if self._shared.holds(address) else ""
        if self._shared.holds(address):
            return "shared-address"
        if before is None or expires_at > before:
            self.change(address, before, expires_at)
        return ""

    def recompute(self, address: str, now: int) -> None:
        """Publish what follows from all logins of an address that stand at `now`."""
        standing: list[LoginRow] = []
        expired: list[LoginRow] = []
        for row in self._rows.of(address):
            if row.expires_at <= now:
                expired.append(row)
            elif not self._times.end(row):
                standing.append(row)
        for row in sorted(expired, key=lambda row: -row.expires_at)[EXPIRED_AT_MOST:]:
            if self._rows.may_be_forgotten(row, now):
                self._rows.remove(row)
        users = [row.expires_at for row in standing if row.user for _ in range(row.logins)]
        if self._shared.count_users(address, users, now):
            standing = [row for row in standing if not row.user]  # an administrator's own word stays
        expires_at = max((row.expires_at for row in standing), default=None)
        self.change(address, self.expiry(address), expires_at)

    def recompute_all(self, addresses: Iterable[str], now: int) -> None:
        """The same for several addresses."""
        for address in addresses:
            self.recompute(address, now)

    def sweep(self, now: int) -> int:
        """Take out what has run out, at most SWEEP_AT_MOST entries; returns how many were."""
        self._meta.note_time(now)
        due = self._transaction.due("due", now, SWEEP_AT_MOST)
        for key in due:
            address = key[8:].decode("ascii")
            self.change(address, self.expiry(address), None)
        return len(due)
