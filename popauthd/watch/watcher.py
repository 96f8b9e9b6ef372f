"""The watcher: take lines, recognise, decide, commit, publish. The one writer of books and map.

A batch (see batch.py) is what one chunk of one log taught. It is entered into the books together with the place
in the log, and the map is changed inside that transaction just before it is committed: a crash
between the two leaves a map that the next start derives anew. If the books cannot be written (disk
full), the batch is kept and tried again; nothing more is read until it is in, and the map goes on answering.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from popauthd.errors import SourceError, StoreBrokenError, StoreError, StoreFullError
from popauthd.formats import Recogniser
from popauthd.model import Event, Login, Refusal
from popauthd.policy import Limits, longest_lifetime
from popauthd.sources import Source, Waking
from popauthd.store.books import Books
from popauthd.store.publisher import Publisher
from popauthd.text import Quiet, safe
from popauthd.watch.alarm import FORMAT_REASONS, Alarm
from popauthd.watch.batch import Batch, Entered
from popauthd.watch.deduplication import Twice
from popauthd.watch.housekeeping import House

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
    """Owns books and map. Call `start` once, then `turn` whenever something may have happened.

    hearing: the push sources that are served beside it, by name, and where; for `status`.
    """

    def __init__(
        self,
        books: Books,
        publisher: Publisher,
        house: House,
        followed: list[Followed],
        *,
        pushed: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.books = books
        self.publisher = publisher
        self.house = house
        self.degraded = ""
        self.hearing: dict[str, str] = {}
        self._followed = followed
        self._clock = clock
        self._pending: Batch | None = None
        self._holding = books.rules.hold_seconds > 0
        self._many_ways = pushed or len(followed) > 1
        self._twice = Twice() if self._many_ways else None
        self._caught_up = True
        self._quiet = Quiet(log)

    @property
    def limits(self) -> Limits:
        """The limits that are in force."""
        return self.house.limits

    @property
    def unread_seconds(self) -> int:
        """How far ahead of the clock lines may be stamped that wait to be read; 0 if none waits."""
        return 0 if self._caught_up and self._pending is None else self.limits.future_seconds

    def start(self) -> None:
        """Bring books and map in line with the clock and each other, and find the place in every log."""
        now = self.now()
        with self.books.writing() as writing:
            self.house.start(writing, now)
            self.publisher.replace(writing)
            places = {item.source.name: writing.place(item.source.name) for item in self._followed}
            for item in self._followed:
                item.alarm.longest_seconds = writing.longest_silence(item.source.name)
        for item in self._followed:
            item.alarm.start(now)
            item.source.resume(places[item.source.name], now - longest_lifetime(self.limits))
        self.publisher.tend(self.books)

    def now(self) -> int:
        """Epoch seconds."""
        return int(self._clock())

    def turn(self) -> bool:
        """Read what is new, and do what is due; True if there is more to read at once."""
        try:
            self.house.mind_the_clock(self.now())
            more = self._read()
            more = self.house.tend(self.now(), caught_up=self._caught_up) or more
        except StoreBrokenError:
            raise
        except StoreFullError:
            return self._make_room()
        except StoreError as error:
            return self._trouble(error)
        self.degraded = self.house.degraded
        return more

    def _make_room(self) -> bool:
        try:
            self.house.make_room(self.now())
        except StoreError as error:
            return self._trouble(error)
        return True

    def _trouble(self, error: StoreError) -> bool:
        self.degraded = str(error)
        self._quiet.warn("store", f"degraded, trying again: {error}")
        return False

    def _read(self) -> bool:
        more = trouble = False
        if self._pending is not None:
            self._commit(self._pending)
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
                self._commit(self._learn(item, chunk.block, chunk.place, chunk.written_after))
                self._listen(item)
            else:
                more = True
        self._caught_up = not more and not trouble
        return more

    def _note_gaps(self, source: Source) -> None:
        for gap in source.take_gaps():
            self.house.note(f"gap in {source.name}: {gap.what}", gap.at)
            self.house.count({"gap": 1})

    def _learn(self, item: Followed, block: bytes, place: bytes, written_after: int | None) -> Batch:
        now = self.now()
        batch = Batch(item.source.name, place)
        events, lines = item.recogniser.block(block, now, written_after)
        batch.counts["lines"] = lines
        batch.counts.update(self.house.uncounted)
        self.house.uncounted.clear()
        logins = sum(isinstance(event, Login) for event in events)
        item.alarm.heard(now, lines, logins, Counter(e.reason for e in events if isinstance(e, Refusal)))
        batch.longest_silence = item.alarm.longest_seconds
        self._learn_own(events)
        booted_at = self.house.booted_at
        batch.learn(events, self.limits, now, holding=self._holding, twice=self._twice, booted_at=booted_at)
        item.last_login_at = max(item.last_login_at, batch.last_login_at)
        return batch

    def _learn_own(self, events: Sequence[Event]) -> None:
        """The addresses that logins came in on are this machine's."""
        self.house.learn_own({event.local_address for event in events if isinstance(event, Login)} - {""})

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
        self.house.note(f"{item.source.name}: {sign[1]}{sample}", now)

    def _commit(self, batch: Batch) -> None:
        """Enter a batch and its place in one transaction. On StoreError it stays pending, unchanged."""
        self._pending = batch
        self._enter(batch)
        self._pending = None

    def _enter(self, batch: Batch) -> Entered:
        with self.books.writing() as writing:
            entered = batch.enter(writing, self.now(), remember=self._many_ways)
            self.publisher.apply(writing)
        word = "would be granted (dry run)" if self.publisher.dry_run else "granted"
        for grant in entered.opened:
            log.info(
                "%s address=%s expires_at=%d user=%s source=%s",
                word, grant.address, grant.expires_at, safe(grant.user), batch.source,
            )  # fmt: skip
        for refusal in entered.refused:
            self._quiet.warn(
                refusal.reason,
                f"refused reason={refusal.reason} address={safe(refusal.address)} user={safe(refusal.user)} "
                f"source={batch.source}",
            )
        for shared in entered.shared:
            self.house.note(
                f"shared address {shared.address}: more than {self.books.rules.shared_users} users logged in from it "
                "within the lifetime; it is no longer granted. Name it in `proxies`, or in `always` if it must relay",
                self.now(),
            )
        return entered

    def enter(self, login: Login, source: str) -> bool:
        """Enter a login that Dovecot itself told; True once its grant is published, False if it is refused.

        It opens no session to be held: only a log tells of its end, and a log that does tells of its beginning.
        Raises StoreError if it cannot be entered now; it is not kept.
        """
        now = self.now()
        self.house.mind_the_clock(now)
        self._learn_own([login])
        batch = Batch(source)
        batch.learn([login], self.limits, now, holding=False, twice=self._twice)
        return not self._enter(batch).refused

    def status(self) -> dict[str, Any]:
        """What `popauthctl status` shows of the running watcher."""
        now = self.now()
        with self.books.reading() as reading:
            today = reading.counters(time.strftime("%Y-%m-%d", time.gmtime(now)))
            addresses = reading.published_count()
            sessions = reading.held_count()
            shared = [asdict(found) for found in reading.all_shared() if found.until]
        sources = [
            {"name": item.source.name, **item.source.state(), "last_login_at": item.last_login_at or None}
            for item in self._followed
        ]
        return {
            "now": now,
            "degraded": self.degraded,
            "dry_run": self.publisher.dry_run,
            "addresses": addresses,
            "held": sessions,
            "shared": shared,
            "sources": sources,
            "pushed": [{"name": name, "where": where} for name, where in self.hearing.items()],
            "today": today,
            "notes": self.house.notes,
        }

    def descriptors(self) -> Iterator[tuple[int, Callable[[], None]]]:
        """The descriptors of sources that have one to wake by, each with what takes its readiness away."""
        for item in self._followed:
            if isinstance(item.source, Waking) and (descriptor := item.source.fileno()) is not None:
                yield descriptor, item.source.process

    def close(self) -> None:
        """Close sources, map and books."""
        for item in self._followed:
            item.source.close()
        self.house.close()
        self.publisher.close()
        self.books.close()
