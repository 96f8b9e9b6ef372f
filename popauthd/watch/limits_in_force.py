"""The limits that are in force now: those of the configuration, with the lists of users and this machine's addresses.

Lists of users are read again when they change. Addresses of this machine are learnt from logins and from popauthctl.
When the limits change, every login that stands is judged again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace

from popauthd import address
from popauthd.model import Login
from popauthd.policy.cells import Cells
from popauthd.policy.decide import line_grants, user_grants
from popauthd.policy.limits import Limits, asked_of_a_line, fingerprint
from popauthd.policy.user_files import UserFiles
from popauthd.store.books import Writing
from popauthd.store.books.rows import LightRow, told_by
from popauthd.watch.ledger import Ledger
from popauthd.watch.notes import Notes

log = logging.getLogger("popauthd.watch")

OWN_AT_MOST = 512  # of this machine's addresses that are remembered
JUDGED_AT_ONCE = 20_000  # logins in one transaction, some 50 ms; fewer if they change
PREPARED_AT_ONCE = 100_000  # before anything is published, when nobody waits; more would take more memory
LINES_AT_MOST = 10_000  # kinds of log lines whose verdict is remembered; a mechanism may be any text


class LimitsInForce:
    """`prepare`, then `start` within the first transaction, then `tend` at every turn. `now`: those of this moment."""

    def __init__(self, ledger: Ledger, limits: Limits, notes: Notes, user_files: UserFiles | None = None) -> None:
        self._configured = self.now = user_files.applied(limits) if user_files is not None else limits
        self._ledger = ledger
        self._notes = notes
        self._user_files = user_files
        self._own: tuple[str, ...] = ()
        self._judge_due = False
        self._after = b""  # the key of the login that was judged last
        self._judge: _Judge | None = None

    @property
    def trouble(self) -> str:
        """Why a list of users in force is not what its file has now; "" if all are."""
        return self._user_files.trouble if self._user_files is not None else ""

    def prepare(self, now: int) -> None:
        """Judge what stands by the limits of today, before anything is published. Raises StoreError."""
        with self._ledger.preparing() as writing:
            self._begin(writing)
        while self._judge_due:
            with self._ledger.preparing() as writing:
                after = self._judge_some(writing, now, PREPARED_AT_ONCE)
            self._judged_until(after)

    def start(self, writing: Writing, now: int) -> None:
        """The same within one transaction. LIMIT: if most of a million logins end, that takes 700 MiB of memory."""
        self._begin(writing)
        self._judged_until(self._judge_some(writing, now, 0))

    def _begin(self, writing: Writing) -> None:
        """Apply what the books know of this machine's addresses."""
        self._own = writing.meta.own_addresses()
        self._apply_own()
        self._judge_again()

    def learn_own(self, addresses: Iterable[str]) -> None:
        """Take in addresses of this machine, as logins came in on them or popauthctl told them: none is granted.

        Loopback addresses are left out: no client has them, and `grant_loopback` is for those who try popauthd.
        """
        unknown = (text for text in addresses if text not in self._own)
        found = [client for text in unknown if (client := address.parse(text)) and not client.is_loopback]
        fresh = dict.fromkeys(str(client) for client in found if str(client) not in self._own)
        if fresh:
            self._own = (*self._own, *fresh)[-OWN_AT_MOST:]
            self._apply_own()
            self._judge_again()

    def tend(self, now: int, settle: Callable[[int], None]) -> bool:
        """Read lists of users that changed, and judge again if the limits have changed; True if there is more to judge.

        settle: enters first what was judged by the limits from before. Raises StoreError.
        """
        news = self._user_files.refresh() if self._user_files is not None else []
        for text in news:
            self._notes.add(text, now)
        if news and self._user_files is not None:
            self._configured = self._user_files.applied(self._configured)
            self._apply_own()
            self._judge_again()
        if self._judge_due:
            settle(now)
            with self._ledger.change() as writing:
                after = self._judge_some(writing, now, JUDGED_AT_ONCE)
            self._judged_until(after)  # only now: a full disk must not let excluded users keep what stands
        return self._judge_due

    def _apply_own(self) -> None:
        networks = tuple(address.network(text) for text in self._own)
        self.now = replace(self._configured, own_addresses=(*self._configured.own_addresses, *networks))

    def _judge_again(self) -> None:
        """The limits may have changed: judge every login again, from the first one on."""
        self._judge_due, self._after, self._judge = True, b"", None

    def _judged_until(self, after: bytes) -> None:
        self._judge_due, self._after = bool(after), after

    def _judge_some(self, writing: Writing, now: int, at_most: int) -> bytes:
        """Judge logins by the limits of today, if they have changed since all were judged.

        at_most: see Logins.judge_again. Returns where to go on; b"" for done.
        """
        if writing.meta.own_addresses() != self._own:
            writing.meta.set_own_addresses(self._own)
        if self._judge is None:
            rules = self._ledger.rules
            print_of_all = fingerprint(self.now) + f" {rules.shared_users} {rules.hold_seconds}"
            unjudged = writing.meta.judged_by_an_older_version(asked_of_a_line(self.now))
            self._judge = _Judge(self.now, rules.hold_seconds, print_of_all, unjudged=unjudged)
        if writing.meta.limits_are(self._judge.fingerprint):
            return b""
        self._judge.now = now
        ended, after = writing.logins.judge_again(self._judge.judge, now, self._after, at_most)
        if ended:
            log.info("the limits have changed: logins that ended by it: %d", ended)
        # In the middle it is neither: new logins are granted by these limits already, others were not judged by them.
        writing.meta.set_limits("" if after else self._judge.fingerprint)
        return after


class _Judge:
    """Judges stored logins by these limits, at the time `now`. What is the same for many of them is worked out once.

    fingerprint: of the limits. unjudged: what is not known of a login was judged by an older version; it counts as
    good.
    """

    def __init__(self, limits: Limits, hold_seconds: int, fingerprint: str, *, unjudged: bool) -> None:
        self._limits = limits
        self._hold_seconds = hold_seconds
        self.fingerprint = fingerprint
        self.now = 0
        self._unjudged = unjudged
        self._cells = Cells(limits)
        self._lines: dict[tuple[bytes, bytes], bool] = {}
        self._lists = limits.users is not None or limits.denied is not None

    def judge(self, row: LightRow, held: bool) -> tuple[int, int]:
        """How long a login may stand, epoch seconds, and its lifetime; (0, 0) if it would not be granted.

        held: whether it has an open session.
        """
        address, user, login_at, expires_at, lifetime, _logins, line, method = row
        grants, always, seconds = self._cells.of(address.decode("ascii"))
        if not grants:
            return 0, 0
        if not user:
            return expires_at, lifetime
        if not always:
            good = self._lines.get((line, method))
            if good is None:
                good = self._line_grants(line, method)
            if not good or (self._lists and not self._user_grants(user)):
                return 0, 0
        plain = login_at + seconds
        if held or expires_at > login_at + (lifetime or seconds):  # lifted by a session
            return max(plain, min(self.now + seconds, login_at + self._hold_seconds)), seconds
        return plain, seconds

    def _line_grants(self, line: bytes, method: bytes) -> bool:
        """Whether what such a line told grants; it is remembered."""
        protocol, name, tls = told_by(line, method)
        known = bool(protocol) or not self._unjudged
        found = not known or line_grants(Login(0, "", "", protocol, name, tls), self._limits)
        if len(self._lines) >= LINES_AT_MOST:
            self._lines.clear()
        self._lines[line, method] = found
        return found

    def _user_grants(self, user: bytes) -> bool:
        return user_grants(user.decode("utf-8", "backslashreplace"), self._limits)
