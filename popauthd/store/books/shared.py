"""Addresses that many users log in from, which are not granted. Database `shared`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from popauthd.store.books.rules import Rules
from popauthd.store.books.transaction import Transaction

REMEMBERED_SECONDS = 86400  # an address that was shared is not told of again so long


@dataclass(frozen=True, slots=True)
class Shared:
    """An address that many users log in from. It is not granted before `until`; 0: it was shared, and is no more."""

    address: str
    since: int
    until: int
    users: int


class SharedAddresses:
    """Knows which addresses are shared. `newly` collects those that were found to be, for the first time in a while."""

    def __init__(self, transaction: Transaction, rules: Rules) -> None:
        self._transaction = transaction
        self._rules = rules
        self.newly: list[Shared] = []

    def of(self, address: str) -> Shared | None:
        """What is known of an address as a shared one."""
        value = self._transaction.get("shared", address.encode("ascii"))
        return None if value is None else Shared(address, *map(int, value.split(b" ")))

    def holds(self, address: str) -> bool:
        """Whether an address is not granted because too many users log in from it."""
        found = self.of(address)
        return found is not None and found.until > 0

    def all(self) -> Iterator[Shared]:
        """Every address that is shared, or was until lately."""
        for key, value in self._transaction.scan("shared"):
            yield Shared(key.decode("ascii"), *map(int, value.split(b" ")))

    def due(self, now: int) -> list[str]:
        """The addresses that may be shared no more: their users must be counted again."""
        return [shared.address for shared in self.all() if 0 < shared.until <= now]

    def count_users(self, address: str, expiries: list[int], now: int) -> bool:
        """Note whether an address is shared, given when the logins of its users end."""
        limit = self._rules.shared_users
        before = self.of(address)
        if not limit or len(expiries) <= limit or self._rules.spared(address):
            if before is not None and before.until:
                self._put(Shared(address, before.since, 0, len(expiries)))
            return False
        until = sorted(expiries, reverse=True)[limit]  # with no further login, too many users stand until then
        found = Shared(address, before.since if before else now, until, len(expiries))
        if before is None:
            self.newly.append(found)
        self._put(found)
        return True

    def _put(self, shared: Shared) -> None:
        facts = f"{shared.since} {shared.until} {shared.users}".encode("ascii")
        self._transaction.put("shared", shared.address.encode("ascii"), facts)


def is_over(value: bytes, before: int) -> bool:
    """Whether an address is not shared any more, and was found to be before that time."""
    since, until, _users = map(int, value.split(b" "))
    return not until and since < before
