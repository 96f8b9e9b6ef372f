"""What the books know beside logins: times, the clock, this machine's addresses, silences. Database `meta`."""

from __future__ import annotations

from collections.abc import Iterable

from popauthd.store.books.transaction import Transaction


class Meta:
    """Times that are noted on the way are written down by `finish`, the last step of a transaction.

    latest_at: the latest moment that the books know of: no clock that was right since stood before it.
    latest_stamp: the latest stamp of a login that the books have known; set back with the clock.
    furthest_stamp: the same as the log has it, however the clock was set since.
    """

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction
        self.latest_at = self._number(b"latest")
        self.latest_stamp = self._number(b"stamped")
        self.furthest_stamp = max(self.latest_stamp, self._number(b"furthest"))

    def _number(self, name: bytes) -> int:
        return int(self._transaction.get("meta", name) or 0)

    def note_time(self, at: int) -> None:
        """Note that the wall clock has been seen to stand at `at`, or that something is known of that time."""
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
        """Write down what was noted."""
        noted = ((b"latest", self.latest_at), (b"stamped", self.latest_stamp), (b"furthest", self.furthest_stamp))
        for name, at in noted:
            if at != self._number(name):
                self._transaction.put("meta", name, b"%d" % at)

    def clock(self) -> tuple[str, int] | None:
        """The boot id and the offset (wall clock minus boot clock, seconds) that the times belong to."""
        value = self._transaction.get("meta", b"clock")
        if value is None:
            return None
        boot_id, _, offset = value.decode("ascii").rpartition(" ")
        return boot_id, int(offset)

    def set_clock(self, boot_id: str, offset: int) -> None:
        """Note the boot and the clock offset that the times belong to."""
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
        """When the log last told of the end of a session whose login it told of; 0 for never."""
        return self._number(b"ends")

    def set_last_logged_end_at(self, at: int) -> None:
        """Note that the log told of the end of a session."""
        self._transaction.put("meta", b"ends", b"%d" % at)

    def limits_are(self, fingerprint: str) -> bool:
        """Whether what stands was judged by these limits; they are noted."""
        if self._transaction.get("meta", b"limits") == fingerprint.encode("ascii"):
            return True
        self._transaction.put("meta", b"limits", fingerprint.encode("ascii"))
        return False

    def judged_by_an_older_version(self, asked: str) -> bool:
        """Whether logins of older books, of which less is known, still count as good.

        asked: what the limits ask of a login's line. They do until that is another than when it was first given here.
        """
        first = self._transaction.get("meta", b"unjudged")
        if first == b"1":
            first = asked.encode("ascii")
            self._transaction.put("meta", b"unjudged", first)
        return first == asked.encode("ascii")
