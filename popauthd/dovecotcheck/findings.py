"""What the checks of Dovecot's configuration are told, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from popauthd.config import SourceConfig

# danger: somebody may relay who must not. warning: logins are lost, or what is safe hangs by one thread.
SEVERITIES = ("ok", "note", "warning", "danger")


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says. advice: what to do, "" if nothing."""

    check: str
    severity: str
    seen: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Journal:
    """journald on this machine. It drops what a service logs above `burst` messages in `interval_seconds`; 0: never."""

    here: bool = False
    burst: int = 10_000
    interval_seconds: float = 30.0

    @property
    def limited(self) -> bool:
        """Whether it drops anything."""
        return self.burst > 0 and self.interval_seconds > 0


@dataclass(frozen=True, slots=True)
class World:
    """What is known beside Dovecot's configuration.

    sources: what popauthd follows. protocols: whose logins grant. post_login, push_users: whether it hears Dovecot's
    script, and of which users. auth_policy: address and port where it hears Dovecot's reports, "" if nowhere.
    loose: for a log file that others than Dovecot and root can write or replace, who and how; files that are fine
    are not in it.
    """

    sources: tuple[SourceConfig, ...] = ()
    protocols: tuple[str, ...] = ("pop3", "imap")
    post_login: bool = False
    push_users: tuple[str, ...] = ()
    auth_policy: str = ""
    hold_sessions: bool = True
    loose: Mapping[str, str] = field(default_factory=dict)
    journal: Journal = field(default_factory=Journal)

    @property
    def pushed(self) -> bool:
        """Whether popauthd is told of logins by Dovecot itself."""
        return self.post_login or bool(self.auth_policy)
