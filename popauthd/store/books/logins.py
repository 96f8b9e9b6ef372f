"""Enters logins: grants, an administrator's grants by hand, and expired logins that may have an open session."""

from __future__ import annotations

from popauthd.model import Grant
from popauthd.policy.cut_names import may_be_cut
from popauthd.store.books.judging import Judge, Judging
from popauthd.store.books.login_rows import LoginRows
from popauthd.store.books.meta import Meta
from popauthd.store.books.published import Published
from popauthd.store.books.revocation_times import RevocationTimes
from popauthd.store.books.rows import LoginRow, login_key, row_of
from popauthd.store.books.rules import Rules
from popauthd.store.books.sessions import Sessions
from popauthd.store.books.shared import SharedAddresses


class Logins:
    """Enters logins, publishes what follows from them, and judges stored logins again when the limits change."""

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
        self._judging = Judging(rows, times, published, shared, sessions, rules)
        self._meta = meta
        self._rules = rules

    def grant(self, grant: Grant, now: int | None = None) -> str:
        """Enter a grant; returns "", or the reason word if the address may not relay by it.

        If the address is shared, the login is stored all the same. now: the wall clock; the login's own time if not
        given. Logins of one user from one address differ in their stamps: entering the same login twice, or an older
        one after a newer one, changes nothing.
        """
        now = grant.login_at if now is None else now
        before = self._rows.get(login_key(grant.address, grant.user))
        if self._is_revoked(grant, before, now):
            return "revoked"
        if before is not None and before.stamped_at >= grant.stamped_at:
            return ""
        stood = before is not None and self.stands(before, now) and not may_be_cut(grant.user)
        row = self._replace(before, grant, now)
        self._rows.outbox.login(row, now)
        return self._published.stand(row.address, row.expires_at, now, anew=not stood)

    def hold(self, grant: Grant, now: int) -> str:
        """Store a login that has already expired, so that its session, if it is still open, can renew it.

        Returns "" or "revoked".
        """
        before = self._rows.get(login_key(grant.address, grant.user))
        if self._is_revoked(grant, before, now):
            return "revoked"
        if before is None or before.stamped_at < grant.stamped_at:
            self._rows.outbox.login(self._replace(before, grant, now), now)
        return ""

    def _is_revoked(self, grant: Grant, before: LoginRow | None, now: int) -> bool:
        """Whether a revocation applies to a login. before: the latest known login of the same user and address.

        A login that is known already keeps the time when it was first seen, even if its line is read again now.
        """
        if before is not None and before.stamped_at >= grant.stamped_at:
            return self._times.end(before)
        return self._times.end_unknown(grant, now)

    def _replace(self, before: LoginRow | None, grant: Grant, now: int) -> LoginRow:
        """Store a newer login of a user. If the login before still stands and has a later expiry, that is kept."""
        expires_at, logins = grant.expires_at, 1
        if before is not None and self.stands(before, now):
            expires_at = max(expires_at, before.expires_at)
            logins = before.logins + 1 if may_be_cut(grant.user) else 1
        row = row_of(grant)._replace(expires_at=expires_at, logins=logins)
        self._rows.store(row, before)
        return row

    def stands(self, row: LoginRow, at: int) -> bool:
        """Whether a login is neither expired nor revoked."""
        return row.expires_at > at and not self._times.end(row)

    def grant_by_hand(self, address: str, now: int, expires_at: int) -> Grant:
        """Enter an administrator's grant. No revocation made so far ends it."""
        before = self._rows.get(login_key(address, ""))
        login_at = max(now, self._times.latest_at(address, "") + 1)
        if before is not None and self._rules.replicate:  # of two, other nodes know the later one by its time
            login_at = max(login_at, before.login_at + 1)
        made = Grant(address, "", login_at, max(expires_at, login_at + 1), "by-hand")
        self._rows.store(row_of(made), before)
        self._rows.outbox.login(row_of(made), now)
        self._published.recompute(address, now)
        return made

    def judge_again(self, judge: Judge, now: int, after: bytes = b"", at_most: int = 0) -> tuple[int, bytes]:
        """End the logins that policy would not grant any more; returns how many, and where to go on.

        after: the key after which to begin. at_most: how many logins to look at, 0 for all; one that changes counts as
        judging.CHANGE more. It stops after an address, and where to go on is after this key, b"" if all are done.
        """
        return self._judging.again(judge, now, after, at_most)
