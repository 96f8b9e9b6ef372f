"""The limits that are in force now: those of the configuration, with the lists of users and this machine's addresses.

Lists of users are read again when they change. Addresses of this machine are learnt from logins and from popauthctl.
When the limits change, every login that stands is judged again.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace

from popauthd import address
from popauthd.model import Login
from popauthd.policy import Limits, asked_of_a_line, fingerprint, lifetime, still_grants
from popauthd.policy.user_files import UserFiles
from popauthd.store.books import LoginRow, Writing
from popauthd.watch.ledger import Ledger
from popauthd.watch.notes import Notes

log = logging.getLogger("popauthd.watch")

OWN_AT_MOST = 512  # of this machine's addresses that are remembered


class LimitsInForce:
    """`start` within the first transaction, then `tend` at every turn. `now`: the limits at this moment."""

    def __init__(self, ledger: Ledger, limits: Limits, notes: Notes, user_files: UserFiles | None = None) -> None:
        self._configured = self.now = user_files.applied(limits) if user_files is not None else limits
        self._ledger = ledger
        self._notes = notes
        self._user_files = user_files
        self._own: tuple[str, ...] = ()
        self._judge_due = False

    def start(self, writing: Writing, now: int) -> None:
        """Apply what the books know of this machine's addresses, and judge what stands by the limits of today."""
        self._own = writing.meta.own_addresses()
        self._apply_own()
        self._judge_again(writing, now)

    def learn_own(self, addresses: Iterable[str]) -> None:
        """Take in addresses of this machine, as logins came in on them or popauthctl told them: none is granted.

        Loopback addresses are left out: no client has them, and `grant_loopback` is for those who try popauthd.
        """
        found = [client for text in addresses if (client := address.parse(text)) and not client.is_loopback]
        fresh = dict.fromkeys(str(client) for client in found if str(client) not in self._own)
        if fresh:
            self._own = (*self._own, *fresh)[-OWN_AT_MOST:]
            self._apply_own()
            self._judge_due = True

    def tend(self, now: int) -> None:
        """Read lists of users that changed, and judge again if the limits have changed. Raises StoreError."""
        news = self._user_files.refresh() if self._user_files is not None else []
        for text in news:
            self._notes.add(text, now)
        if news and self._user_files is not None:
            self._configured = self._user_files.applied(self._configured)
            self._apply_own()
            self._judge_due = True
        if self._judge_due:
            with self._ledger.change() as writing:
                self._judge_again(writing, now)
            self._judge_due = False  # only now: a full disk must not let excluded users keep what stands

    def _apply_own(self) -> None:
        networks = tuple(address.network(text) for text in self._own)
        self.now = replace(self._configured, own_addresses=(*self._configured.own_addresses, *networks))

    def _judge_again(self, writing: Writing, now: int) -> None:
        """Judge every login that stands by the limits of today, if they have changed since it was judged."""
        writing.meta.set_own_addresses(self._own)
        rules = self._ledger.rules
        print_of_all = fingerprint(self.now) + f" {rules.shared_users} {rules.hold_seconds}"
        unjudged = writing.meta.judged_by_an_older_version(asked_of_a_line(self.now))
        ended = writing.logins.judge_again(
            print_of_all,
            lambda row, held: _judged(row, held, self.now, rules.hold_seconds, now, unjudged=unjudged),
            now,
        )
        if ended:
            log.info("the limits have changed: logins that ended by it: %d", ended)


def _judged(
    row: LoginRow, held: bool, limits: Limits, hold_seconds: int, now: int, *, unjudged: bool
) -> tuple[int, int]:
    """How long a login may stand by these limits, epoch seconds, and its lifetime; (0, 0) if they would not grant it.

    unjudged: what is not known of a login was judged by an older version, and counts as good.
    """
    known = row.protocol or not unjudged
    login = Login(row.login_at, row.address, row.user, row.protocol, row.method, row.tls) if known else None
    if not still_grants(row.address, row.user, limits, login):
        return 0, 0
    client = address.parse(row.address.partition("/")[0])
    if not row.user or client is None:
        return row.expires_at, row.lifetime_seconds
    seconds = lifetime(client, limits)
    plain = row.login_at + seconds
    lifted = held or row.expires_at > row.login_at + (row.lifetime_seconds or seconds)  # by a session
    return max(plain, min(now + seconds, row.login_at + hold_seconds)) if lifted else plain, seconds
