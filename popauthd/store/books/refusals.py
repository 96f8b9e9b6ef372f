"""The latest refusal of each address, to explain it. Database `refusals`."""

from __future__ import annotations

from popauthd.model import Refusal
from popauthd.store.books.revocation_file import USER_BYTES
from popauthd.store.books.transaction import Transaction


class Refusals:
    """Remembers one refusal for each address."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    def of(self, address: str) -> Refusal | None:
        """The latest refusal of a login from an address."""
        value = self._transaction.get("refusals", address.encode("ascii"))
        if value is None:
            return None
        facts, _, user = value.partition(b"\0")
        at, _, reason = facts.partition(b" ")
        return Refusal(reason.decode("ascii"), int(at), address, user.decode("utf-8", "backslashreplace"))

    def remember(self, refusal: Refusal) -> None:
        """Remember the latest refusal of an address. A refusal without address or time is not remembered."""
        if refusal.address and refusal.at is not None:
            facts = f"{refusal.at} {refusal.reason}".encode("ascii")
            user = refusal.user.encode("utf-8", "backslashreplace")[:USER_BYTES]
            self._transaction.put("refusals", refusal.address.encode("ascii"), facts + b"\0" + user)


def is_before(value: bytes, at: int) -> bool:
    """Whether a refusal is of an earlier time than `at`."""
    return int(value.split(b" ", 1)[0]) < at
