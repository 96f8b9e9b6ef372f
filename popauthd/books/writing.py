"""Changes to the books: grants, revocations, places, counters, and what has run out."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from popauthd.books.reading import USER_BYTES, LoginRow, login_key, user_revocation
from popauthd.books.sessions import Sessions
from popauthd.model import Grant, Refusal

REVOCATION_SECONDS = 9 * 86400  # longer than the longest lifetime plus every tolerance: nothing older can grant
COUNTER_DAYS = 35
SHARED_SECONDS = 86400  # an address that was shared is not told of again so long
SWEEP_AT_MOST = 5000  # entries a transaction, so that one sweep never holds up reading for long


class Writing(Sessions):
    """Changes to the books, within one LMDB write transaction; see Entries for what it collects."""

    def grant(self, grant: Grant) -> str:
        """Enter a grant; "" or the reason word why it opens nothing (it is remembered all the same if it is shared).

        Entering the same grant twice, or an older one after a newer one, changes nothing.
        """
        if grant.login_at <= self.revoked_at(grant.address, grant.user):
            return "revoked"
        before = self._login(login_key(grant.address, grant.user))
        if before is not None and before.login_at >= grant.login_at:
            return ""
        stood = before is not None and self._stands(before, grant.login_at)
        row = self._replace(before, grant)
        if stood or not self.rules.shared_users or self.expiry(grant.address) is None:
            return self._lift(grant.address, row.expires_at)
        self._recompute(grant.address, grant.login_at)  # one more user: count them
        return "shared-address" if self.is_shared(grant.address) else ""

    def hold(self, grant: Grant) -> None:
        """Remember a login that has run out by itself, so that its session, if it is open, can be renewed."""
        before = self._login(login_key(grant.address, grant.user))
        revoked = grant.login_at <= self.revoked_at(grant.address, grant.user)
        if not revoked and (before is None or before.login_at < grant.login_at):
            self._replace(before, grant)

    def _replace(self, before: LoginRow | None, grant: Grant) -> LoginRow:
        """Store a newer login of a user; what a session has added to the one before stays, if that stands."""
        expires_at = grant.expires_at
        if before is not None and self._stands(before, grant.login_at):
            expires_at = max(expires_at, before.expires_at)
        row = LoginRow(grant.address, grant.user, grant.login_at, expires_at, grant.format)
        self._store(row, before)
        return row

    def _stands(self, row: LoginRow, at: int) -> bool:
        return row.expires_at > at and row.login_at > self.revoked_at(row.address, row.user)

    def grant_by_hand(self, address: str, now: int, expires_at: int) -> Grant:
        """Enter an administrator's grant; it stands above every revocation made so far."""
        login_at = max(now, self.revoked_at(address, "") + 1)
        before = self._login(login_key(address, ""))
        self._store(LoginRow(address, "", login_at, expires_at, "by-hand"), before)
        self._recompute(address, now)
        return Grant(address, "", login_at, expires_at, "by-hand")

    def revoke_address(self, address: str, now: int) -> bool:
        """Revoke every login from an address up to now; True if it could relay until then."""
        self._put("revocations", b"a\0" + address.encode("ascii"), b"%d" % now)
        stood = self.expiry(address) is not None
        self._recompute(address, now)
        return stood

    def revoke_user(self, user: str, now: int) -> int:
        """Revoke every login of a user up to now, leaving other users' logins from the same addresses.

        Returns the number of addresses that this user had opened. LIMIT: reads all logins once.
        """
        self._put("revocations", user_revocation(user), b"%d" % now)
        addresses = {row.address for row in self.logins() if row.user == user and row.expires_at > now}
        for address in addresses:
            self._recompute(address, now)
        return len(addresses)

    def revoke_all(self, now: int) -> int:
        """Revoke every login up to now; returns the number of addresses that could relay."""
        self._put("revocations", b"*", b"%d" % now)
        addresses = [address for address, _expiry in self.published()]
        for address in addresses:
            self._recompute(address, now)
        return len(addresses)

    def judge_again(self, fingerprint: str, stands: Callable[[str, str], bool], now: int) -> int:
        """End the logins that policy would not grant any more, if its fingerprint is not the one of the last time.

        stands: asked for address and user. Returns how many logins ended. LIMIT: reads all logins once.
        """
        if self._get("meta", b"limits") == fingerprint.encode("ascii"):
            return 0
        self._put("meta", b"limits", fingerprint.encode("ascii"))
        rows = [row for row in self.logins() if not stands(row.address, row.user)]
        for row in rows:
            self._store(replace(row, expires_at=min(row.expires_at, now)), row)
            self.forget_held(login_key(row.address, row.user))
        for address in {row.address for row in rows}:
            self._recompute(address, now)
        return sum(row.expires_at > now for row in rows)

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
        for name, number in names.items():
            key = f"{day}\0{name}".encode("ascii")
            self._put("counters", key, b"%d" % (int(self._get("counters", key) or 0) + number))

    def sweep(self, now: int) -> int:
        """Take out what has run out, at most SWEEP_AT_MOST entries; returns how many were."""
        keys = self._due("due", now, SWEEP_AT_MOST)
        for key in keys:
            self._publish(key[8:].decode("ascii"), None)
        return len(keys)

    def forget(self, now: int, history_seconds: int) -> int:
        """Forget logins, refusals, revocations and counters that no longer matter; returns how many logins."""
        due = self._due("old", now - history_seconds, SWEEP_AT_MOST)
        keys = [key for key in due if self._get("held", key[8:]) is None]  # a session may be open all the same
        for key in keys:
            self._delete("old", key)
            self._delete("logins", key[8:])
        day = time.strftime("%Y-%m-%d", time.gmtime(now - COUNTER_DAYS * 86400)).encode("ascii")
        stale = [("counters", key) for key, _ in self._scan("counters") if key < day]
        before = now - max(history_seconds, 3600)
        self.forget_ended(now)
        stale += [
            ("shared", shared.address.encode("ascii"))
            for shared in self.all_shared()
            if not shared.until and shared.since < now - SHARED_SECONDS
        ]
        stale += [("refusals", key) for key, value in self._scan("refusals") if int(value.split(b" ", 1)[0]) < before]
        before = now - REVOCATION_SECONDS
        stale += [("revocations", key) for key, value in self._scan("revocations") if int(value) < before]
        for database, key in stale:
            self._delete(database, key)
        return len(keys)

    def set_clock(self, boot_id: str, offset: int) -> None:
        """Note the boot and the clock offset that the times belong to."""
        self._put("meta", b"clock", f"{boot_id} {offset}".encode("ascii"))

    def set_longest_silence(self, source: str, seconds: int) -> None:
        """Note how long a source has gone without a login."""
        self._put("meta", b"silence\0" + source.encode(), b"%d" % seconds)

    def clock_was_set_back(self, seconds: int, now: int) -> None:
        """Move every time that would now lie too late: no grant outlives its lifetime in real time.

        now: the wall clock after the step. Times already past stay; the rest move by the whole step, so
        what had run out before the step does not come back.
        """
        for row in [row for row in self.logins() if row.expires_at > now]:
            self._store(replace(row, login_at=row.login_at - seconds, expires_at=row.expires_at - seconds), row)
        self.move_sessions(seconds)
        for key, value in list(self._scan("revocations")):
            if int(value) > now:
                self._put("revocations", key, b"%d" % now)
        for address, _expiry in list(self.published()):
            self._recompute(address, now)
