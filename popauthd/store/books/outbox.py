"""What this node has to tell the other nodes of a cluster and has not yet. Database `outbox`.

Of each key (a user's login from an address, a grant by hand, a revocation) only the latest value is kept, so it never
holds more than the books themselves, however long nobody can be told. An entry is made in the transaction that enters
what it tells. It is removed when the engine has it, unless it has changed meanwhile.

Only what this node itself has learnt is entered: a row that came from a peer is not, as that peer tells of it. Nothing
is entered where Rules has no pseudonyms, so one machine never has anything here.

LIMIT: a login by a user name that its server has cut is not told: nobody knows whose it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from popauthd.cluster.events import PeerEvent, PeerGrant, PeerLogin, PeerRevocation
from popauthd.model import PEER_FORMAT
from popauthd.policy.cut_names import may_be_cut
from popauthd.store.books.counters import Counters
from popauthd.store.books.revocation_file import RevocationRecord
from popauthd.store.books.rows import ADDRESS, EVERYBODY, SITE, USER, LoginRow, login_row
from popauthd.store.books.rules import Rules
from popauthd.store.books.transaction import Transaction

LOGIN, GRANT, REVOCATION = b"l", b"g", b"r"
SKEW_SECONDS = 5  # how far the clocks of nodes may lie apart without a correction; see popauthd/cluster/offset.py

Entry = tuple[bytes, bytes]


class Outbox:
    """Takes in what is to be told, and gives it out."""

    def __init__(self, transaction: Transaction, rules: Rules, counters: Counters) -> None:
        self._transaction = transaction
        self._rules = rules
        self.counters = counters

    def login(self, row: LoginRow, now: int) -> None:
        """Enter a login, or a grant by hand, that stands."""
        if not self._rules.replicate or row.format == PEER_FORMAT or row.expires_at <= now:
            return
        event = told(row, self._rules, now)
        if event is not None:
            self.put(event)
        else:
            self.counters.add({"cluster.not-sent": 1}, now)

    def stored(self, stored: Iterable[Entry], now: int) -> None:
        """Enter those of many logins that stand, as they are stored."""
        if self._rules.replicate:
            for key, value in stored:
                self.login(login_row(key, value), now)

    def revocations(self, records: Iterable[RevocationRecord]) -> None:
        """Enter revocations."""
        if self._rules.replicate:
            for record in records:
                for event in revocations_told(record, self._rules):
                    self.put(event)

    def put(self, event: PeerEvent) -> None:
        """Enter an event: the maximum of its times and those that wait already."""
        key = _key(event)
        waiting = self._transaction.get("outbox", key)
        value = _value(event if waiting is None else _later(event, _event(key, waiting)))
        if value != waiting:
            self._transaction.put("outbox", key, value)

    def count(self) -> int:
        """How many events wait."""
        return self._transaction.count("outbox")

    def waiting(self, at_most: int, but: Collection[Entry] = ()) -> list[tuple[Entry, PeerEvent]]:
        """Events that wait, revocations first. Each with its entry, for `sent`. but: entries to leave out."""
        found: list[tuple[Entry, PeerEvent]] = []
        for kind in (REVOCATION, GRANT, LOGIN):
            for key, value in self._transaction.scan("outbox", kind):
                if len(found) == at_most:
                    return found
                if (key, value) in but:
                    continue
                found.append(((key, value), _event(key, value)))
        return found

    def sent(self, entries: Iterable[Entry]) -> None:
        """Remove what was told, unless it has changed since it was given out."""
        for key, value in entries:
            if self._transaction.get("outbox", key) == value:
                self._transaction.delete("outbox", key)

    def clear(self) -> None:
        """Tell nothing of it any more: this node is in no cluster, or in another one."""
        if self.count():
            self._transaction.empty("outbox")


def told(row: LoginRow, rules: Rules, now: int) -> PeerEvent | None:
    """What others are told of a row: None if nobody knows whose login it is.

    A row says how long it stands, and so until when its session was known to be open.
    """
    at = row.login_at
    if not row.user:
        return PeerGrant(row.address, at, max(at, row.expires_at))
    names = rules.pseudonyms(row.user)
    if may_be_cut(row.user) or not names:
        return None
    open_at = min(row.expires_at - row.lifetime_seconds, now) if row.lifetime_seconds else at
    return PeerLogin(row.address, names[0], at, max(at, open_at), row.protocol, row.method, row.tls)


def revocations_told(record: RevocationRecord, rules: Rules) -> Iterator[PeerRevocation]:
    """What others are told of a revocation.

    That of an address also ends its /64, and a user's also ends names that may be his: who is told works that out.
    LIMIT: a user's name that was cut, or is longer than 200 bytes, is not told.
    """
    kind, name = record.key[:2], record.key[2:]
    # What was stamped ahead of this clock by more is no matter of clocks that differ a little.
    at = record.at + (record.ahead_seconds if record.ahead_seconds <= SKEW_SECONDS else 0)
    if record.key == EVERYBODY:
        yield PeerRevocation(at)
    elif kind == SITE or (kind == ADDRESS and not name.endswith(b"/64")):
        yield PeerRevocation(at, address=name.decode("ascii"))
    elif kind == USER and not name.startswith(b"\0"):
        for user in rules.pseudonyms(name.decode("utf-8", "backslashreplace")):
            yield PeerRevocation(at, user=user)


def rows_told(rows: Iterable[Entry], rules: Rules, now: int) -> Iterator[tuple[LoginRow, PeerEvent]]:
    """What others are told of stored rows that are this node's own and have not run out; whether revoked or not."""
    for key, value in rows:
        row = login_row(key, value)
        if row.format != PEER_FORMAT and row.expires_at > now and (event := told(row, rules, now)) is not None:
            yield row, event


def _key(event: PeerEvent) -> bytes:
    if isinstance(event, PeerLogin):
        return LOGIN + f"{event.address}\0{event.user}".encode("ascii")
    if isinstance(event, PeerGrant):
        return GRANT + event.address.encode("ascii")
    assert isinstance(event, PeerRevocation)
    return REVOCATION + f"{event.address}\0{event.user}".encode("ascii")


def _value(event: PeerEvent) -> bytes:
    if isinstance(event, PeerLogin):
        line = f"{int(event.tls)} {event.protocol}\0{event.method}".encode("utf-8", "backslashreplace")
        return b"%d %d %b" % (event.at, event.open_at, line)
    if isinstance(event, PeerGrant):
        return b"%d %d" % (event.at, event.expires_at)
    assert isinstance(event, PeerRevocation)
    return b"%d" % event.at


def _event(key: bytes, value: bytes) -> PeerEvent:
    kind, name = key[:1], key[1:].decode("ascii")
    if kind == LOGIN:
        address, _, user = name.partition("\0")
        at, open_at, line = value.split(b" ", 2)
        tls, _, rest = line.decode("utf-8").partition(" ")
        protocol, _, method = rest.partition("\0")
        return PeerLogin(address, user, int(at), int(open_at), protocol, method, tls == "1")
    if kind == GRANT:
        return PeerGrant(name, *map(int, value.split(b" ")))
    address, _, user = name.partition("\0")
    return PeerRevocation(int(value), address, user)


def _later(event: PeerEvent, other: PeerEvent) -> PeerEvent:
    """One event that does the same as two of one key. Of two grants by hand the later one counts alone."""
    if isinstance(event, PeerLogin) and isinstance(other, PeerLogin):
        newer = max(event, other, key=lambda one: (one.at, one.protocol, one.method, one.tls))
        open_at = max(event.open_at, other.open_at)
        return PeerLogin(newer.address, newer.user, newer.at, open_at, newer.protocol, newer.method, newer.tls)
    if isinstance(event, PeerGrant) and isinstance(other, PeerGrant):
        return max(event, other, key=lambda one: (one.at, one.expires_at))
    assert isinstance(event, PeerRevocation)
    assert isinstance(other, PeerRevocation)
    return event if event.at >= other.at else other
