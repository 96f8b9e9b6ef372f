"""The watcher: reads the logs, recognises, and hands what it finds to the intake. The one writer of books and map.

What one chunk of one log taught is entered into the books together with the place in the log (batch.py, ledger.py).
If the books cannot be written (disk full), nothing more is read until it is in, and the map goes on answering.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from popauthd.errors import SourceError, StoreBrokenError, StoreError, StoreFullError
from popauthd.formats.recogniser import Recogniser
from popauthd.logs import Quiet
from popauthd.model import Login, Refusal
from popauthd.policy import longest_lifetime
from popauthd.sources import Chunk, Source, Waking
from popauthd.text import safe
from popauthd.watch.alarm import FORMAT_REASONS, Alarm
from popauthd.watch.batch import Batch
from popauthd.watch.housekeeping import Housekeeping
from popauthd.watch.intake import Intake
from popauthd.watch.ledger import Ledger

log = logging.getLogger("popauthd.watch")

CHUNKS_A_TURN = 8  # of each source, so that control and sweeping come to their turn while catching up
UNREAD = ("unreadable", "refused")  # states of a source in which lines may lie unread
SAMPLE = 160  # characters of a line that is shown


@dataclass(slots=True)
class Followed:
    """A source with the recogniser of its lines."""

    source: Source
    recogniser: Recogniser
    alarm: Alarm = field(default_factory=Alarm)
    last_login_at: int = 0


class Watcher:
    """Owns the sources. Call `start` once, then `turn` whenever something may have happened.

    pushed: Dovecot itself tells of logins too. hearing: the push sources that are served beside the watcher, by
    name, and where; for `status`.
    """

    def __init__(
        self,
        ledger: Ledger,
        housekeeping: Housekeeping,
        followed: list[Followed],
        *,
        pushed: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.ledger = ledger
        self.housekeeping = housekeeping
        self.intake = Intake(ledger, housekeeping, many_ways=pushed or len(followed) > 1)
        self.degraded = ""
        self.hearing: dict[str, str] = {}
        self._followed = followed
        self._clock = clock
        self._caught_up = True
        self._quiet = Quiet(log)

    @property
    def unread_seconds(self) -> int:
        """How far ahead of the clock lines may be stamped that wait to be read; 0 if none waits."""
        waiting = self.intake.waiting or not self._caught_up
        return self.housekeeping.limits.now.future_seconds if waiting else 0

    def start(self) -> None:
        """Bring books and map in line with the clock and each other, and find the place in every log."""
        now = self.now()
        with self.ledger.beginning() as writing:
            self.housekeeping.start(writing, now)
            places = {item.source.name: writing.places.of(item.source.name) for item in self._followed}
            for item in self._followed:
                item.alarm.longest_seconds = writing.meta.longest_silence(item.source.name)
        oldest = now - longest_lifetime(self.housekeeping.limits.now)
        for item in self._followed:
            item.alarm.start(now)
            item.source.resume(places[item.source.name], oldest)
        self.ledger.publish_due()

    def now(self) -> int:
        """Epoch seconds."""
        return int(self._clock())

    def turn(self) -> bool:
        """Read what is new, and do what is due; True if there is more to read at once."""
        try:
            self.housekeeping.tend_clock(self.now())
            more = self._read()
            more = self.housekeeping.tend(self.now(), caught_up=self._caught_up) or more
        except StoreBrokenError:
            raise
        except StoreFullError:
            return self._make_room()
        except StoreError as error:
            return self._trouble(error)
        self.degraded = self.housekeeping.degraded
        return more

    def _make_room(self) -> bool:
        try:
            self.housekeeping.make_room(self.now())
        except StoreError as error:
            return self._trouble(error)
        return True

    def _trouble(self, error: StoreError) -> bool:
        self.degraded = str(error)
        self._quiet.warn("store", f"degraded, trying again: {error}")
        return False

    def _read(self) -> bool:
        more = trouble = False
        self.intake.enter_waiting(self.now())
        for item in self._followed:
            for _ in range(CHUNKS_A_TURN):
                try:
                    chunk = item.source.read(self.now())
                except SourceError as error:
                    self._quiet.warn(item.source.name, f"cannot read: {error}")
                    trouble = True
                    break
                self._note_gaps(item.source)
                if chunk is None:
                    trouble = trouble or item.source.state().get("status") in UNREAD
                    break
                self._take(item, chunk)
                self._listen(item)
            else:
                more = True
        self._caught_up = not more and not trouble
        return more

    def _note_gaps(self, source: Source) -> None:
        for gap in source.take_gaps():
            self.housekeeping.notes.add(f"gap in {source.name}: {gap.what}", gap.at)
            self.housekeeping.notes.count({"gap": 1})

    def _take(self, item: Followed, chunk: Chunk) -> None:
        """Recognise a block, and hand it to the intake with its place."""
        now = self.now()
        events, lines = item.recogniser.block(chunk.block, now, chunk.written_after)
        logins = sum(isinstance(event, Login) for event in events)
        item.alarm.heard(now, lines, logins, Counter(e.reason for e in events if isinstance(e, Refusal)))
        batch = Batch(item.source.name, chunk.place, longest_silence=item.alarm.longest_seconds)
        batch.counts["lines"] = lines
        try:
            self.intake.take_block(batch, events, now)
        finally:
            item.last_login_at = max(item.last_login_at, batch.last_login_at)

    def _listen(self, item: Followed) -> None:
        """Tell what the alarm says, with a line that shows it."""
        now = self.now()
        sign = item.alarm.sign(now)
        if sign is None:
            return
        sample = ""
        alike = [raw for reason, raw in item.recogniser.refused.items() if reason in FORMAT_REASONS]
        if sign[0] == "likeness" and alike:
            sample = f" Sample: {safe(alike[0].decode('utf-8', 'backslashreplace'), SAMPLE)}"
        self.housekeeping.notes.add(f"{item.source.name}: {sign[1]}{sample}", now)

    def status(self) -> dict[str, Any]:
        """What `popauthctl status` shows of the running watcher."""
        now = self.now()
        with self.ledger.reading() as reading:
            today = reading.counters.of(time.strftime("%Y-%m-%d", time.gmtime(now)))
            addresses = reading.published.count()
            sessions = reading.sessions.held_count()
            shared = [asdict(found) for found in reading.shared.all() if found.until]
        sources = [
            {"name": item.source.name, **item.source.state(), "last_login_at": item.last_login_at or None}
            for item in self._followed
        ]
        return {
            "now": now,
            "degraded": self.degraded,
            "dry_run": self.ledger.dry_run,
            "addresses": addresses,
            "held": sessions,
            "shared": shared,
            "sources": sources,
            "pushed": [{"name": name, "where": where} for name, where in self.hearing.items()],
            "today": today,
            "notes": self.housekeeping.notes.texts,
        }

    def descriptors(self) -> Iterator[tuple[int, Callable[[], None]]]:
        """The descriptors of sources that have one to wake by, each with what takes its readiness away."""
        for item in self._followed:
            if isinstance(item.source, Waking) and (descriptor := item.source.fileno()) is not None:
                yield descriptor, item.source.process

    def close(self) -> None:
        """Close sources, books and map."""
        for item in self._followed:
            item.source.close()
        self.housekeeping.close()
        self.ledger.close()
