"""A batch: what one or more chunks of one source taught, from its events to its entry in the books.

What was learnt is entered in the order of the log, so it does not matter how the log is cut into chunks and batches.
Plain logins and session ends of a log are entered many at once (store/books/bulk.py), all else one by one. A batch can
be entered again after a failure: entering does not change it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import itemgetter
from typing import NamedTuple

from popauthd import address
from popauthd.formats.columns import Block, Ends, Logins
from popauthd.formats.sentence import as_text
from popauthd.formats.servers import dovecot
from popauthd.model import AnyEvent, Failure, Grant, Login, Refusal, Revocation, SessionEnd, SharedAddress
from popauthd.policy.address_facts import facts_of, key
from popauthd.policy.cut_names import SHORTEST
from popauthd.policy.decide import decide, grant_to
from popauthd.policy.limits import Limits
from popauthd.policy.plain import PlainJudge
from popauthd.store.books import Writing
from popauthd.store.books.bulk_play import Plain
from popauthd.store.books.rows import login_key, login_kind, read_kind
from popauthd.store.books.sessions import session_key
from popauthd.watch.deduplication import Twice
from popauthd.watch.grant_log import LINES_A_SECOND

MANY = 8  # entries that are entered faster at once than one by one


@dataclass(slots=True)
class Entered:
    """What became of a batch: new grants, everything refused, addresses newly found to be shared.

    opened: the first grants that opened an address, as many as the log tells one by one. opened_more: how many others
    did. closed: how many addresses could relay until they were revoked.
    """

    shared: list[SharedAddress]
    opened: list[Grant] = field(default_factory=list)
    opened_more: int = 0
    refused: list[Refusal] = field(default_factory=list)
    closed: int = 0


class Step(NamedTuple):
    """A login to enter, with its session ("": none that can be held).

    late: it has run out by itself; it is entered because its session may be open still.
    """

    grant: Grant
    session: str
    late: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """By what a batch learns. holding: sessions matter. twice: logins are told in several ways.

    booted_at: no session outlives the machine, so one that began before is not held.
    """

    limits: Limits
    now: int
    holding: bool
    twice: Twice | None
    booted_at: int = 0


@dataclass(slots=True)
class Batch:
    """What was learnt from `source` up to `place` (b"": it has none).

    plain, steps: what is entered many at once, and one by one. Both are in the order of the log, and each entry begins
    with its number in it; `entries` is the next number. unread_seconds: how far ahead of the clock lines may be stamped
    that wait to be read; a revocation that is made here ends their logins too.
    """

    source: str
    place: bytes = b""
    plain: list[Plain] = field(default_factory=list)
    steps: list[tuple[int, Step | SessionEnd | Revocation | Refusal]] = field(default_factory=list)
    entries: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    longest_silence: int = 0
    unread_seconds: int = 0

    def learn(self, events: Sequence[AnyEvent], terms: Terms) -> None:
        """Judge what was recognised, to be entered one by one."""
        self._count(events, terms.twice)
        for place, event in enumerate(events, self.entries):
            self._learn(place, event, terms)
        self.entries += len(events)

    def learn_block(self, block: Block, judge: PlainJudge, terms: Terms) -> None:
        """Judge what a block of a log says, to be entered many at once as far as that can be. judge: of the limits."""
        logins, ends, first = block.logins, block.ends, self.entries
        if terms.twice is None:
            self._count([event for _place, event in block.others], None)
            if logins.place:
                self.counts["login"] += len(logins.place)
        else:
            placed = [*zip(logins.place, logins.events(), strict=True), *block.others]
            self._count([event for _place, event in sorted(placed, key=itemgetter(0))], terms.twice)
        plain, left = _plain_logins(logins, first, judge, terms)
        if terms.holding:
            plain += _plain_ends(ends, first)
        for place, event in sorted([*block.others, *left], key=itemgetter(0)):
            self._learn(first + place, event, terms, plain)
        plain.sort(key=itemgetter(0))
        self.plain += plain
        self.entries += len(logins.place) + len(ends.place) + len(block.others)

    def _learn(self, place: int, event: AnyEvent, terms: Terms, plain: list[Plain] | None = None) -> None:
        """Judge one event. plain: takes in what can be entered with many others."""
        if isinstance(event, Login):
            self._judge(place, event, terms, plain)
        elif isinstance(event, Refusal):
            self._refuse(place, event)
        elif isinstance(event, Failure):
            self.counts["login.failed"] += 1
        elif isinstance(event, Revocation):
            self._judge_revocation(place, event, terms)
        elif isinstance(event, SessionEnd) and terms.holding:
            if plain is None:
                self.steps.append((place, event))
            elif name := session_key(event.session):
                plain.append((place, event.at, b"", name, 0, b"", False))

    def _judge_revocation(self, place: int, revocation: Revocation, terms: Terms) -> None:
        """Refuse one of the far future: until then nobody could log in again."""
        if revocation.at > terms.now + terms.limits.future_seconds:
            self._refuse(place, Refusal("future", revocation.at, revocation.address, revocation.user))
        else:
            self.steps.append((place, revocation))

    def _judge(self, place: int, login: Login, terms: Terms, plain: list[Plain] | None) -> None:
        verdict = decide(login, terms.limits, terms.now)
        session = login.session if terms.holding and login.at >= terms.booted_at else ""
        if isinstance(verdict, Grant):
            step = Step(verdict, session)
        else:
            self._refuse(place, verdict)
            if not session or verdict.reason != "expired":
                return
            step = Step(_ran_out(login, verdict, terms.limits), session, late=True)
        entry = None if plain is None else _plain(place, step)
        if plain is None or entry is None:
            self.steps.append((place, step))
        else:
            plain.append(entry)

    def _count(self, events: Iterable[AnyEvent], twice: Twice | None) -> None:
        for login in events:
            if isinstance(login, Login):
                client = address.canonical(login.address) if twice else None
                first = twice is None or client is None or twice.first(self.source, login, client)
                self.counts["login" if first else "login.twice"] += 1

    def _refuse(self, place: int, refusal: Refusal) -> None:
        self.counts[f"refused.{refusal.reason}"] += 1
        self.steps.append((place, refusal))

    def enter(self, writing: Writing, now: int, *, remember: bool) -> Entered:
        """Enter everything into the books. remember: a session's opening line may come a second time."""
        counts, entered = Counter(self.counts), Entered(writing.shared.newly)
        writing.revocations.unread_seconds = self.unread_seconds
        at_once, steps = self._enter_plain(writing, now, remember=remember)
        opened: list[tuple[int, Plain | Grant]] = [(entry[0], entry) for entry in at_once]
        for place, step in steps:
            if isinstance(step, Step):
                reason, opens = _enter(step, writing, now)
                if reason:
                    counts[f"refused.{reason}"] += 1
                    entered.refused.append(_refusal(reason, step.grant))
                    writing.refusals.remember(entered.refused[-1])
                elif opens:
                    opened.append((place, step.grant))
            elif isinstance(step, SessionEnd):
                writing.sessions.end(step.session, step.at, now, remember=remember)
            elif isinstance(step, Revocation):
                closed = writing.revocations.enter(step, now)
                counts["revoked"] += closed
                entered.closed += closed
            else:
                writing.refusals.remember(step)
                entered.refused.append(step)
        opened.sort(key=itemgetter(0))
        entered.opened = [one if isinstance(one, Grant) else _grant(one) for _place, one in opened[:LINES_A_SECOND]]
        entered.opened_more = max(0, len(opened) - LINES_A_SECOND)
        if self.place:
            writing.places.set(self.source, self.place)
        if self.longest_silence > writing.meta.longest_silence(self.source):
            writing.meta.set_longest_silence(self.source, self.longest_silence)
        writing.counters.add(counts, now)
        return entered

    def _enter_plain(
        self, writing: Writing, now: int, *, remember: bool
    ) -> tuple[list[Plain], list[tuple[int, Step | SessionEnd | Revocation | Refusal]]]:
        """Enter what can be entered at once; returns the logins that opened an address, and what is to be entered."""
        if not self.plain:
            return [], self.steps
        opened: list[Plain] = []
        left = self.plain
        if len(left) >= MANY and not any(isinstance(step, Revocation) for _place, step in self.steps):
            with_session = [step for _place, step in self.steps if isinstance(step, Step | SessionEnd)]
            addresses = {step.grant.address.encode("ascii") for step in with_session if isinstance(step, Step)}
            names = {session_key(step.session) for step in with_session} - {b""}
            opened, left = writing.bulk.enter(self.plain, addresses, names, now, remember=remember)
        again = [(entry[0], _step(entry)) for entry in left]
        steps = sorted([*self.steps, *again], key=itemgetter(0)) if again else self.steps
        return opened, steps


def _enter(step: Step, writing: Writing, now: int) -> tuple[str, bool]:
    """Enter a login. Returns the reason word why it opens nothing, if that has not been told yet, or "".

    And whether its address may relay from now on, and could not before.
    """
    grant = step.grant
    new = writing.published.expiry(grant.address) is None
    reason = writing.logins.hold(grant, now) if step.late else writing.logins.grant(grant, now)
    if step.session and reason != "revoked":  # read again, it would be held from now on
        writing.sessions.open(step.session, grant, now)
    if step.late:
        return "", False
    return reason, not reason and new and writing.published.expiry(grant.address) is not None


def _refusal(reason: str, grant: Grant) -> Refusal:
    return Refusal(reason, grant.login_at, grant.address, grant.user, grant.format)


def _ran_out(login: Login, refusal: Refusal, limits: Limits) -> Grant:
    """The grant that an expired login was."""
    facts = facts_of(refusal.address, limits)
    return grant_to(login, key(facts, login.local_address, limits), login.at, facts.lifetime_seconds)


def _plain_logins(
    logins: Logins, first: int, judge: PlainJudge, terms: Terms
) -> tuple[list[Plain], list[tuple[int, Login]]]:
    """The logins of a block that plainly grant, and the others, each with its place. first: the number of its first."""
    users = logins.user if all(map(bytes.isascii, logins.user)) else [_name(as_text(user)) for user in logins.user]
    asked = zip(logins.protocol, logins.method, logins.tls, logins.local, strict=True)
    found = judge.judge(logins.at, logins.address, users, asked, terms.now)
    session: Iterable[bytes] = repeat(b"")
    if terms.holding:
        session = logins.session
        if logins.at and min(logins.at) < terms.booted_at:
            session = [name if at >= terms.booted_at else b"" for name, at in zip(session, logins.at, strict=True)]
    keys = map(b"\0".join, zip(found.granted, users, strict=True))
    places = map(first.__add__, logins.place)
    # Not strict: some of the columns have no end.
    entries = zip(places, logins.at, keys, session, found.lifetime_seconds, found.kind, repeat(False))
    if not found.left:
        return list(entries), []
    odd = set(found.left)
    plain = [entry for number, entry in enumerate(entries) if number not in odd]
    return plain, [(logins.place[one], _login(logins, one)) for one in found.left]


def _plain_ends(ends: Ends, first: int) -> Iterable[Plain]:
    places = map(first.__add__, ends.place)
    return zip(places, ends.at, repeat(b""), ends.session, repeat(0), repeat(b""), repeat(False))


def _login(logins: Logins, number: int) -> Login:
    """One login of the columns."""
    return Login(
        logins.at[number],
        logins.address[number].decode(),
        as_text(logins.user[number]),
        logins.protocol[number],
        logins.method[number],
        logins.tls[number],
        logins.session[number].decode(),
        logins.local[number].decode(),
        dovecot.NAME,
    )


def _plain(place: int, step: Step) -> Plain | None:
    """A login as an entry that is entered with many others; None if it cannot be."""
    grant = step.grant
    if grant.ahead_seconds or not 0 < len(_name(grant.user)) < SHORTEST:
        return None
    kind = login_kind(grant.protocol, grant.method, grant.tls, grant.format)
    lifetime, session = grant.expires_at - grant.login_at, session_key(step.session)
    return place, grant.login_at, login_key(grant.address, grant.user), session, lifetime, kind, step.late


def _name(user: str) -> bytes:
    """A user as he stands in the key of a login."""
    return user.encode("utf-8", "backslashreplace")


def _step(entry: Plain) -> Step | SessionEnd:
    """The same as a step that is entered by itself."""
    _place, at, key_of, session, _lifetime, _kind, late = entry
    return Step(_grant(entry), session.decode(), late) if key_of else SessionEnd(at, session.decode(), "", "")


def _grant(entry: Plain) -> Grant:
    _place, at, key_of, _session, lifetime, kind, _late = entry
    protocol, method, tls, written_as = read_kind(kind)
    where, _, user = key_of.partition(b"\0")
    return Grant(where.decode("ascii"), user.decode(), at, at + lifetime, written_as, 0, protocol, method, tls)


def kind_of_dovecots(protocol: str, method: str, tls: bool) -> bytes:
    """What is stored of the logins in columns, for their judge."""
    return login_kind(protocol, method, tls, dovecot.NAME)
