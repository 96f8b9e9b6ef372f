"""What the books know besides logins: times, the clock, this machine's addresses, silences. Database `meta`."""

from __future__ import annotations

from collections.abc import Iterable

from popauthd.store.books.transaction import Transaction


class Meta:
    """Collects times during a transaction. `finish`, its last step, writes them down.

    latest_at: the latest time that the books know of. A right clock cannot show an earlier time.
    latest_stamp: the latest stamp of any login that the books have known. If the clock is set back, so is this.
    furthest_stamp: the same stamp as the log has it. It is never set back.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.latest_at = self._number(b"latest")
        self.latest_stamp = self._number(b"stamped")
        self.furthest_stamp = max(self.latest_stamp, self._number(b"furthest"))

    def _number(self, name: bytes) -> int:
        return int(self._transaction.get("meta", name) or 0)

    def note_time(self, at: int) -> None:
        """Note a time that the wall clock has shown, or that something known carries."""
        self.latest_at = max(self.latest_at, at)

    def note_login(self, at: int, stamped_at: int) -> None:
        """Note the times of a login that is stored: its effective time and its stamp."""
        self.latest_at = max(self.latest_at, at)
        self.latest_stamp = max(self.latest_stamp, stamped_at)
        self.furthest_stamp = max(self.furthest_stamp, self.latest_stamp)

    def clock_was_set_back(self, seconds: int, now: int) -> None:
        """The wall clock was set back by `seconds`, to `now`."""
        self.latest_at, self.latest_stamp = now, self.latest_stamp - seconds

    def finish(self) -> None:
        """Write down the times that were noted."""
        noted = ((b"latest", self.latest_at), (b"stamped", self.latest_stamp), (b"furthest", self.furthest_stamp))
        for name, at in noted:
            if at != self._number(name):
                self._transaction.put("meta", name, b"%d" % at)

    def clock(self) -> tuple[str, int] | None:
        """The boot id and clock offset (wall clock minus boot clock, seconds) with which the times were noted."""
        value = self._transaction.get("meta", b"clock")
        if value is None:
            return None
        boot_id, _, offset = value.decode("ascii").rpartition(" ")
        return boot_id, int(offset)

    def set_clock(self, boot_id: str, offset: int) -> None:
        """Note the boot id and the clock offset of now."""
        self._transaction.put("meta", b"clock", f"{boot_id} {offset}".encode("ascii"))

    def own_addresses(self) -> tuple[str, ...]:
        """The addresses of this machine that are known from logins and from popauthctl, the oldest first."""
        return tuple((self._transaction.get("meta", b"own") or b"").decode("ascii").split())

    def set_own_addresses(self, addresses: Iterable[str]) -> None:
        """Note the addresses of this machine, the oldest first."""
        self._transaction.put("meta", b"own", " ".join(addresses).encode("ascii"))

    def longest_silence(self, source: str) -> int:
        """The longest time, in seconds, that a source is known to have gone without a login."""
        return self._number(b"silence\0" + source.encode())

    def set_longest_silence(self, source: str, seconds: int) -> None:
        """Note how long a source has gone without a login."""
        self._transaction.put("meta", b"silence\0" + source.encode(), b"%d" % seconds)

    def last_logged_end_at(self) -> int:
        """When the log last told of the end of a session whose login was known; 0 for never."""
        return self._number(b"ends")

    def set_last_logged_end_at(self, at: int) -> None:
        """Note that the log told of the end of a session."""
        self._transaction.put("meta", b"ends", b"%d" % at)

    def limits_are(self, fingerprint: str) -> bool:
        """Whether the stored logins were judged by these limits."""
        return self._transaction.get("meta", b"limits") == fingerprint.encode("ascii")

    def set_limits(self, fingerprint: str) -> None:
        """Note that the stored logins were judged by these limits."""
        self._transaction.put("meta", b"limits", fingerprint.encode("ascii"))

    def judged_by_an_older_version(self, asked: str) -> bool:
        """Whether logins from older books, of which less is known, still count as granted.

        asked: what the limits ask of a login's line. It is noted at the first call; they count until it changes.
        """
        first = self._transaction.get("meta", b"unjudged")
        if first == b"1":
            first = asked.encode("ascii")
            self._transaction.put("meta", b"unjudged", first)
        return first == asked.encode("ascii")
