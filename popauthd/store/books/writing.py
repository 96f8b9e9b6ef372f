"""Changes to the books: grants, revocations, places, counters, and what has run out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from ipaddress import IPv6Network
from itertools import groupby, islice
from operator import attrgetter

from popauthd.address import keys as address_keys
from popauthd.model import Grant, Refusal, Revocation
from popauthd.policy.cut_names import may_be_cut
from popauthd.store.books.reading import LoginRow, Times, login_key, read_times, revocation_keys, site_revocation
from popauthd.store.books.revocations import USER_BYTES, RevocationRecord, later
from popauthd.store.books.sessions import Sessions

REVOCATION_SECONDS = 9 * 86400  # longer than the longest lifetime plus every tolerance: nothing older can grant
CATCH_UP_SECONDS = 60  # within which logs are read again for new books
COUNTER_DAYS = 35
SHARED_SECONDS = 86400  # an address that was shared is not told of again so long
SWEEP_AT_MOST = 5000  # entries a transaction, so that one sweep never holds up reading for long


class Writing(Sessions):
    """Changes to the books, within one LMDB write transaction; see Entries for what it collects."""

    def grant(self, grant: Grant, now: int | None = None) -> str:
        """Enter a grant; "" or the reason word why it opens nothing (it is remembered all the same if it is shared).

        now: the wall clock; the login's own time if not given. A login is told from others of the same user and
        address by its stamp: entering the same one twice, or an older one after a newer one, changes nothing.
        """
        now = grant.login_at if now is None else now
        before = self._login(login_key(grant.address, grant.user))
        if self._is_revoked(grant, before, now):
            return "revoked"
        if before is not None and before.stamped_at >= grant.stamped_at:
            return ""
        stood = before is not None and self._stands(before, now) and not may_be_cut(grant.user)
        row = self._replace(before, grant, now)
        return self._stand(row.address, row.expires_at, now, anew=not stood)

    def hold(self, grant: Grant, now: int) -> str:
        """Remember a login that has run out by itself, so that its session, if it is open, can be renewed.

        Returns "" or "revoked".
        """
        before = self._login(login_key(grant.address, grant.user))
        if self._is_revoked(grant, before, now):
            return "revoked"
        if before is None or before.stamped_at < grant.stamped_at:
            self._replace(before, grant, now)
        return ""

    def _is_revoked(self, grant: Grant, before: LoginRow | None, now: int) -> bool:
        """Whether a revocation applies to a login. before: the latest that is known of the same user and address.

        A login that is known counts from when it was first seen, not now that it is read again.
        """
        if before is not None and before.stamped_at >= grant.stamped_at:
            return before.login_at <= self.revoked_at(grant.address, grant.user)
        return self.is_revoked(grant, now)

    def _replace(self, before: LoginRow | None, grant: Grant, now: int) -> LoginRow:
        """Store a newer login of a user; what a session has added to the one before stays, if that stands."""
        expires_at, logins = grant.expires_at, 1
        if before is not None and self._stands(before, now):
            expires_at = max(expires_at, before.expires_at)
            logins = before.logins + 1 if may_be_cut(grant.user) else 1
        row = _row(grant)._replace(expires_at=expires_at, logins=logins)
        self._store(row, before)
        return row

    def _stands(self, row: LoginRow, at: int) -> bool:
        return row.expires_at > at and row.login_at > self.revoked_at(row.address, row.user)

    def grant_by_hand(self, address: str, now: int, expires_at: int) -> Grant:
        """Enter an administrator's grant; it stands above every revocation made so far."""
        login_at = max(now, self.revoked_at(address, "") + 1)
        made = Grant(address, "", login_at, max(expires_at, login_at + 1), "by-hand")
        self._store(_row(made), self._login(login_key(address, "")))
        self._recompute(address, now)
        return made

    def revoke(self, revocation: Revocation, now: int) -> int:
        """Enter a revocation; returns how many addresses could relay until then.

        The latest revocation counts, so the same one may come twice, late, or after a newer one.
        """
        if not revocation.made_here:
            return self._revoke_at(revocation, now)
        if revocation.user:
            return self.revoke_user(revocation.user, now)
        if not revocation.address:
            return self.revoke_all(now)
        if not revocation.address.endswith("/64"):
            return sum([self.revoke_address(one, now) for one in address_keys(revocation.address)])
        inside = {row.address for row in self.logins_in(IPv6Network(revocation.address))} - {revocation.address}
        closed = [self.revoke_address(revocation.address, now, inside=True)]
        return sum([*closed, *(self.revoke_address(one, now) for one in inside)])

    def _revoke_at(self, revocation: Revocation, now: int) -> int:
        """Enter a revocation that was made elsewhere, or earlier: it ends what was at or before its own time."""
        before = self.published_count()
        for key in self._keys_of(revocation):
            record = RevocationRecord(key, revocation.at)
            if self.merge(record):
                self.revoked.append(record)
        self.close_revoked(now)
        return before - self.published_count()

    def _keys_of(self, revocation: Revocation) -> list[bytes]:
        if revocation.user:
            return revocation_keys(revocation.user)
        if not revocation.address:
            return [b"*"]
        if revocation.address.endswith("/64"):
            return [b"a\0" + revocation.address.encode("ascii"), site_revocation(revocation.address)]
        return [b"a\0" + key.encode("ascii") for key in address_keys(revocation.address)]

    def revoke_address(self, address: str, now: int, *, inside: bool = False) -> bool:
        """Revoke every login from an address up to now; True if it could relay until then.

        inside: it is a /64, and logins of the addresses in it that are read later are revoked as well. Those that are
        known must be revoked one by one.
        """
        stood = self.expiry(address) is not None
        keys = [b"a\0" + address.encode("ascii"), *([site_revocation(address)] if inside else [])]
        self._revoke(keys, list(self.logins(address)), now)
        self._recompute(address, now)
        return stood

    def revoke_user(self, user: str, now: int) -> int:
        """Revoke every login of a user up to now, leaving other users' logins from the same addresses.

        A name that was cut stands for every user that it may have been. Returns the number of addresses that
        this user had opened.
        """
        rows = list(self.logins_of(user))
        opened = {row.address for row in rows if self._stands(row, now)}
        self._revoke(revocation_keys(user), rows, now)
        for address in opened:
            self._recompute(address, now)
        return len(opened)

    def revoke_all(self, now: int) -> int:
        """Revoke every login up to now; returns the number of addresses that could relay."""
        at = max(now, self._latest)
        self._merge(b"*", at, max(0, self._latest_stamp - at))
        closed = self.published_count()
        for database in ("published", "due", "shared"):
            self._txn.drop(self._db[database], delete=False)
        self.changes.clear()
        self.cleared = True
        return closed

    def _revoke(self, keys: list[bytes], rows: list[LoginRow], now: int) -> None:
        """Enter a revocation. Its time is now or, if that is later, the time of the latest login that it must end."""
        at = max([now, *(row.login_at for row in rows)])
        ahead_seconds = max([0, *(row.stamped_at - at for row in rows)])
        for key in keys:
            self._merge(key, at, ahead_seconds)

    def _merge(self, key: bytes, at: int, ahead_seconds: int) -> None:
        """Enter a new revocation. If the clock was set back, what it ends bears the stamps of the time before that."""
        was_set_back = self._furthest_stamp > max(at, self._latest_stamp)
        ahead_seconds = max(ahead_seconds, self.unread_seconds)
        revocation = (
            RevocationRecord(key, self._furthest_stamp) if was_set_back else RevocationRecord(key, at, ahead_seconds)
        )
        known = read_times(self._get("revocations", key))
        self._put_revocation(revocation, known, at=at, strict=self.unread_seconds > 0)
        self.revoked.append(revocation)

    def merge(self, revocation: RevocationRecord) -> bool:
        """Enter a revocation that may be known already: the latest counts; True if it was not known.

        The books are new then, or an older copy, and may not know what it ended: no login counts that may be one of
        these. What is published stays as it is, see `close_revoked`.
        """
        known = read_times(self._get("revocations", revocation.key))
        if revocation.at <= known.first_at:  # the clock may have been set back since
            return False
        self._put_revocation(revocation, known, at=revocation.at, strict=True)
        return True

    def close_revoked(self, now: int) -> None:
        """Publish no longer what a revocation ends that the books did not know when it was made."""
        for address in [address for address, _expiry in self.published()]:
            if any(row.login_at <= self.revoked_at(address, row.user) for row in self.logins(address)):
                self._recompute(address, now)

    def _put_revocation(self, revocation: RevocationRecord, known: Times, *, at: int, strict: bool) -> None:
        both = later(RevocationRecord(revocation.key, known.first_at, known.ahead_seconds), revocation)
        until = both.at + both.ahead_seconds if strict else known.stamped_until
        times = Times(max(known.at, at), both.at, both.ahead_seconds, until)
        if times != known:
            self._put("revocations", revocation.key, times.value())

    def settle_revocations(self, now: int, future_seconds: int = 120) -> None:
        """Bring revocations in line with the wall clock, when it may have been set.

        None may lie ahead of it, or nobody could log in again. One that did, and does no more, counts as made when
        it was made: what is read of that time must not open it. future_seconds: how far ahead of the clock a login
        may be stamped; what is stamped further is refused by that.
        """
        for key, value in list(self._scan("revocations")):
            times = read_times(value)
            at = times.first_at if times.first_at <= now else min(times.at, now)
            until = min(times.stamped_until, now + future_seconds + CATCH_UP_SECONDS)
            settled = times._replace(at=at, stamped_until=until)
            if settled != times:
                self._put("revocations", key, settled.value())

    def judge_again(self, fingerprint: str, judge: Callable[[LoginRow, bool], tuple[int, int]], now: int) -> int:
        """End the logins that policy would not grant any more, if its fingerprint is not the one of the last time.

        judge: of a login, and whether it has an open session, how long it may stand by the limits that are in force
        (epoch seconds, 0 if they would not grant it), and its lifetime. Returns how many logins ended. LIMIT: reads all
        logins once.
        """
        if self._get("meta", b"limits") == fingerprint.encode("ascii"):
            return 0
        self._put("meta", b"limits", fingerprint.encode("ascii"))
        shorter: list[tuple[LoginRow, int, int]] = []
        addresses = {shared.address for shared in self.all_shared()}
        for address, rows in groupby(self.logins(), key=attrgetter("address")):
            users = 0
            for row in rows:
                held = self._get("held", login_key(row.address, row.user)) is not None
                expires_at, lifetime_seconds = judge(row, held)
                if expires_at < row.expires_at or expires_at <= now or lifetime_seconds < row.lifetime_seconds:
                    shorter.append((row, expires_at, lifetime_seconds))
                users += row.logins if row.expires_at > now else 0
            if 0 < self.rules.shared_users < users:
                addresses.add(address)
        for row, expires_at, lifetime_seconds in shorter:
            key = login_key(row.address, row.user)
            if expires_at <= now:
                self.forget_held(key)
            else:
                self.shorten_held(key, lifetime_seconds, now)
            if now < row.expires_at > expires_at:
                shortened = min(row.lifetime_seconds, lifetime_seconds) if row.user else row.lifetime_seconds
                self._store(row._replace(expires_at=max(expires_at, now), lifetime_seconds=shortened), row)
                addresses.add(row.address)
        for address in addresses:
            self._recompute(address, now)
        return sum(row.expires_at > now >= expires_at for row, expires_at, _lifetime in shorter)

    def judged_by_an_older_version(self, asked: str) -> bool:
        """Whether logins of older books, of which less is known, still count as good.

        asked: what the limits ask of a login's line. They do until that is another than when it was first given here.
        """
        first = self._get("meta", b"unjudged")
        if first == b"1":
            first = asked.encode("ascii")
            self._put("meta", b"unjudged", first)
        return first == asked.encode("ascii")

    def refuse(self, refusal: Refusal) -> None:
        """Remember the latest refusal for an address, so that it can be explained."""
        if refusal.address and refusal.at is not None:
            facts = f"{refusal.at} {refusal.reason}".encode("ascii")
            user = refusal.user.encode("utf-8", "backslashreplace")[:USER_BYTES]
            self._put("refusals", refusal.address.encode("ascii"), facts + b"\0" + user)

    def set_place(self, source: str, place: bytes) -> None:
        """Save the place in a log, together with what was learnt up to it."""
        self._put("places", source.encode(), place)

    def count(self, names: dict[str, int], now: int) -> None:
        """Add to the counters of today (UTC)."""
        day = time.strftime("%Y-%m-%d", time.gmtime(now))
        self.note_time(now)
        for name, number in names.items():
            key = f"{day}\0{name}".encode("ascii")
            self._put("counters", key, b"%d" % (int(self._get("counters", key) or 0) + number))

    def sweep(self, now: int) -> int:
        """Take out what has run out, at most SWEEP_AT_MOST entries; returns how many were."""
        self.note_time(now)
        keys = self._due("due", now, SWEEP_AT_MOST)
        for key in keys:
            self._publish(key[8:].decode("ascii"), None)
        return len(keys)

    def forget(self, now: int, history_seconds: int, at_most: int = SWEEP_AT_MOST) -> int:
        """Forget what no longer matters, of each kind `at_most` entries; returns how many logins.

        `more_to_forget` says whether to do it again, in another transaction.
        """
        rows = self._forgettable(now, history_seconds, at_most)
        for row in rows:
            self._remove(row)
        day = time.strftime("%Y-%m-%d", time.gmtime(now - COUNTER_DAYS * 86400)).encode("ascii")
        refused_before = now - max(history_seconds, 3600)
        stale: dict[str, Callable[[bytes, bytes], bool]] = {
            "counters": lambda key, _value: key < day,
            "refusals": lambda _key, value: int(value.split(b" ", 1)[0]) < refused_before,
            "shared": lambda _key, value: _long_open(value, now - SHARED_SECONDS),
            "revocations": lambda _key, value: max(read_times(value)[:2]) < now - REVOCATION_SECONDS,
        }
        most = max(len(rows), self.forget_ended(now, at_most))
        for database, is_stale in stale.items():
            keys = list(islice((key for key, value in self._scan(database) if is_stale(key, value)), at_most))
            for key in keys:
                self._delete(database, key)
            most = max(most, len(keys))
        self.more_to_forget = most >= at_most
        return len(rows)

    def _forgettable(self, now: int, history_seconds: int, at_most: int) -> list[LoginRow]:
        """Logins that ran out so long ago, and that nothing can open any more."""
        rows: list[LoginRow] = []
        for key, _ in self._scan("old"):
            if int.from_bytes(key[:8], "big") > now - history_seconds or len(rows) == at_most:
                break
            if (row := self._login(key[8:])) is not None and self._may_be_forgotten(row, now):
                rows.append(row)
        return rows

    def set_clock(self, boot_id: str, offset: int) -> None:
        """Note the boot and the clock offset that the times belong to."""
        self._put("meta", b"clock", f"{boot_id} {offset}".encode("ascii"))

    def set_longest_silence(self, source: str, seconds: int) -> None:
        """Note how long a source has gone without a login."""
        self._put("meta", b"silence\0" + source.encode(), b"%d" % seconds)

    def clock_was_set_back(self, seconds: int, now: int) -> None:
        """Move every time that would now lie too late: no grant outlives its lifetime in real time.

        now: the wall clock after the step. Times already past stay; the rest move by the whole step, so
        what had run out before the step does not come back, and what was revoked stays so.
        """
        for row in [row for row in self.logins() if row.expires_at > now]:
            revoked_at = self.revoked_at(row.address, row.user)
            login_at = row.login_at - seconds
            if revoked_at < row.login_at and revoked_at <= now:  # that one stays: so must their order
                login_at = max(login_at, revoked_at + 1)
            expires_at = row.expires_at - seconds
            if row.lifetime_seconds:
                expires_at = min(expires_at, now + row.lifetime_seconds)
            self._store(row._replace(login_at=login_at, expires_at=expires_at), row)
        self.move_sessions(seconds)
        for key, value in list(self._scan("revocations")):
            times = read_times(value)
            if max(times.at, times.stamped_until) > now:
                at = min(times.at - seconds, now) if times.at > now else times.at
                moved = times._replace(at=at, stamped_until=max(0, times.stamped_until - seconds))
                self._put("revocations", key, moved.value())
        self._latest, self._latest_stamp = now, self._latest_stamp - seconds
        addresses = {address for address, _expiry in self.published()}
        for address in addresses.union(shared.address for shared in self.all_shared()):
            self._recompute(address, now)

    def set_own_addresses(self, addresses: Iterable[str]) -> None:
        """Note the addresses of this machine, the oldest first."""
        self._put("meta", b"own", " ".join(addresses).encode("ascii"))


def _long_open(value: bytes, before: int) -> bool:
    """Whether a shared address is none any more, and was found before that time."""
    since, until, _users = map(int, value.split(b" "))
    return not until and since < before


def _row(grant: Grant) -> LoginRow:
    return LoginRow(
        grant.address,
        grant.user,
        grant.login_at,
        grant.expires_at,
        grant.format,
        grant.expires_at - grant.login_at,
        grant.ahead_seconds,
        grant.protocol,
        grant.method,
        grant.tls,
    )
