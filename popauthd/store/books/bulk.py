"""Enters many plain logins and session ends at once: the same in the end as one by one, and many times faster.

What the books know of the keys and sessions in question is read at once, in the order of the keys. Then the entries
are played through in the order of the log, in memory (bulk_play.py). What has changed is written at once, again in the
order of the keys.

Plain is a login whose stamp is its effective time. What else may happen to a login (a revocation applies to it, its
address is or may be shared, an entry that is not plain names the address) is left to the code that enters one by one.
It is left for an address as a whole, with all its sessions: what is entered here then has nothing to do with it, so
it does not matter which of the two is entered first. tests/unit/watch/test_bulk.py holds both to the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import pairwise, repeat
from operator import add, itemgetter

from popauthd.store.books.bulk_play import NEVER, Plain, Play, Row
from popauthd.store.books.meta import Meta
from popauthd.store.books.outbox import Outbox
from popauthd.store.books.published import EXPIRED_AT_MOST, Published
from popauthd.store.books.revocation_times import RevocationTimes
from popauthd.store.books.rows import indexes_of, name_is_known, when
from popauthd.store.books.rules import Rules
from popauthd.store.books.sessions import ENDED_SECONDS, OPEN_AT_MOST, Sessions
from popauthd.store.books.transaction import Transaction

Entries = list[Plain]
Touched = tuple[bytes, bytes, Row]  # the key of a login, its address, and what is known of it


class Bulk:
    """Enters plain entries at once, as far as they can be."""

    def __init__(
        self,
        transaction: Transaction,
        meta: Meta,
        times: RevocationTimes,
        published: Published,
        sessions: Sessions,
        rules: Rules,
        outbox: Outbox,
    ) -> None:
        self._transaction = transaction
        self._meta = meta
        self._times = times
        self._published = published
        self._sessions = sessions
        self._rules = rules
        self._outbox = outbox

    def enter(
        self, entries: Entries, odd: Collection[bytes], names: Iterable[bytes], now: int, *, remember: bool
    ) -> tuple[Entries, Entries]:
        """Enter what can be entered here, in the order of the log.

        odd: the addresses that other entries name, and `names` the sessions. remember: see Sessions.end. Returns the
        logins that opened an address, and the entries that must be entered one by one.
        """
        sessions = set(map(itemgetter(3), entries)) - {b""}
        if sessions and not self._rules.hold_seconds:
            return [], entries
        known = self._transaction.get_many("sessions", sessions)
        found = set(map(itemgetter(2), entries))
        found.update(key for key in known.values() if not key.startswith(b"-"))
        keys = sorted(found - {b""})
        addresses = list(map(_address, keys))
        stored = self._transaction.get_many("logins", keys)
        held = self._transaction.get_many("held", keys)
        published = self._transaction.get_many("published", list(dict.fromkeys(addresses)))
        rows, doubtful = _read_rows(stored, now)
        doubtful.update(odd, self._odd(entries, now), self._busy(entries, held))
        doubtful.update(self._revoked(keys, entries, rows, held))
        if self._rules.shared_users:
            doubtful.update(self._crowded(keys, addresses, rows, published, now))
        entries, left = _parted(entries, known, doubtful, names)
        play = Play(rows, known, held, self._rules.hold_seconds, now, remember=remember)
        play.through(entries)
        self._write_sessions(play, now)
        touched = [(key, address, row) for key, address in zip(keys, addresses, strict=True) if (row := rows.get(key))]
        self._outbox.stored(self._write_logins(touched), now)
        return self._publish(touched, published), left

    def _odd(self, entries: Entries, now: int) -> set[bytes]:
        """The addresses that have an entry whose time is not plain, and those that are or were shared."""
        odd = {
            _address(key)
            for _place, at, key, _session, lifetime, _kind, late in entries
            if key and (at > now or (at + lifetime <= now and not late))
        }
        odd.update(key for key, _value in self._transaction.scan("shared"))
        return odd

    def _revoked(
        self, keys: list[bytes], entries: Entries, rows: Mapping[bytes, Row], held: Mapping[bytes, bytes]
    ) -> set[bytes]:
        """The addresses that have a login which a revocation may end, or may have ended."""
        if not self._transaction.count("revocations"):
            return set()
        unsure = {key for key in keys if not name_is_known(key)}  # a session's login may be such
        until = self._times.until(key for key in keys if key not in unsure)
        ended = {key for key, at in until.items() if key in held or ((row := rows.get(key)) and row.at <= at)}
        ended.update(key for _place, at, key, *_rest in entries if at <= until.get(key, NEVER))
        return set(map(_address, ended | unsure))

    def _busy(self, entries: Entries, held: Mapping[bytes, bytes]) -> set[bytes]:
        """The addresses that have a login which may have more open sessions than are held."""
        logins = Counter(map(itemgetter(2), entries))
        del logins[b""]
        open_of = {key: value.count(b"\n") for key, value in held.items()}
        if max(logins.values(), default=0) + max(open_of.values(), default=0) <= OPEN_AT_MOST:
            return set()
        return {_address(key) for key, number in logins.items() if number + open_of.get(key, 0) > OPEN_AT_MOST}

    def _crowded(
        self,
        keys: list[bytes],
        addresses: list[bytes],
        rows: Mapping[bytes, Row],
        published: Mapping[bytes, bytes],
        now: int,
    ) -> set[bytes]:
        """The addresses that may be found to be shared, or of which too much is known, when their users are counted.

        They are counted when a login of a user who had none that stands comes from an address that may relay already.
        """
        with_others = {one for one, other in pairwise(addresses) if one == other}
        counted = [
            address
            for key, address in zip(keys, addresses, strict=True)
            if (address in published or address in with_others) and ((row := rows.get(key)) is None or row.until <= now)
        ]
        if not counted:
            return set()
        most = min(self._rules.shared_users, EXPIRED_AT_MOST)
        new = Counter([address for key, address in zip(keys, addresses, strict=True) if key not in rows])
        return {
            address
            for address in set(counted)
            if self._may_be_shared(address, int(published.get(address, 0)), most - new[address], now)
        }

    def _may_be_shared(self, address: bytes, published: int, most: int, now: int) -> bool:
        """Whether an address has more users than `most`, or may relay until another time than its logins say."""
        until = number = 0
        for _key, value in self._transaction.scan("logins", address + b"\0"):
            _login_at, expires_at, _lifetime, _ahead, logins, _rest = value.split(b" ", 5)
            number += int(logins)
            until = max(until, int(expires_at))
        return number > most or (published != until and max(published, until) > now)

    def _write_logins(self, touched: list[Touched]) -> list[tuple[bytes, bytes]]:
        """Write the logins that changed; returns them as they are stored."""
        stored, fresh, old, latest = [], [], [], 0
        for key, address, row in touched:
            newest, until = row.newest, row.until
            if newest is not None:
                _place, at, _key, _session, lifetime, kind, _late = newest
                stored.append((key, b"%d %d %d 0 1 %b%b" % (at, until, lifetime, kind, key[len(address) + 1 :])))
            elif until != row.was_until:
                login_at, _expires_at, rest = row.before.split(b" ", 2)
                stored.append((key, b"%b %d %b" % (login_at, until, rest)))
            else:
                continue
            if row.at > latest:
                latest = row.at
            if not row.before:
                fresh.append(key)
            if not row.before or until < row.was_until:
                old.append((when(until, key), b""))
        self._transaction.put_many("logins", stored)
        self._transaction.put_many("users", sorted(zip(map(add, indexes_of(fresh), fresh), repeat(b""))))
        self._transaction.put_many("old", sorted(old))
        if stored:
            self._meta.note_login(latest, latest)
        return stored

    def _write_sessions(self, play: Play, now: int) -> None:
        over = [name for name, value in play.sessions.items() if not value]
        self._transaction.delete_many("sessions", over)
        self._transaction.put_many("sessions", sorted(filter(itemgetter(1), play.sessions.items())))
        self._transaction.put_many("gone", [(when(now + ENDED_SECONDS, name), b"") for name in sorted(play.ended)])
        held, renew, empty, gone = [], [], [], []
        for key, one in play.held().items():
            value = one.value()
            if value == one.before:
                continue
            if one.was_due and one.was_due != one.due:
                gone.append(when(one.was_due, key))
            if value:
                held.append((key, value))
                renew.append((when(one.due, key), b""))
            else:
                empty.append(key)
        self._transaction.delete_many("renew", gone)
        self._transaction.delete_many("held", empty)
        self._transaction.put_many("held", sorted(held))
        self._transaction.put_many("renew", sorted(renew))
        if play.told:
            self._sessions.note_end(now)

    def _publish(self, touched: list[Touched], published: Mapping[bytes, bytes]) -> Entries:
        """Publish what stands; returns the logins that opened their address. published: what was before."""
        expiries: dict[bytes, int] = {}
        opened: list[Plain] = []
        for address, until, first, lifted in _standing(touched):
            before = published.get(address)
            if before is None:
                if first is not None and not 0 <= lifted < first[0]:
                    opened.append(first)
            elif until <= int(before):
                continue
            expiries[address] = until
        self._published.raise_to(expiries, published)
        return opened


def _standing(touched: list[Touched]) -> Iterator[tuple[bytes, int, Plain | None, int]]:
    """The addresses of which something was published, in order.

    Each with the latest expiry of its logins, the first login that counted, and the place of the first end of a session
    that did before; None and -1 for nothing.
    """
    last, until, first, lifted = b"", 0, None, -1
    for _key, address, row in touched:
        if row.first is None and row.lifted < 0:
            continue
        if address != last:
            if last:
                yield last, until, first, lifted
            last, until, first, lifted = address, row.until, row.first, row.lifted
            continue
        until = max(until, row.until)
        first = min((one for one in (first, row.first) if one is not None), default=None)
        lifted = min((place for place in (lifted, row.lifted) if place >= 0), default=-1)
    if last:
        yield last, until, first, lifted


def _read_rows(stored: Mapping[bytes, bytes], now: int) -> tuple[dict[bytes, Row], set[bytes]]:
    """The logins, and the addresses of those whose stamp is, or may be, not their effective time."""
    rows, doubtful = {}, set()
    for key, value in stored.items():
        login_at, expires_at, _lifetime, ahead, _rest = value.split(b" ", 4)
        row = rows[key] = Row(int(login_at), int(expires_at), value)
        if ahead != b"0" or row.at > now:
            doubtful.add(_address(key))
    return rows, doubtful


def _address(key: bytes) -> bytes:
    return key[: key.index(0)]


def _parted(
    entries: Entries, known: Mapping[bytes, bytes], odd: set[bytes], names: Iterable[bytes]
) -> tuple[Entries, Entries]:
    """The entries that can be entered at once, and the others: all of an odd address and of the sessions it names.

    An address that has a session in common with an odd one is odd as well. known: what is stored of the sessions.
    """
    taken = set(names)
    if not odd and not taken:
        return entries, []
    of = {name: _address(key) for name, key in known.items() if not key.startswith(b"-")}
    before = -1
    while before != len(odd) + len(taken):
        before = len(odd) + len(taken)
        taken.update(name for name, address in of.items() if address in odd)
        odd.update(of[name] for name in taken if name in of)
        for _place, _at, key, session, *_rest in entries:
            if key and session and (session in taken or _address(key) in odd):
                taken.add(session)
                odd.add(_address(key))
    whole: tuple[Entries, Entries] = [], []
    for entry in entries:
        whole[_address(entry[2]) in odd if entry[2] else entry[3] in taken].append(entry)
    return whole
