"""What the relay map must hold: which addresses may relay, and until when. Databases `published` and `due`.

An address may relay while a login from it has not expired and is newer than every revocation that applies to it,
unless the address is shared.

Each published address has an entry in `due` at its expiry or earlier. A login that extends the expiry leaves the entry
where it is: when it is looked at, an entry that was too early is put at the expiry of that time, and one whose address
is not published any more is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import repeat

from popauthd.address import keys
from popauthd.model import PEER_FORMAT
from popauthd.store.block import Block
from popauthd.store.books.login_rows import LoginRows
from popauthd.store.books.meta import Meta
from popauthd.store.books.revocation_times import RevocationTimes
from popauthd.store.books.rows import LoginRow, early, when
from popauthd.store.books.rules import Rules
from popauthd.store.books.shared import SharedAddresses
from popauthd.store.books.transaction import Transaction

EXPIRED_AT_MOST = 200  # expired logins that are kept for an address when its users are counted
AFTER_ALL = b"\xff"  # no key begins so
SWEEP_AT_MOST = 5000  # entries in a transaction, so that one sweep never delays the reading of logs for long


class Published:
    """Publishes for each address what follows from its logins.

    `changes` collects the changes for the relay map: address -> expiry, or None to take the address out. If `cleared`
    is set, the map must be emptied first.
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

    def blocks(self) -> Iterator[Block]:
        """The same as `all`, many at once, as they are stored."""
        return self._transaction.blocks("published")

    def host_list(self) -> Iterator[Block]:
        """The same as `blocks`, in an order for Exim, which takes the first line that fits.

        Networks come last. An address within one of them gets the later of the two expiries.
        """
        return (rows for _begin, rows in self.host_pieces())

    def host_pieces(self) -> Iterator[tuple[bytes, Block]]:
        """The pieces of the host list, each with the key that it begins at; see `host_piece`."""
        networks: list[tuple[bytes, bytes]] = []
        for block in self.blocks():
            if b":" not in b"".join([key for key, _value in block]):  # most of them, and there may be a million
                yield block[0][0], block
                continue
            networks += [row for row in block if row[0].endswith(b"/64")]
            yield block[0][0], self._hosts(block)
        yield AFTER_ALL, networks

    def host_piece(self, begin: bytes, end: bytes) -> Block:
        """A piece of the host list as it is now. It has no networks: the last piece has them all."""
        return self._hosts(self._transaction.between("published", begin, end))

    def _hosts(self, block: Block) -> Block:
        return [self._with_network(*row) for row in block if not row[0].endswith(b"/64")]

    def _with_network(self, key: bytes, value: bytes) -> tuple[bytes, bytes]:
        """An address with the later expiry of its own and its network's."""
        if b":" not in key:
            return key, value
        others = (self._transaction.get("published", other.encode("ascii")) for other in keys(key.decode("ascii"))[1:])
        return key, max((value, *filter(None, others)), key=int)

    def expiry(self, address: str) -> int | None:
        """The published expiry of an address."""
        value = self._transaction.get("published", address.encode("ascii"))
        return None if value is None else int(value)

    def count(self) -> int:
        """How many addresses may relay, including those that have expired since the last sweep."""
        return self._transaction.count("published")

    def anything_due(self, now: int) -> bool:
        """Whether a sweep has anything to look at."""
        return self._transaction.any_due("due", now)

    def change(self, address: str, before: int | None, expires_at: int | None) -> None:
        """Publish an expiry, or None for no longer, in the place of the expiry `before`."""
        if before == expires_at:
            return
        key = address.encode("ascii")
        if before is not None and (expires_at is None or expires_at < before):
            self._transaction.delete("due", when(before, key))  # it is there if nothing has extended the expiry
        if expires_at is None:
            self._transaction.delete("published", key)
        else:
            self._transaction.put("published", key, b"%d" % expires_at)
            if before is None or expires_at < before:
                self._transaction.put("due", when(expires_at, key), b"")
        self.changes[address] = expires_at

    def queue_anew(self) -> None:
        """Put every address into the queue at its expiry, and nowhere else."""
        self._transaction.empty("due")
        for block in self.blocks():
            self._transaction.put_many("due", sorted((when(int(value), key), b"") for key, value in block))

    def publish_all(self) -> None:
        """Have this transaction publish everything anew at its end, whatever was published before."""
        self.cleared = True
        self.changes.update(self.all())

    def clear(self) -> int:
        """Publish nothing any more; returns how many addresses could relay until now."""
        closed = self.count()
        self._transaction.empty("published", "due", "shared")
        self.changes.clear()
        self.cleared = True
        return closed

    def stand(self, address: str, expires_at: int, now: int, *, anew: bool) -> str:
        """Publish that a login from an address stands until `expires_at`; returns "", or why the address may not relay.

        anew: this login did not stand before, so the users of the address must be counted again.
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

    def raise_to(self, expiries: Mapping[bytes, int], known: Mapping[bytes, bytes]) -> None:
        """Publish for addresses, none of them shared, that they stand until then: longer than before.

        expiries, known: by the key of an address, in the order of the keys. known: what is stored of those that are
        published.
        """
        self._transaction.put_many("published", [(key, b"%d" % at) for key, at in expiries.items()])
        fresh = sorted(when(at, key) for key, at in expiries.items() if key not in known)
        self._transaction.put_many("due", list(zip(fresh, repeat(b""))))
        self.changes.update(zip(map(bytes.decode, expiries), expiries.values(), strict=True))

    def lower_to(self, expiries: Mapping[bytes, int], now: int) -> None:
        """Publish for addresses, none of them shared, that they stand until then: not longer than before.

        expiries: by the key of an address, in the order of the keys; 0 for no longer.
        """
        known = self._transaction.get_many("published", list(expiries))
        other = {key: at for key, at in expiries.items() if at and known.get(key) != b"%d" % at}
        over = [key for key, at in expiries.items() if not at and key in known]
        self._transaction.delete_many("published", over)
        self._transaction.put_many("published", [(key, b"%d" % at) for key, at in other.items()])
        self._transaction.put_many("due", early(other.items(), now))
        self.changes.update((key.decode("ascii"), at) for key, at in other.items())
        self.changes.update((key.decode("ascii"), None) for key in over)

    def recompute(self, address: str, now: int) -> None:
        """Publish what follows from all logins from an address that stand at `now`."""
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
        users = [row.expires_at for row in self._users(standing) for _ in range(row.logins)]
        if self._shared.count_users(address, users, now):
            standing = [row for row in standing if not row.user]  # an administrator's grant by hand stays
        expires_at = max((row.expires_at for row in standing), default=None)
        self.change(address, self.expiry(address), expires_at)

    def _users(self, standing: list[LoginRow]) -> Iterator[LoginRow]:
        """The logins by which the users of an address are counted.

        A user who has logged in here and on another node is one user.
        """
        here = (row.user for row in standing if row.user and row.format != PEER_FORMAT)
        known_as = {name for user in here for name in self._rules.pseudonyms(user)}
        return (row for row in standing if row.user and not (row.format == PEER_FORMAT and row.user in known_as))

    def recompute_all(self, addresses: Iterable[str], now: int) -> None:
        """Do the same for several addresses."""
        for address in addresses:
            self.recompute(address, now)

    def sweep(self, now: int) -> int:
        """Take out expired addresses; returns how many were looked at, at most SWEEP_AT_MOST."""
        self._meta.note_time(now)
        due = self._transaction.due("due", now, SWEEP_AT_MOST)
        published = self._transaction.get_many("published", {entry[8:] for entry in due})
        expired = [key for key, value in published.items() if int(value) <= now]
        self._transaction.delete_many("due", due)
        self._transaction.delete_many("published", expired)
        later = sorted((when(int(value), key), b"") for key, value in published.items() if int(value) > now)
        self._transaction.put_many("due", later)
        self.changes.update((key.decode("ascii"), None) for key in expired)
        return len(due)
