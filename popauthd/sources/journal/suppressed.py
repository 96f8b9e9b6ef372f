"""Messages that journald suppressed: its rate limit dropped them, and it says so in a record of its own."""

from __future__ import annotations

from popauthd.sources.journal.gaps import Gaps
from popauthd.sources.journal.place import utc
from popauthd.sources.journal.reader import RawRecord

# SD_MESSAGE_JOURNAL_DROPPED in systemd/sd-messages.h. Only journald itself can write with _TRANSPORT=driver.
DROPPED = "a596d6fe7bfa4994828e72309e95d61e"
NOTICES = (f"MESSAGE_ID={DROPPED}", "_TRANSPORT=driver")  # what a reader is told to give for them


def is_notice(record: RawRecord) -> bool:
    """Whether a record is journald's notice that it dropped messages, of whatever unit."""
    return record.get("MESSAGE_ID") == DROPPED.encode() and record.get("_TRANSPORT") == b"driver"


class Suppressed:
    """Counts the messages of one unit that journald dropped, and tells each notice of them as a gap.

    count: the messages dropped so far.
    """

    def __init__(self, unit: str, gaps: Gaps) -> None:
        self.count = 0
        self._unit = unit
        self._gaps = gaps

    def enter(self, notice: RawRecord, at: int) -> bool:
        """Count what a notice says and tell the gap; False if it is about another unit.

        at: the time of the notice in microseconds.
        """
        message = notice.get("MESSAGE")
        if not isinstance(message, bytes) or not message.endswith(f" from {self._unit}".encode()):
            return False
        number = _number(notice.get("N_DROPPED"))
        self.count += number
        self._gaps.note(
            f"journald dropped {number or 'some'} messages of {self._unit} before {utc(at)} (its rate limit): "
            f"logins may be among them; set LogRateLimitIntervalSec=0 with systemctl edit {self._unit}"
        )
        return True


def _number(count: object) -> int:
    return int(count) if isinstance(count, str) and count.isascii() and count.isdigit() else 0
