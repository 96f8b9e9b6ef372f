"""What the checks of Dovecot's configuration are told, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from popauthd.config import SourceConfig
from popauthd.text import length_of_time

# danger: somebody may relay who must not. warning: logins are lost, or what is safe hangs by one thread.
SEVERITIES = ("ok", "note", "warning", "danger")
SNIPPETS = "/usr/share/popauthd/dovecot"
PROOF_SECONDS = 86_400  # a line that is older does not prove that lines still arrive


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check says. advice: what to do, "" if nothing. fault: whether logins are lost by it altogether."""

    check: str
    severity: str
    seen: str
    advice: str = ""
    fault: bool = False


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
class Seen:
    """What the running watcher has seen of Dovecot: the only proof that its logins arrive.

    watching: whether a watcher told. line_at: when its last line was written, epoch seconds, 0 if it saw none. now: the
    watcher's time. dropped: how many of Dovecot's messages journald says that it dropped.
    """

    watching: bool = False
    line_at: int = 0
    now: int = 0
    dropped: int = 0

    @property
    def words(self) -> str:
        """When the last line came, in words."""
        if not self.watching:
            return "no watcher told whether it saw a line of it"
        if not self.line_at:
            return "no line of it was seen since popauthd was started: log in once, and look again"
        return f"its last line was seen {length_of_time(self.now - self.line_at)} ago"

    @property
    def lately(self) -> bool:
        """Whether a line was seen that proves that they still arrive."""
        return bool(self.line_at) and self.now - self.line_at <= PROOF_SECONDS


@dataclass(frozen=True, slots=True)
class World:
    """What is known beside Dovecot's configuration.

    sources: what popauthd follows. protocols: whose logins grant. post_login, push_users: whether it hears Dovecot's
    script, and of which users. auth_policy: address and port where it hears Dovecot's reports, "" if nowhere.
    loose: for a log file that others than Dovecot and root can write or replace, who and how; files that are fine
    are not in it. seen: what the running watcher has seen.
    """

    sources: tuple[SourceConfig, ...] = ()
    protocols: tuple[str, ...] = ("pop3", "imap")
    post_login: bool = False
    push_users: tuple[str, ...] = ()
    auth_policy: str = ""
    hold_sessions: bool = True
    loose: Mapping[str, str] = field(default_factory=dict)
    journal: Journal = field(default_factory=Journal)
    seen: Seen = field(default_factory=Seen)

    @property
    def pushed(self) -> bool:
        """Whether popauthd is told of logins by Dovecot itself."""
        return self.post_login or bool(self.auth_policy)
