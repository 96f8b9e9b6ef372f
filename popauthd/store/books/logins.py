"""Entering logins: what a grant, an administrator's word, or an expired login with an open session does."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from operator import attrgetter

from popauthd.model import Grant
from popauthd.policy.cut_names import may_be_cut
from popauthd.store.books.login_rows import LoginRows
from popauthd.store.books.meta import Meta
from popauthd.store.books.published import Published
from popauthd.store.books.revocation_times import RevocationTimes
from popauthd.store.books.rows import LoginRow, login_key, row_of
from popauthd.store.books.rules import Rules
from popauthd.store.books.sessions import Sessions
from popauthd.store.books.shared import SharedAddresses


class Logins:
    """Enters logins, publishes what follows, and judges again what stands."""

    def __init__(
        self,
        rows: LoginRows,
        times: RevocationTimes,
        published: Published,
        shared: SharedAddresses,
        sessions: Sessions,
        meta: Meta,
        rules: Rules,
    ) -> None:
        self._rows = rows
        self._times = times
        self._published = published
        self._shared = shared
        self._sessions = sessions
        self._meta = meta
        self._rules = rules

    def grant(self, grant: Grant, now: int | None = None) -> str:
        """Enter a grant; "" or the reason word why it opens nothing (it is remembered all the same if it is shared).

        now: the wall clock; the login's own time if not given. A login is told from others of the same user and
        address by its stamp: entering the same one twice, or an older one after a newer one, changes nothing.
        """
        now = grant.login_at if now is None else now
        before = self._rows.get(login_key(grant.address, grant.user))
        if self._is_revoked(grant, before, now):
            return "revoked"
        if before is not None and before.stamped_at >= grant.stamped_at:
            return ""
        stood = before is not None and self.stands(before, now) and not may_be_cut(grant.user)
        row = self._replace(before, grant, now)
        return self._published.stand(row.address, row.expires_at, now, anew=not stood)

    def hold(self, grant: Grant, now: int) -> str:
        """Remember a login that has run out by itself, so that its session, if it is open, can be renewed.

        Returns "" or "revoked".
        """
        before = self._rows.get(login_key(grant.address, grant.user))
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
            return self._times.end(before)
        return self._times.end_unknown(grant, now)

    def _replace(self, before: LoginRow | None, grant: Grant, now: int) -> LoginRow:
        """Store a newer login of a user; what a session has added to the one before stays, if that stands."""
        expires_at, logins = grant.expires_at, 1
        if before is not None and self.stands(before, now):
            expires_at = max(expires_at, before.expires_at)
            logins = before.logins + 1 if may_be_cut(grant.user) else 1
        row = row_of(grant)._replace(expires_at=expires_at, logins=logins)
        self._rows.store(row, before)
        return row

    def stands(self, row: LoginRow, at: int) -> bool:
        """Whether a login has neither run out nor been revoked."""
        return row.expires_at > at and not self._times.end(row)

    def grant_by_hand(self, address: str, now: int, expires_at: int) -> Grant:
        """Enter an administrator's grant; it stands above every revocation made so far."""
        login_at = max(now, self._times.latest_at(address, "") + 1)
        made = Grant(address, "", login_at, max(expires_at, login_at + 1), "by-hand")
        self._rows.store(row_of(made), self._rows.get(login_key(address, "")))
        self._published.recompute(address, now)
        return made

    def judge_again(self, fingerprint: str, judge: Callable[[LoginRow, bool], tuple[int, int]], now: int) -> int:
        """End the logins that policy would not grant any more, if its fingerprint is not the one of the last time.

        judge: of a login, and whether it has an open session, how long it may stand by the limits that are in force
        (epoch seconds, 0 if they would not grant it), and its lifetime. Returns how many logins ended. LIMIT: reads all
        logins once.
        """
        if self._meta.limits_are(fingerprint):
            return 0
        shorter: list[tuple[LoginRow, int, int]] = []
        addresses = {shared.address for shared in self._shared.all()}
        for address, rows in groupby(self._rows.of(), key=attrgetter("address")):
            users = 0
            for row in rows:
                expires_at, lifetime_seconds = judge(row, self._rows.held(row))
                if expires_at < row.expires_at or expires_at <= now or lifetime_seconds < row.lifetime_seconds:
                    shorter.append((row, expires_at, lifetime_seconds))
                users += row.logins if row.expires_at > now else 0
            if 0 < self._rules.shared_users < users:
                addresses.add(address)
        addresses.update(self._shorten(shorter, now))
        self._published.recompute_all(addresses, now)
        return sum(row.expires_at > now >= expires_at for row, expires_at, _lifetime in shorter)

    def _shorten(self, shorter: list[tuple[LoginRow, int, int]], now: int) -> set[str]:
        """Let logins end earlier, and their sessions; returns their addresses."""
        addresses = set()
        for row, expires_at, lifetime_seconds in shorter:
            key = login_key(row.address, row.user)
            if expires_at <= now:
                self._sessions.forget_held(key)
            else:
                self._sessions.shorten(key, lifetime_seconds, now)
            if now < row.expires_at > expires_at:
                shortened = min(row.lifetime_seconds, lifetime_seconds) if row.user else row.lifetime_seconds
                self._rows.store(row._replace(expires_at=max(expires_at, now), lifetime_seconds=shortened), row)
                addresses.add(row.address)
        return addresses
