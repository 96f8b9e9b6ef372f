"""Notices when the log speaks and nothing is understood: another program or host, a new Dovecot, a changed log format.

Six signs, all pure and with the clock an argument. Each names a row of popauthd/conditions.py.

- `head-not-understood`: lines hold a whole login, and are refused for what stands before it.
- `login-not-understood`: lines look like logins, and what they say is not understood.
- `some-logins-refused`: the same of either, while other logins are recognised.
- `no-login-seen`: the log grows, and no login was recognised for much longer than this host has ever gone without one.
- `dovecot-not-seen`: the log grows, and not one line of it is Dovecot's.
- `login-times-off`: logins are recognised, and their stamps are so far from our clock that none of them grants.

Strangers can have lines written that fail, all day long: a failed login of a new wording, or, with an account on this
machine, a line of any program. So a login that was recognised makes of the first two no more than a warning. After it,
what strangers can write is degraded only when nobody logged in for longer than is usual. A line in which a login is
quoted behind other text, such as a user name, does not count at all (formats/heads.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from popauthd.formats.heads import HEAD_REASONS, described
from popauthd.text import length_of_time, safe

# What is not understood of the message itself, each with what to look at.
MESSAGE_REASONS: Mapping[str, str] = {
    "no-user": "the lines name no user: login_log_format_elements must have user=<%u> (2.4: user=<%{user}>)",
    "no-address": "the lines have no client address: login_log_format_elements must have rip=%r (2.4: "
    "rip=%{remote_ip})",
    "bad-elements": "a new Dovecot, or a changed login_log_format_elements?",
    "no-level": "a new Dovecot, or a changed login_log_format_elements?",
    "unknown-message": "a new Dovecot, or a changed login_log_format_elements?",
}
SIGNS = (
    "head-not-understood", "login-not-understood", "some-logins-refused", "no-login-seen", "dovecot-not-seen",
    "login-times-off",
)  # fmt: skip
BY_STRANGERS = frozenset({*HEAD_REASONS, "unknown-message"})  # what others than Dovecot, or clients, can have written
ALIKE_AT_LEAST = 5
ALIKE_FOR_SECONDS = 86400  # after so long without another one, what was refused is forgotten
IN_A_ROW = 20  # so many logins without another refusal show that the log is understood again
LINES_AT_LEAST = 100  # fewer lines than this prove nothing
FIRST_SILENCE_SECONDS = 6 * 3600  # before this host's own longest silence is known
SHORTEST_SILENCE_SECONDS = 1800
UNSEEN_SECONDS = 600
UNUSUAL = 3  # times the longest silence known
SAMPLE = 160  # characters of a line that is shown


@dataclass(slots=True)
class Alarm:
    """The signs of one source. `longest_seconds`: the longest silence known so far, kept by the caller.

    lines: since the last login. heard_lines: since the start. login_seen: one was recognised since the start.
    alike: lines refused by reason, until the log is understood again. samples: a line for each of those reasons.
    alike_at: when the last one came. logins, in_a_row: recognised since the first, and since the last of them.
    """

    longest_seconds: int = 0
    quiet_since: int = 0
    started_at: int = 0
    lines: int = 0
    heard_lines: int = 0
    dovecot_at: int | None = None
    login_seen: bool = False
    alike_at: int = 0
    logins: int = 0
    in_a_row: int = 0
    off: int = 0
    off_seconds: int = 0
    alike: Counter[str] = field(default_factory=Counter)
    samples: dict[str, bytes] = field(default_factory=dict)

    def start(self, now: int) -> None:
        """Begin to listen: what happened before the start is unknown."""
        self.quiet_since = self.started_at = now

    def heard(
        self,
        now: int,
        lines: int,
        logins: int,
        refused: Counter[str],
        samples: Mapping[str, bytes],
        *,
        dovecots: bool,
    ) -> None:
        """Take in what one block of lines taught.

        refused: how many by reason; of a reason of HEAD_REASONS only those whose message is a login. dovecots: whether
        a line was Dovecot's.
        """
        self.lines += lines
        self.heard_lines += lines
        self._refused(now, refused, samples)
        if logins or dovecots:
            self.dovecot_at = now
        if not logins:
            return
        if self.lines >= LINES_AT_LEAST:
            self.longest_seconds = max(self.longest_seconds, now - self.quiet_since)
        self.quiet_since, self.lines, self.login_seen = now, 0, True
        self.logins += logins
        self.in_a_row += logins
        if self.logins > self.alike.total() or self.in_a_row >= IN_A_ROW:
            self._understood()

    def stamped(self, now: int, stamps: Sequence[int], after: int, until: int) -> None:
        """Take in the stamps of logins that have just been written.

        after, until: a login whose stamp is not later than `after`, or later than `until`, grants nothing.
        """
        off = [stamp for stamp in stamps if not after < stamp <= until]
        if len(off) < len(stamps):
            self.off = 0
        elif off:
            self.off += len(off)
            self.off_seconds = off[-1] - now

    def _refused(self, now: int, refused: Counter[str], samples: Mapping[str, bytes]) -> None:
        if now - self.alike_at > ALIKE_FOR_SECONDS:
            self._understood()
        for reason, number in refused.items():
            if number and (reason in HEAD_REASONS or reason in MESSAGE_REASONS):
                self.alike[reason] += number
                self.samples.setdefault(reason, samples.get(reason, b""))
                self.alike_at, self.in_a_row = now, 0

    def _understood(self) -> None:
        self.alike.clear()
        self.samples.clear()
        self.logins = self.in_a_row = 0

    def signs(self, now: int) -> dict[str, str]:
        """The signs that stand: word -> what was seen, a sentence for the administrator."""
        found = {}
        silence = now - self.quiet_since
        if self.alike.total() >= ALIKE_AT_LEAST + self.logins and now - self.alike_at <= ALIKE_FOR_SECONDS:
            heads = {reason: number for reason, number in self.alike.items() if reason in HEAD_REASONS}
            others = {reason: number for reason, number in self.alike.items() if reason in MESSAGE_REASONS}
            worse = heads if sum(heads.values()) >= sum(others.values()) else others
            word = "head-not-understood" if worse is heads else "login-not-understood"
            found[word if self._none_recognised(silence) else "some-logins-refused"] = self._worst(worse)
        if self.off >= ALIKE_AT_LEAST:
            how = "ahead of our clock" if self.off_seconds > 0 else "before they were written"
            found["login-times-off"] = (
                f"the last {self.off} logins were stamped {length_of_time(abs(self.off_seconds))} {how}, so none of "
                "them grants"
            )
        usual = self.longest_seconds * UNUSUAL or FIRST_SILENCE_SECONDS
        enough = self.heard_lines >= LINES_AT_LEAST and now - self.started_at >= UNSEEN_SECONDS
        if self.dovecot_at is None and enough and not found:
            found["dovecot-not-seen"] = f"{self.heard_lines} lines were read since the start, and none is Dovecot's"
        elif self.lines >= LINES_AT_LEAST and silence > max(usual, SHORTEST_SILENCE_SECONDS):
            found["no-login-seen"] = (
                f"the log has grown by {self.lines} lines and no login was recognised for {silence // 60} minutes, "
                "longer than ever"
            )
        return found

    def _none_recognised(self, silence: int) -> bool:
        """Whether it is sure enough that no login is recognised here any more."""
        if silence > max(self.longest_seconds, SHORTEST_SILENCE_SECONDS):
            return True
        if BY_STRANGERS.issuperset(self.alike):
            before = self.login_seen or (self.longest_seconds > 0 and "unknown-message" in self.alike)
            return not before
        return not self.logins

    def _worst(self, numbers: Mapping[str, int]) -> str:
        """What is said of the reason that was met most."""
        reason = max(numbers, key=lambda one: numbers[one])
        sample = self.samples[reason]
        why = described(reason, sample) if reason in HEAD_REASONS else MESSAGE_REASONS[reason]
        shown = safe(sample.decode("utf-8", "backslashreplace"), SAMPLE)
        counts = ", ".join(f"{one} {number}" for one, number in Counter(numbers).most_common(3))
        return f"lines look like logins and are not understood ({counts}); {why}. Sample: {shown}"
