"""The parts of the books that answer questions, within one LMDB transaction."""

from __future__ import annotations

from popauthd.store.books.counters import Counters
from popauthd.store.books.login_rows import LoginRows
from popauthd.store.books.meta import Meta
from popauthd.store.books.outbox import Outbox
from popauthd.store.books.places import Places
from popauthd.store.books.published import Published
from popauthd.store.books.refusals import Refusals
from popauthd.store.books.revocation_times import RevocationTimes
from popauthd.store.books.rules import Rules
from popauthd.store.books.sessions import Sessions
from popauthd.store.books.shared import SharedAddresses
from popauthd.store.books.transaction import Transaction


class Reading:
    """The parts of the books, for questions. Only `Writing` changes anything."""

    def __init__(self, transaction: Transaction, rules: Rules) -> None:
        self.transaction = transaction
        self.meta = Meta(transaction)
        self.counters = Counters(transaction, self.meta)
        self.places = Places(transaction)
        self.refusals = Refusals(transaction)
        self.outbox = Outbox(transaction, rules, self.counters)
        self.logins = LoginRows(transaction, self.meta, rules, self.outbox)
        self.revocations = RevocationTimes(transaction, rules)
        self.shared = SharedAddresses(transaction, rules)
        self.published = Published(transaction, self.meta, self.logins, self.revocations, self.shared, rules)
        self.sessions = Sessions(transaction, self.meta, self.logins, self.revocations, self.published, rules)
