"""What one node tells the others: plain records, merged by maximum, so that order and repetition do not matter.

Times are epoch seconds UTC by the clock of the node that tells. `user` is always a pseudonym (pseudonym.py).
Each node judges a peer's login by its own policy and gives it its own lifetime: times travel, not expiries.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PeerLogin:
    """The latest login of a user from an address.

    address: a key of the relay map, so an address or an IPv6 /64. at: its effective time. open_at: the latest time at
    which a held session of that login was known to be open; the same as `at` if none is held. The login counts while
    now < max(at, open_at) + the receiver's lifetime. protocol, method, tls: what the log line told.
    """

    address: str
    user: str
    at: int
    open_at: int
    protocol: str = ""
    method: str = ""
    tls: bool = False


@dataclass(frozen=True, slots=True)
class PeerGrant:
    """An administrator's grant by hand of a key of the relay map, made at `at`; it has its own end."""

    address: str
    at: int
    expires_at: int


@dataclass(frozen=True, slots=True)
class PeerRevocation:
    """Ends logins that began at or before `at`: those from an address, those of a user, or with both "" all.

    Sessions that began at or before `at` end as well.
    """

    at: int
    address: str = ""
    user: str = ""


@dataclass(frozen=True, slots=True)
class Hello:
    """A node is alive. wants_all: it may have missed something, so everybody else publishes all that stands again."""

    wants_all: bool = False
    version: str = ""


PeerEvent = PeerLogin | PeerGrant | PeerRevocation | Hello
