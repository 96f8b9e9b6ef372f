"""A batch: what one chunk of one source taught, from its events to its entry in the books.

Logins of one user from one address collapse into the newest, a session that begins and ends within the
batch never becomes an open one. A batch can be entered again after a failure: entering does not change it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import NamedTuple

from popauthd import address, policy
from popauthd.books import Shared, Writing
from popauthd.model import Event, Grant, Login, Refusal, SessionEnd
from popauthd.policy import Limits, decide
from popauthd.twice import Twice


class Entered(NamedTuple):
    """What became of a batch: new grants, everything refused, addresses newly found to be shared."""

    opened: list[Grant]
    refused: list[Refusal]
    shared: list[Shared]


@dataclass(slots=True)
class Batch:
    """What was learnt from `source` up to `place` (b"": it has none).

    late: sessions whose login has run out by itself, but which may be open still.
    """

    source: str
    place: bytes = b""
    grants: dict[tuple[str, str], Grant] = field(default_factory=dict)
    sessions: dict[str, Grant] = field(default_factory=dict)
    late: dict[str, Grant] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)
    refusals: list[Refusal] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    longest_silence: int = 0
    last_login_at: int = 0

    def learn(self, events: Iterable[Event], limits: Limits, now: int, *, holding: bool, twice: Twice | None) -> None:
        """Judge what was recognised. holding: sessions matter. twice: logins are told in several ways."""
        refused: set[str] = set()  # sessions that never were: their ends say nothing
        for event in events:
            if isinstance(event, Login):
                verdict = decide(event, limits, now)
                self._count(event, twice)
                self.last_login_at = max(self.last_login_at, min(event.at, now))
                if isinstance(verdict, Grant):
                    self._grant(verdict, event.session if holding else "")
                elif holding and event.session and verdict.reason == "expired":
                    self.late[event.session] = _ran_out(event, verdict, limits)
                    self._refuse(verdict)
                else:
                    refused.add(event.session)
                    self._refuse(verdict)
            elif isinstance(event, Refusal):
                self._refuse(event)
            elif isinstance(event, SessionEnd) and holding and event.session not in refused:
                self.ends[event.session] = event.at

    def _count(self, login: Login, twice: Twice | None) -> None:
        client = address.canonical(login.address) if twice else None
        first = twice is None or client is None or twice.first(self.source, login, client)
        self.counts["login" if first else "login.twice"] += 1

    def _grant(self, grant: Grant, session: str) -> None:
        key = grant.address, grant.user
        newest = self.grants.get(key)
        if newest is None or newest.login_at < grant.login_at:
            self.grants[key] = grant
        if session:
            self.sessions[session] = grant

    def _refuse(self, refusal: Refusal) -> None:
        self.counts[f"refused.{refusal.reason}"] += 1
        self.refusals.append(refusal)

    def enter(self, writing: Writing, now: int, *, remember: bool) -> Entered:
        """Enter everything into the books. remember: a session's opening line may come a second time."""
        counts, opened, refused = Counter(self.counts), [], list(self.refusals)
        for grant in self.grants.values():
            new = writing.expiry(grant.address) is None
            if reason := writing.grant(grant):
                refused.append(Refusal(reason, grant.login_at, grant.address, grant.user, grant.format))
                counts[f"refused.{reason}"] += 1
            elif new:
                opened.append(grant)
        self._enter_sessions(writing, now, remember=remember)
        for refusal in refused:
            writing.refuse(refusal)
        if self.place:
            writing.set_place(self.source, self.place)
        if self.longest_silence > writing.longest_silence(self.source):
            writing.set_longest_silence(self.source, self.longest_silence)
        writing.count(counts, now)
        return Entered(opened, refused, writing.newly_shared)

    def _enter_sessions(self, writing: Writing, now: int, *, remember: bool) -> None:
        for session, grant in self.late.items():
            ended_at = self.ends.get(session, now)
            if ended_at + grant.expires_at - grant.login_at > now:
                writing.hold(grant)
        for session, grant in (self.late | self.sessions).items():
            if session in self.ends:
                writing.past_session(session, grant, self.ends[session], now, remember=remember)
            else:
                writing.open_session(session, grant, now)
        for session, at in self.ends.items():
            if session not in self.sessions and session not in self.late:
                writing.end_session(session, at, now)


def _ran_out(login: Login, refusal: Refusal, limits: Limits) -> Grant:
    """The grant that an expired login was."""
    client = ip_address(refusal.address)
    key, expires_at = policy.key(client, login.local_address, limits), login.at + policy.lifetime(client, limits)
    return Grant(key, login.user, login.at, expires_at, login.format)
