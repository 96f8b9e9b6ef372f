"""A batch of what other nodes tell, from events to their entry in the books.

A peer's login is judged by this node's policy as a login of a log is, and given this node's lifetime. Plain ones are
entered many at once (store/books/bulk.py), the others one by one. The order does not matter: all merge by maximum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from popauthd.cluster.events import PeerEvent, PeerGrant, PeerLogin, PeerRevocation
from popauthd.model import PEER_FORMAT, Grant, Login, Refusal
from popauthd.policy.address_facts import facts_of
from popauthd.policy.decide import decide, grant_to
from popauthd.policy.limits import Limits
from popauthd.policy.plain import PlainJudge
from popauthd.store.books import Writing
from popauthd.store.books.bulk_play import Plain
from popauthd.store.books.rows import login_kind, read_kind
from popauthd.watch.batch import MANY, Entered

SOURCE = "cluster"  # the name of its place in the books
SITE = "/64"
BY_HAND_SECONDS = 7 * 86400  # no grant by hand lasts longer

Held = tuple[Grant, int]  # a login's grant, which its session may hold, and the lifetime by itself


@dataclass(slots=True)
class PeerBatch:
    """What was heard up to `place`, "" for none. Entering does not change it, so it can be entered again."""

    place: str
    counts: Counter[str] = field(default_factory=Counter)
    source: str = SOURCE
    plain: list[Plain] = field(default_factory=list)
    logins: list[Held] = field(default_factory=list)
    grants: list[Grant] = field(default_factory=list)
    revocations: list[PeerRevocation] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)

    def learn(
        self, events: Sequence[PeerEvent], judge: PlainJudge, limits: Limits, hold_seconds: int, now: int
    ) -> None:
        """Judge events. hold_seconds: see Rules."""
        logins = [event for event in events if isinstance(event, PeerLogin)]
        self.counts["cluster.login"] += len(logins)
        short = [one for one in logins if one.open_at == one.at and not one.address.endswith(SITE)]
        held = [one for one in logins if one.open_at != one.at or one.address.endswith(SITE)]
        for login in [*held, *self._plain(short, judge, now)]:
            self._judge(login, limits, hold_seconds, now)
        for event in events:
            if isinstance(event, PeerGrant):
                self._judge_grant(event, limits, now)
            elif isinstance(event, PeerRevocation):
                self.counts["cluster.revocation"] += 1
                self.revocations.append(event)

    def _plain(self, logins: list[PeerLogin], judge: PlainJudge, now: int) -> list[PeerLogin]:
        """Take in those that plainly grant; returns the others."""
        users = [login.user.encode("ascii") for login in logins]
        found = judge.judge(
            [login.at for login in logins],
            [login.address.encode("ascii") for login in logins],
            users,
            ((login.protocol, login.method, login.tls, b"") for login in logins),
            now,
            peers=True,
        )
        columns = zip(logins, users, found.granted, found.lifetime_seconds, found.kind, strict=True)
        self.plain += [
            (number, login.at, key + b"\0" + user, b"", lifetime, kind, False)
            for number, (login, user, key, lifetime, kind) in enumerate(columns)
            if key
        ]
        return [logins[number] for number in found.left]

    def _judge(self, told: PeerLogin, limits: Limits, hold_seconds: int, now: int) -> None:
        """Judge one login. If its session is known to have been open later, it holds it as one here would."""
        at = min(told.at, now)
        client = told.address.removesuffix(SITE)
        login = Login(at, client, told.user, told.protocol, told.method, told.tls, format=PEER_FORMAT)
        facts = facts_of(client, limits)
        lifetime = facts.lifetime_seconds
        open_at = min(told.open_at, now) if hold_seconds else at
        until = max(at + lifetime, min(open_at + lifetime, at + max(hold_seconds, lifetime)))
        verdict = decide(login, limits, now if until <= now else min(now, at + lifetime - 1))
        if isinstance(verdict, Refusal):
            if verdict.reason != "expired":
                self._refuse(verdict)
        elif client != told.address and verdict.address != told.address:
            self._refuse(Refusal("bad-address", at, told.address, told.user, PEER_FORMAT))  # no /64 is granted here
        else:
            made = grant_to(login, verdict.address, at, until - at)
            self.logins.append((replace(made, ahead_seconds=told.at - at), lifetime))

    def _judge_grant(self, told: PeerGrant, limits: Limits, now: int) -> None:
        self.counts["cluster.grant"] += 1
        facts = facts_of(told.address.removesuffix(SITE), limits)
        if facts.barred:
            self._refuse(Refusal(facts.barred, told.at, told.address, "", PEER_FORMAT))
            return
        at = min(told.at, now)
        until = min(told.expires_at, at + BY_HAND_SECONDS)
        self.grants.append(Grant(told.address, "", at, until, PEER_FORMAT, told.at - at))

    def _refuse(self, refusal: Refusal) -> None:
        self.counts["cluster.refused"] += 1
        self.refused.append(refusal)

    def enter(self, writing: Writing, now: int, *, remember: bool) -> Entered:
        """Enter everything into the books. remember: as for a batch of a log; no session is opened here."""
        entered = Entered(writing.shared.newly)
        left = self.plain
        if len(left) >= MANY and not self.revocations:
            opened, left = writing.bulk.enter(self.plain, (), (), now, remember=remember)
            entered.opened += [_grant(entry) for entry in opened]
        for revocation in self.revocations:
            entered.closed += writing.revocations.enter_from_peer(revocation, now)
        for made, lifetime in [*((_grant(entry), entry[4]) for entry in left), *self.logins]:
            new = writing.published.expiry(made.address) is None
            reason = writing.peers.login(made, lifetime, now)
            if not reason and new and writing.published.expiry(made.address) is not None:
                entered.opened.append(made)
        for made in self.grants:
            writing.peers.grant(made, now)
        for refusal in self.refused:
            writing.refusals.remember(refusal)
        if self.place:
            writing.places.set(self.source, self.place.encode("ascii"))
        writing.counters.add({**self.counts, "revoked": entered.closed}, now)
        return entered


def _grant(entry: Plain) -> Grant:
    _place, at, key, _session, lifetime, kind, _late = entry
    address, _, user = key.decode("ascii").partition("\0")
    protocol, method, tls, written_as = read_kind(kind)
    return Grant(address, user, at, at + lifetime, written_as, 0, protocol, method, tls)


def kind_of_peers(protocol: str, method: str, tls: bool) -> bytes:
    """What is stored of a peer's login, for its judge."""
    return login_kind(protocol, method, tls, PEER_FORMAT)
