"""Shared addresses: many users log in from them, so they are not granted. Database `shared`."""

from __future__ import annotations

from collections.abc import Iterator

from popauthd.model import SharedAddress
from popauthd.store.books.rules import Rules
from popauthd.store.books.transaction import Transaction

REMEMBERED_SECONDS = 86400  # the log does not tell of the same shared address again within this time


class SharedAddresses:
    """Knows which addresses are shared. `newly` collects those that the log must tell of."""

    def __init__(self, transaction: Transaction, rules: Rules) -> None:
        self._transaction = transaction
        self._rules = rules
        self.newly: list[SharedAddress] = []

    def of(self, address: str) -> SharedAddress | None:
        """What is known of a shared address; None if it is not known as shared."""
        value = self._transaction.get("shared", address.encode("ascii"))
        return None if value is None else SharedAddress(address, *map(int, value.split(b" ")))

    def holds(self, address: str) -> bool:
        """Whether an address is shared now, and so not granted."""
        found = self.of(address)
        return found is not None and found.until > 0

    def all(self) -> Iterator[SharedAddress]:
        """Every address that is shared, or was shared until lately."""
        for key, value in self._transaction.scan("shared"):
            yield SharedAddress(key.decode("ascii"), *map(int, value.split(b" ")))

    def due(self, now: int) -> list[str]:
        """The addresses that may no longer be shared: their users must be counted again."""
        return [shared.address for shared in self.all() if 0 < shared.until <= now]

    def count_users(self, address: str, expiries: list[int], now: int) -> bool:
        """Note whether an address is shared; returns it. expiries: of the standing logins of its users."""
        limit = self._rules.shared_users
        before = self.of(address)
        if not limit or len(expiries) <= limit or self._rules.spared(address):
            if before is not None and before.until:
                self._put(SharedAddress(address, before.since, 0, len(expiries)))
            return False
        until = sorted(expiries, reverse=True)[limit]  # if nobody logs in again, too many users stand until then
        found = SharedAddress(address, before.since if before else now, until, len(expiries))
        if before is None:
            self.newly.append(found)
        self._put(found)
        return True

    def _put(self, shared: SharedAddress) -> None:
        facts = f"{shared.since} {shared.until} {shared.users}".encode("ascii")
        self._transaction.put("shared", shared.address.encode("ascii"), facts)


def is_over(value: bytes, before: int) -> bool:
    """Whether an address is no longer shared, and became shared earlier than `before`."""
    since, until, _users = map(int, value.split(b" "))
    return not until and since < before
