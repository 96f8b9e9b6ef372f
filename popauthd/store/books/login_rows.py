"""The latest login of each user from each address. Databases `logins`, `users` and `old`.

Each login has an entry in `old` at its expiry or earlier. As in `due` (published.py), a later expiry leaves the entry
where it is until it is looked at.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from ipaddress import IPv6Network, ip_address

from popauthd.policy.peer_names import MARK, is_peer_name
from popauthd.policy.user_list import lower
from popauthd.store.books.meta import Meta
from popauthd.store.books.outbox import Outbox
from popauthd.store.books.rows import (
    ADDRESS,
    SITE,
    USERS,
    LoginRow,
    applying,
    early,
    head_index,
    light_row,
    login_key,
    login_row,
    login_value,
    user_index,
    user_revocations,
    when,
)
from popauthd.store.books.rules import Rules
from popauthd.store.books.transaction import Transaction


class LoginRows:
    """Stores, finds and removes rows, with the indexes by user and by expiry.

    It does not publish anything, nor tell other nodes: the callers do. outbox: what tells them.
    """

    def __init__(self, transaction: Transaction, meta: Meta, rules: Rules, outbox: Outbox) -> None:
        self._transaction = transaction
        self._meta = meta
        self._rules = rules
        self.outbox = outbox

    def get(self, key: bytes) -> LoginRow | None:
        """The login of this key (see rows.login_key)."""
        value = self._transaction.get("logins", key)
        return None if value is None else login_row(key, value)

    def of(self, address: str = "") -> Iterator[LoginRow]:
        """The remembered logins from an address, or all of them; expired ones included."""
        for key, value in self._transaction.scan("logins", address.encode("ascii") + b"\0" if address else b""):
            yield login_row(key, value)

    def with_sessions(self, after: bytes = b"") -> Iterator[tuple[bytes, bytes, bool]]:
        """The remembered logins after a key as they are stored, with their keys; whether each has an open session."""
        for block in self._transaction.blocks("logins", after):
            held = set(self._transaction.keys("held", block[0][0], block[-1][0]))
            for key, value in block:
                yield key, value, key in held

    def within(self, net: IPv6Network) -> Iterator[LoginRow]:
        """The remembered logins from the addresses within an IPv6 /64, without those stored for the /64 itself."""
        groups = itertools.takewhile(lambda group: group != "0", (f"{part:x}" for part in _groups(net)))
        for key, value in self._transaction.scan("logins", "".join(f"{group}:" for group in groups).encode("ascii")):
            text = key.partition(b"\0")[0].decode("ascii")
            if ":" in text and "/" not in text and ip_address(text) in net:
                yield login_row(key, value)

    def of_user(self, user: str) -> Iterator[LoginRow]:
        """The remembered logins that a revocation of a user ends, from any address; expired ones included.

        Those that other nodes have told of are among them. user: a name, or a pseudonym: then this node's own logins of
        that user are looked for among those that have not expired, which takes 3 s for a million of them.
        """
        yield from self._named(user)
        for name in self._rules.pseudonyms(user):
            if name != lower(user):
                yield from self._named(name)
        if is_peer_name(user):
            yield from self._known_as(lower(user))

    def _known_as(self, pseudonym: str) -> Iterator[LoginRow]:
        pseudonyms, mark = self._rules.pseudonyms, MARK.encode("ascii")
        for block in self._transaction.blocks("logins"):
            for key, value in block:
                if key[key.index(0) + 1 :][:1] in (b"", mark) or int(value.split(b" ", 2)[1]) <= self._meta.latest_at:
                    continue
                row = login_row(key, value)
                if pseudonym in pseudonyms(row.user):
                    yield row

    def _named(self, user: str) -> Iterator[LoginRow]:
        mine = set(user_revocations(user))
        index = user_index(user)
        for key, _ in self._transaction.scan("users", index):
            row = self.get(key[len(index) :])
            if row is not None and not mine.isdisjoint(applying(row.address, row.user)):
                yield row

    def concerned(self, revocation: bytes) -> Iterator[bytes]:
        """The keys of the logins that a revocation may end, and of some others. revocation: its key (rows.applying)."""
        kind, name = revocation[:2], revocation[2:]
        if kind == ADDRESS:
            found = self._transaction.scan("logins", name + b"\0")
        elif kind == SITE:
            net = IPv6Network(name.decode("ascii"))
            yield from (login_key(row.address, row.user) for row in self.within(net))
            found = self._transaction.scan("logins", name + b"\0")
        elif kind in USERS and not name.startswith((b"\0", MARK.encode("ascii"))):
            index = head_index(name)
            yield from (key[len(index) :] for key, _ in self._transaction.scan("users", index))
            return
        else:  # everybody, or a name of which only a digest is known
            found = self._transaction.scan("logins")
        yield from (key for key, _value in found)

    def store(self, row: LoginRow, before: LoginRow | None) -> None:
        """Store a login in the place of the one `before`."""
        key = login_key(row.address, row.user)
        if before is None:
            self._transaction.put("users", user_index(row.user) + key, b"")
        elif row.expires_at < before.expires_at:
            self._transaction.delete("old", when(before.expires_at, key))  # it is there if nothing has extended it
        self._transaction.put("logins", key, login_value(row))
        if before is None or row.expires_at < before.expires_at:
            self._transaction.put("old", when(row.expires_at, key), b"")
        self._meta.note_login(row.login_at, row.stamped_at)

    def remove(self, row: LoginRow) -> None:
        """Forget a login."""
        key = login_key(row.address, row.user)
        self._transaction.delete("old", when(row.expires_at, key))
        self._transaction.delete("users", user_index(row.user) + key)
        self._transaction.delete("logins", key)

    def held(self, row: LoginRow) -> bool:
        """Whether a login has an open session."""
        return self._transaction.get("held", login_key(row.address, row.user)) is not None

    def may_be_forgotten(self, row: LoginRow, now: int) -> bool:
        """Whether an expired login can never grant again: by an open session, or if its line is read again.

        If its stamp is later than the time when it was first seen, the stamp may also be later than its revocation.
        So the login must be remembered until its line, read again, could grant nothing.
        """
        again_until = row.stamped_at + max(row.lifetime_seconds, self._rules.hold_seconds) if row.ahead_seconds else 0
        return again_until <= now and not self.held(row)

    def shorten(self, logins: Iterable[tuple[bytes, bytes, int]], now: int) -> None:
        """Store logins that are known and end earlier than before, each with its key, its value and its expiry."""
        logins = list(logins)
        self._transaction.put_many("logins", [(key, value) for key, value, _until in logins])
        self._transaction.put_many("old", early(((key, until) for key, _value, until in logins), now))

    def queue_anew(self) -> None:
        """Put every login into the queue at its expiry, and nowhere else."""
        self._transaction.empty("old")
        for block in self._transaction.blocks("logins"):
            entries = sorted((when(light_row(key, value)[3], key), b"") for key, value in block)
            self._transaction.put_many("old", entries)

    def forget(self, now: int, history_seconds: int, at_most: int) -> tuple[int, int]:
        """Forget logins that expired `history_seconds` ago and can never grant again.

        Returns their number, and how many entries of the queue were done with, at most `at_most`. The entry of a login
        that cannot be forgotten yet stays.
        """
        before, done = now - history_seconds, list[bytes]()
        rows, later = dict[bytes, LoginRow](), list[tuple[bytes, bytes]]()
        for entry, _ in self._transaction.scan("old"):
            if int.from_bytes(entry[:8], "big") > before or len(done) == at_most:
                break
            row = self.get(entry[8:])
            if row is not None and row.expires_at > before:
                later.append((when(row.expires_at, entry[8:]), b""))
            elif row is not None and not self.may_be_forgotten(row, now):
                continue
            elif row is not None:
                rows[entry[8:]] = row
            done.append(entry)
        self._transaction.delete_many("old", done)
        self._transaction.put_many("old", sorted(later))
        for row in rows.values():
            self.remove(row)
        return len(rows), len(done)


def _groups(net: IPv6Network) -> list[int]:
    packed = net.network_address.packed[:8]
    return [int.from_bytes(packed[index : index + 2], "big") for index in range(0, 8, 2)]
