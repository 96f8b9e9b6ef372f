"""Enters the logins and grants by hand that other nodes tell of. They merge by maximum, in any order, however often.

Of a user's login from an address two maxima are kept: its time, and how long it stands. Both are kept though a
revocation ends the login, so that it does not matter which of them comes first. A revocation whose time is not less
than that of the login ends it, whatever its sessions.

LIMIT: a session that was revoked while its node was cut off can so lengthen a later login of the same user from the
same address, by a lifetime at most: two maxima do not tell that the longer one was of the earlier login.
"""

from __future__ import annotations

from popauthd.model import Grant
from popauthd.store.books.login_rows import LoginRows
from popauthd.store.books.logins import Logins
from popauthd.store.books.published import Published
from popauthd.store.books.revocation_times import RevocationTimes
from popauthd.store.books.rows import LoginRow, login_key, row_of


class Peers:
    """Enters what policy grants to them."""

    def __init__(self, rows: LoginRows, times: RevocationTimes, published: Published, logins: Logins) -> None:
        self._rows = rows
        self._times = times
        self._published = published
        self._logins = logins

    def login(self, grant: Grant, lifetime_seconds: int, now: int) -> str:
        """Enter a login; returns "", or the reason word if the address may not relay by it.

        grant: stands a lifetime from the login, or from when its session was last known to be open.
        """
        before = self._rows.get(login_key(grant.address, grant.user))
        if before is not None and before.stamped_at >= grant.stamped_at:
            row = before._replace(expires_at=max(before.expires_at, grant.expires_at))
            revoked = self._times.end(row)
        else:
            until = grant.expires_at if before is None else max(before.expires_at, grant.expires_at)
            row = row_of(grant)._replace(expires_at=until, lifetime_seconds=lifetime_seconds)
            revoked = self._times.end_unknown(grant, now)
            if revoked and not self._times.end(row):
                return "revoked"  # by its stamp, which the books could not tell later
        stood = before is not None and self._logins.stands(before, now)
        if row != before:
            self._rows.store(row, before)
        if revoked or row.expires_at <= now:
            return "revoked" if revoked else ""
        return self._published.stand(row.address, row.expires_at, now, anew=not stood)

    def grant(self, grant: Grant, now: int) -> str:
        """Enter a grant by hand; of two of an address the later one counts alone. Returns as `login` does."""
        before = self._rows.get(login_key(grant.address, ""))
        if self._times.end(row_of(grant)):
            return "revoked"
        if before is None or _age(before) < (grant.stamped_at, grant.expires_at):
            self._rows.store(row_of(grant), before)
            self._published.recompute(grant.address, now)
        return ""


def _age(row: LoginRow) -> tuple[int, int]:
    return row.stamped_at, row.expires_at
