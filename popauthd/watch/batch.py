"""A batch: what one chunk of one source taught, from its events to its entry in the books.

Events are entered one by one, in the order of the log, so that it does not matter how the log is cut into chunks. A
batch can be entered again after a failure: entering does not change it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple

from popauthd import address, policy
from popauthd.model import AnyEvent, Grant, Login, Refusal, Revocation, SessionEnd
from popauthd.policy import Limits, decide
from popauthd.store.books import Shared, Writing
from popauthd.watch.deduplication import Twice


@dataclass(slots=True)
class Entered:
    """What became of a batch: new grants, everything refused, addresses newly found to be shared.

    closed: how many addresses could relay until they were revoked.
    """

    shared: list[Shared]
    opened: list[Grant] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    closed: int = 0


class Step(NamedTuple):
    """A login to enter, with its session ("": none that can be held).

    late: it has run out by itself; it is entered because its session may be open still.
    """

    grant: Grant
    session: str
    late: bool = False


@dataclass(slots=True)
class Batch:
    """What was learnt from `source` up to `place` (b"": it has none). `steps`: in the order of the log.

    unread_seconds: how far ahead of the clock lines may be stamped that wait to be read; a revocation that is made
    here ends their logins too.
    """

    source: str
    place: bytes = b""
    steps: list[Step | SessionEnd | Revocation | Refusal] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    longest_silence: int = 0
    last_login_at: int = 0
    unread_seconds: int = 0

    def learn(
        self,
        events: Iterable[AnyEvent],
        limits: Limits,
        now: int,
        *,
        holding: bool,
        twice: Twice | None,
        booted_at: int = 0,
    ) -> None:
        """Judge what was recognised. holding: sessions matter. twice: logins are told in several ways.

        booted_at: no session outlives the machine, so one that began before is not held.
        """
        for event in events:
            if isinstance(event, Login):
                self._count(event, twice)
                self.last_login_at = max(self.last_login_at, min(event.at, now))
                self._judge(event, limits, now, holding=holding and event.at >= booted_at)
            elif isinstance(event, Refusal):
                self._refuse(event)
            elif isinstance(event, Revocation):
                self._judge_revocation(event, limits, now)
            elif isinstance(event, SessionEnd) and holding:
                self.steps.append(event)

    def _judge_revocation(self, revocation: Revocation, limits: Limits, now: int) -> None:
        """Refuse one of the far future: until then nobody could log in again."""
        if revocation.at > now + limits.future_seconds:
            self._refuse(Refusal("future", revocation.at, revocation.address, revocation.user))
        else:
            self.steps.append(revocation)

    def _judge(self, login: Login, limits: Limits, now: int, *, holding: bool) -> None:
        verdict = decide(login, limits, now)
        session = login.session if holding else ""
        if isinstance(verdict, Grant):
            self.steps.append(Step(verdict, session))
            return
        self._refuse(verdict)
        if session and verdict.reason == "expired":
            self.steps.append(Step(_ran_out(login, verdict, limits), session, late=True))

    def _count(self, login: Login, twice: Twice | None) -> None:
        client = address.canonical(login.address) if twice else None
        first = twice is None or client is None or twice.first(self.source, login, client)
        self.counts["login" if first else "login.twice"] += 1

    def _refuse(self, refusal: Refusal) -> None:
        self.counts[f"refused.{refusal.reason}"] += 1
        self.steps.append(refusal)

    def enter(self, writing: Writing, now: int, *, remember: bool) -> Entered:
        """Enter everything into the books. remember: a session's opening line may come a second time."""
        counts, entered = Counter(self.counts), Entered(writing.shared.newly)
        writing.revocations.unread_seconds = self.unread_seconds
        for step in self.steps:
            if isinstance(step, Step):
                if reason := _enter(step, writing, now, entered):
                    counts[f"refused.{reason}"] += 1
            elif isinstance(step, SessionEnd):
                writing.sessions.end(step.session, step.at, now, remember=remember)
            elif isinstance(step, Revocation):
                closed = writing.revocations.enter(step, now)
                counts["revoked"] += closed
                entered.closed += closed
            else:
                writing.refusals.remember(step)
                entered.refused.append(step)
        if self.place:
            writing.places.set(self.source, self.place)
        if self.longest_silence > writing.meta.longest_silence(self.source):
            writing.meta.set_longest_silence(self.source, self.longest_silence)
        writing.counters.add(counts, now)
        return entered


def _enter(step: Step, writing: Writing, now: int, entered: Entered) -> str:
    """Enter a login; "" or the reason word why it opens nothing, if that has not been told yet."""
    grant = step.grant
    new = writing.published.expiry(grant.address) is None
    reason = writing.logins.hold(grant, now) if step.late else writing.logins.grant(grant, now)
    if step.session and reason != "revoked":  # read again, it would be held from now on
        writing.sessions.open(step.session, grant, now)
    if step.late:
        return ""
    if reason:
        refusal = Refusal(reason, grant.login_at, grant.address, grant.user, grant.format)
        writing.refusals.remember(refusal)
        entered.refused.append(refusal)
    elif new and writing.published.expiry(grant.address) is not None:
        entered.opened.append(grant)
    return reason


def _ran_out(login: Login, refusal: Refusal, limits: Limits) -> Grant:
    """The grant that an expired login was."""
    client = ip_address(refusal.address)
    key, lifetime_seconds = policy.key(client, login.local_address, limits), policy.lifetime(client, limits)
    return policy.grant(login, key, login.at, lifetime_seconds)
