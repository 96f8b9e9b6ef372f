"""What the truth is while things happen to popauthd: until when each address may relay, in time that really passes.

A model of its own, without a line of popauthd's: it keeps every login that was written and every grant by hand as a
record, and for each the latest moment at which it may still let its address relay. Where the world leaves open what
popauthd can know, the later moment counts. Three verdicts come of it for an address:

- "no": it must not relay: nothing was ever granted, or it was revoked since, or it has run out, or the limits that
  are in force refuse it. Whoever answers yes opens the relay.
- "yes": it must relay: a login that nothing has disturbed. Whoever answers no loses mail. Said only where it is sure.
- "": either is right.

The rules, from the manual: a login counts from its stamp, or from when it was first seen if that is earlier, for the
lifetime; a session, as long as it is open, until a lifetime from now, at most `hold_at_most` after its login. A
revocation ends what was there, for good, however often its line is read. After a boot nobody knows how far the
clock was moved: what stands may last a lifetime from then on. Books that are lost are made anew from the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

NEVER = float("-inf")
FUTURE_SECONDS = 120  # how far ahead a stamp may be
SLACK_SECONDS = 3  # whole seconds in stamps, expiries and clock offsets; and one more each time the clock was set
SURE_SECONDS = 10  # so long before its end an address is no longer sure to relay
Verdict = Literal["yes", "no", ""]


class Moment(NamedTuple):
    """Time that has really passed, what the wall clock shows, and how often it was set."""

    true: float
    wall: float
    frame: int


@dataclass(frozen=True, slots=True)
class Rules:
    """The limits of a configuration. hold_at_most 0: sessions are not held."""

    lifetime: int = 900
    hold_at_most: int = 0
    require_tls: bool = False
    protocols: tuple[str, ...] = ("pop3", "imap")
    refuse_mechanisms: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    shared_users: int = 25


@dataclass(slots=True, eq=False)
class Login:
    """A login that was written to the log; or a grant by hand, which has no user and its own lifetime.

    began, ends: in true time, as read. sure_until: until when it must relay.
    """

    address: str
    user: str
    stamp: int
    tls: bool = True
    protocol: str = "imap"
    method: str = "PLAIN"
    session: str = ""
    frame: int = 0
    lifetime: int = 0
    began: float = NEVER
    ends: float = NEVER
    sure_until: float = NEVER
    end_stamp: int | None = None
    ended: float = NEVER
    seen: bool = False
    held: bool = False
    over: bool = False
    revoked: bool = False
    doubtful: bool = False

    def permitted(self, rules: Rules) -> bool:
        """Whether these limits let it grant."""
        if self.address in rules.never:
            return False
        return not self.user or (
            (self.tls or not rules.require_tls)
            and self.protocol in rules.protocols
            and self.method not in rules.refuse_mechanisms
            and self.user not in rules.denied
        )


class _Revocation(NamedTuple):
    kind: str
    whom: str
    at: int
    answered: int
    frame: int

    def covers(self, login: Login) -> bool:
        return self.kind == "all" or self.whom == (login.user if self.kind == "user" else login.address)


class Truth:
    """Told of everything that happens; asked for verdicts."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.logins: list[Login] = []
        self.up = False
        self.waits = False  # whether new books may have to wait until every stamp ahead of the clock is past
        self._revocations: list[_Revocation] = []
        self._booted = self._lost = self._changed = False
        self._frame = 0
        self._slack = SLACK_SECONDS

    def wrote(self, login: Login, now: Moment) -> None:
        """A line was written; a watcher that runs may read it at once."""
        login.frame = now.frame
        for revocation in filter(lambda one: one.covers(login), self._revocations):
            # once the clock was set, a login that comes after a revocation may bear the stamp of one before it
            login.doubtful |= min(login.stamp, now.wall) <= revocation.answered + 1 or now.frame > 0
            login.revoked |= login.stamp <= revocation.at and revocation.frame == now.frame
        if self.up:
            self._read(login, now)
        self.logins.append(login)

    def granted(self, address: str, seconds: int, now: Moment) -> None:
        """The administrator granted an address by hand, and popauthctl said that it was done."""
        ends = now.true + seconds
        self.logins.append(
            Login(address, "", int(now.wall), lifetime=seconds, began=now.true, ends=ends, sure_until=ends, seen=True)
        )

    def revoked(self, kind: str, whom: str, asked: Moment, now: Moment) -> None:
        """The administrator asked to revoke an "address", a "user" or "all", and now it is answered that it is done."""
        revocation = _Revocation(kind, whom, int(asked.wall), int(now.wall), now.frame)
        self._revocations.append(revocation)
        for login in filter(revocation.covers, self.logins):
            login.sure_until = NEVER
            # a line that has granted nothing, and is stamped later, tells of a later login as far as anybody can know
            login.revoked |= login.began > NEVER or login.stamp <= revocation.at

    def doubt(self) -> None:
        """popauthctl failed: it may have been done, or not."""
        for login in self.logins:
            login.sure_until = NEVER

    def ended(self, login: Login, now: Moment) -> None:
        """The end of a login's session was written."""
        login.end_stamp, login.ended = int(now.wall), now.true
        if login.held:
            login.ends, login.held = max(login.ends, self._hold_ends(login)), False

    def stepped(self, seconds: float) -> None:
        """The wall clock was set: what stands ends when it would have ended, or earlier."""
        self._slack += 1
        for login in self.logins:
            login.sure_until -= max(0.0, seconds)

    def booted(self) -> None:
        """A new boot: sessions are over, and how far the clock was moved is not known."""
        self._booted = True
        self._slack += 1
        for login in self.logins:
            login.sure_until, login.held = NEVER, False

    def lost(self) -> None:
        """The books were destroyed. What the log says may be read again; only revocations must stay."""
        self._lost = self.waits = True
        for login in self.logins:
            login.sure_until = NEVER

    def changed(self, rules: Rules) -> None:
        """The configuration was changed; it counts from the next start on."""
        self.rules = rules
        self._changed = True

    def settled(self, now: Moment) -> None:
        """A watcher runs, has read all that was written, and has looked at the clock."""
        for login in self.logins:
            if login.revoked:
                continue
            if self._booted and login.seen and not login.over:
                login.began = login.ended = now.true  # for all that anybody knows
                login.ends = now.true + login.lifetime
            if not login.seen or (self._lost and login.user):
                self._first_read(login, now)
            self._judge(login)
            login.over = self._until(login, now) + self._slack < now.true
        self._booted = self._lost = self._changed = self.waits = False
        self._frame = now.frame

    def _first_read(self, login: Login, now: Moment) -> None:
        before = login.ends
        self._read(login, now)
        undisturbed = not (self._lost or self._booted or login.doubtful) and login.frame == now.frame
        if undisturbed and login.stamp < now.wall + FUTURE_SECONDS - SURE_SECONDS and login.permitted(self.rules):
            login.sure_until = now.true - now.wall + min(login.stamp, now.wall) + self.rules.lifetime
        login.ends = max(login.ends, before)
        login.seen, login.over = True, False

    def _read(self, login: Login, now: Moment) -> None:
        """What reading its line at this moment comes to."""
        login.lifetime = self.rules.lifetime
        login.ends, login.held = NEVER, False
        if not login.permitted(self.rules) or login.stamp > now.wall + FUTURE_SECONDS + 1:
            return
        login.began = now.true - now.wall + min(login.stamp, now.wall)
        login.ends = login.began + login.lifetime
        if login.session and self.rules.hold_at_most:
            if login.end_stamp is not None:
                login.ended = now.true - now.wall + login.end_stamp
                login.ends = max(login.ends, self._hold_ends(login))
            login.held = login.end_stamp is None

    def _judge(self, login: Login) -> None:
        """By the limits in force, which may be tighter than those under which it was read."""
        if not login.permitted(self.rules):
            login.ends, login.sure_until, login.held = NEVER, NEVER, False
        elif login.user and self._changed:
            login.lifetime = min(login.lifetime, self.rules.lifetime)
            latest = max(login.began + login.lifetime, self._hold_ends(login))
            login.held = login.held and self.rules.hold_at_most > 0
            login.ends, login.sure_until = min(login.ends, latest), min(login.sure_until, latest)

    def _hold_ends(self, login: Login) -> float:
        """Until when a session that has ended lets its address relay."""
        return min(login.ended + login.lifetime, login.began + max(self.rules.hold_at_most, login.lifetime))

    def _until(self, login: Login, now: Moment) -> float:
        if login.revoked or login.over:
            return NEVER
        if login.held:
            most = login.began + max(self.rules.hold_at_most, login.lifetime)
            return max(login.ends, min(now.true + login.lifetime, most))
        return login.ends

    def latest(self, address: str, now: Moment) -> float:
        """Until when, in true time, an address may relay at most, as far as is known while a watcher is settled."""
        crowded = self._crowded(address, now)
        return max(
            (self._until(login, now) for login in self._on(address) if not (crowded and login.user)), default=NEVER
        ) + self._slack  # fmt: skip

    def verdict(self, address: str, now: Moment, *, settled: bool) -> Verdict:
        """Whether an address may relay now. settled: as `settled` says, and nothing has happened since."""
        if settled:
            if self.latest(address, now) <= now.true:
                return "no"
            sure = max((login.sure_until for login in self._on(address) if not login.revoked), default=NEVER)
            return "yes" if sure - SURE_SECONDS > now.true and not self._maybe_crowded(address, now) else ""
        open_question = self._booted or self._lost or self._changed or self._frame != now.frame
        for login in self._on(address):
            if login.revoked or (login.over and not self._lost):
                continue
            if open_question or not login.seen or self._until(login, now) + self._slack > now.true:
                return ""
        return "no"

    def knows(self, address: str) -> bool:
        """Whether anything was ever said of an address."""
        return bool(self._on(address))

    def _on(self, address: str) -> list[Login]:
        return [login for login in self.logins if login.address == address]

    def _crowded(self, address: str, now: Moment) -> bool:
        """Whether more users than `shared_users` stand on an address for sure."""
        surely = {
            login.user
            for login in self._on(address)
            if login.user
            and not login.revoked
            and (login.sure_until - SURE_SECONDS > now.true or self._open(login, now))
        }
        return 0 < self.rules.shared_users < len(surely)

    def _open(self, login: Login, now: Moment) -> bool:
        return login.held and login.seen and login.began + self.rules.hold_at_most - SURE_SECONDS > now.true

    def _maybe_crowded(self, address: str, now: Moment) -> bool:
        possible = {login.user for login in self._on(address) if login.user and self._until(login, now) > now.true}
        return 0 < self.rules.shared_users < len(possible)
