"""The records everything else speaks in. Frozen, slotted, no behaviour.

Times named `..._at` are epoch seconds UTC. Addresses are canonical text (see `popauthd.address`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

PEER_FORMAT = "cluster"  # the `format` of a login that another node has told of


@dataclass(frozen=True, slots=True)
class Login:
    """A successful POP or IMAP login, as a log line tells it; nothing in it is checked against policy.

    at: when, by the line's own stamp. address: as written in the log, not yet canonical.
    user: as written; may hold anything but a line feed. session: links to a SessionEnd, "" if unknown.
    """

    at: int
    address: str
    user: str
    protocol: str
    method: str = ""
    tls: bool = False
    session: str = ""
    local_address: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class SessionEnd:
    """The end of a session that began with a Login of the same `session` id."""

    at: int
    session: str
    user: str
    protocol: str
    format: str = ""


@dataclass(frozen=True, slots=True)
class Revocation:
    """Ends logins that began at or before `at`: those from an address, those of a user, or all.

    address: canonical, an IPv4 or IPv6 address or an IPv6 /64. user: as written in the log. Both "": everybody.
    made_here: an administrator of this machine asks for it now. It then ends whatever stands, whatever its stamp.
    Otherwise it ends what was at or before its own time, so it may come late, twice, or after an older one.
    """

    at: int
    address: str = ""
    user: str = ""
    made_here: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """A line or login that looks like one that grants, and does not. Counted under its reason word."""

    reason: str
    at: int | None = None
    address: str = ""
    user: str = ""
    format: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A login that failed. It grants nothing, whatever is in it: it only helps to explain a "no".

    address: canonical. user: what the client gave for a user name, which may be anything; "" if the line names none.
    why: a key of popauthd.reasons.FAILED.
    """

    at: int
    address: str
    user: str = ""
    why: str = "password"


@dataclass(frozen=True, slots=True)
class Ignored:
    """A line that has nothing to do with a login, or says that one failed. Not counted by reason.

    failed: who failed to log in from where, if the line tells; it is no part of the verdict.
    """

    reason: str
    format: str = ""
    failed: Failure | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """`address` may relay while now < expires_at, because `user` logged in at `login_at`.

    login_at: the effective time, which is the login's own stamp or, if that is earlier, when we first saw it.
    ahead_seconds: how far the stamp lies behind that; the stamp is what tells one login from another.
    protocol, method, tls: what the login said, so that it can be judged again; "" if nobody knows.
    """

    address: str
    user: str
    login_at: int
    expires_at: int
    format: str = ""
    ahead_seconds: int = 0
    protocol: str = ""
    method: str = ""
    tls: bool = False

    @property
    def stamped_at(self) -> int:
        """The login's own stamp."""
        return self.login_at + self.ahead_seconds


@dataclass(frozen=True, slots=True)
class SharedAddress:
    """An address that many users log in from. It is not granted before `until`; 0 if it is no longer shared.

    since: when it was found to be shared. Both are epoch seconds UTC.
    """

    address: str
    since: int
    until: int
    users: int


Event = Login | SessionEnd | Refusal | Ignored  # what a line tells
Matter = Login | SessionEnd | Refusal | Failure  # what of it the watcher must know
AnyEvent = Event | Failure | Revocation  # what the intake takes
Verdict = Grant | SessionEnd | Refusal | Ignored
