"""Notices when the log speaks and nothing is understood: a new Dovecot, a changed log format.

Two signs, both pure and with the clock an argument. *Silence*: the log grows, and no login has been
recognised for much longer than this host has ever gone without one. *Likeness*: lines look like logins
and fail the grammar, time and again, and fewer are recognised than fail.

Each is told once, until a login is recognised again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

# Reasons that a changed log format gives, as opposed to an attack or a policy.
FORMAT_REASONS = frozenset(
    {"bad-elements", "bad-stamp", "no-address", "no-user", "no-level", "unframed", "unknown-message", "undecided"}
)
LIKENESS_AT_LEAST = 5
LINES_AT_LEAST = 100  # fewer lines than this prove nothing
FIRST_SILENCE_SECONDS = 6 * 3600  # before this host's own longest silence is known
SHORTEST_SILENCE_SECONDS = 1800
UNUSUAL = 3  # times the longest silence known


@dataclass(slots=True)
class Alarm:
    """The signs of one source. `longest_seconds`: the longest silence known so far, kept by the caller."""

    longest_seconds: int = 0
    quiet_since: int = 0
    lines: int = 0
    alike: Counter[str] = field(default_factory=Counter)
    logins: int = 0
    told: set[str] = field(default_factory=set)

    def start(self, now: int) -> None:
        """Begin to listen: what happened before the start is unknown."""
        self.quiet_since = now

    def heard(self, now: int, lines: int, logins: int, refused: Counter[str]) -> None:
        """Take in what one block of lines taught."""
        self.lines += lines
        self.alike.update({reason: number for reason, number in refused.items() if reason in FORMAT_REASONS})
        self.logins += logins
        if not logins:
            return
        if self.lines >= LINES_AT_LEAST:
            self.longest_seconds = max(self.longest_seconds, now - self.quiet_since)
        self.quiet_since, self.lines = now, 0
        self.told.discard("silence")
        if self.logins > sum(self.alike.values()):
            self.alike.clear()
            self.logins = 0
            self.told.discard("likeness")

    def sign(self, now: int) -> tuple[str, str] | None:
        """A sign not told yet: (its name, the sentence for the administrator)."""
        if "likeness" not in self.told and sum(self.alike.values()) >= LIKENESS_AT_LEAST + self.logins:
            self.told.add("likeness")
            worst = ", ".join(f"{reason} {number}" for reason, number in self.alike.most_common(3))
            return (
                "likeness",
                f"lines look like logins and are not understood ({worst}): a new Dovecot, or a changed "
                "login_log_format_elements? Look with: popauthctl recognise",
            )
        usual = self.longest_seconds * UNUSUAL or FIRST_SILENCE_SECONDS
        silence = now - self.quiet_since
        if (
            "silence" not in self.told
            and self.lines >= LINES_AT_LEAST
            and silence > max(usual, SHORTEST_SILENCE_SECONDS)
        ):
            self.told.add("silence")
            return (
                "silence",
                f"the log has grown by {self.lines} lines and no login was recognised for {silence // 60} minutes, "
                "longer than ever: does Dovecot still log its logins here?",
            )
        return None
