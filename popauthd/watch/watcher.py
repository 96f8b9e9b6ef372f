"""The watcher: reads the logs, recognises, and hands what it finds to the intake. The one writer of books and map.

What one chunk of one log taught is entered into the books together with the place in the log (batch.py, ledger.py).
If the books cannot be written (disk full), nothing more is read until it is in, and the map goes on answering.
"""

from __future__ import annotations

import logging
import os
import selectors
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from popauthd import __version__
from popauthd.cluster.pseudonym import Pseudonyms
from popauthd.errors import SourceError, StoreBrokenError, StoreError, StoreFullError
from popauthd.formats.columns import Block
from popauthd.formats.heads import HEAD_REASONS
from popauthd.formats.recogniser import Recogniser
from popauthd.logs import Quiet
from popauthd.model import Login, Refusal
from popauthd.mounts import is_mount_point
from popauthd.policy.limits import longest_lifetime
from popauthd.sources import Chunk, Source, Waking
from popauthd.status import (
    PRESENT,
    ClusterStatus,
    ConfigurationStatus,
    FileStatus,
    JournalStatus,
    PushStatus,
    SourceStatus,
    Status,
)
from popauthd.store.books import Writing
from popauthd.store.books.counters import day_of
from popauthd.watch.alarm import SIGNS, UNSEEN_SECONDS, Alarm
from popauthd.watch.health import Health
from popauthd.watch.housekeeping import Housekeeping
from popauthd.watch.intake import Intake
from popauthd.watch.ledger import Ledger

log = logging.getLogger("popauthd.watch")

CHUNKS_A_TURN = 16  # of each source, so that control and sweeping come to their turn while catching up
TURN_SECONDS = 0.02  # or fewer chunks, as somebody may wait for an answer
UNREAD = ("unreadable", "refused")  # states of a source in which lines may lie unread
MOUNTED = "the log itself is a mount point; after a rotation outside nothing new would be seen"
CANNOT_READ = {"missing": "log-missing", "unreadable": "log-unreadable", "refused": "log-refused"}  # to its condition
EMPTY = "the journal has no record of Dovecot's"
MISSING_SECONDS = 5  # a rotation takes less, until the log is there again
DOVECOT_EVERY_SECONDS = 60  # how often it is looked whether a server of ours still writes here


@dataclass(slots=True, eq=False)
class Followed:
    """A source with the recogniser of its lines.

    seen: its log was there since the start. missing_since: when it was first seen missing, None while it is there.
    lost_until: when lines of it that are lost could grant nothing any more.
    """

    source: Source
    recogniser: Recogniser
    alarm: Alarm = field(default_factory=Alarm)
    last_login_at: int = 0
    seen: bool = False
    missing_since: int | None = None
    lost_until: int = 0

    def status(self) -> SourceStatus:
        """How this source is."""
        return SourceStatus(self.source.name, self.source.state(), self.last_login_at or None, self.alarm.dovecot_at)


class Configured(Protocol):
    """The configuration that a watcher goes by."""

    def state(self) -> ConfigurationStatus:
        """What is in force, compared with the file right now: the conditions say what differs."""

    def reload(self) -> dict[str, Any]:
        """Put the file in force; returns the reply to who asked for it. Raises PopauthdError."""


class Clustered(Protocol):
    """This node's part in a cluster. names: of users there."""

    names: Pseudonyms

    def listen(self, selector: selectors.BaseSelector) -> None:
        """Wake the loop of this selector when there is something to take in."""

    def start(self, writing: Writing, now: int) -> None:
        """Begin, within the first transaction."""

    def tend(self, now: float) -> bool:
        """Take in and hand over; True if there is more to do at once. Raises StoreError."""

    def status(self, unsent: int) -> ClusterStatus:
        """How it is. unsent: how many events wait in the books."""

    def close(self) -> None:
        """Tell and hear nothing any more."""


class Watcher:
    """Owns the sources. Call `start` once, then `turn` whenever something may have happened.

    pushed: Dovecot itself tells of logins too. asked: the sources that are to be asked whether they have something to
    read. hearing: the push sources that are served beside the watcher, for `status`. damaged: what happened to files
    that were found damaged before this start. found: whether the last turn found something to read. logs_named: an
    administrator has named what is followed.
    """

    def __init__(
        self,
        ledger: Ledger,
        housekeeping: Housekeeping,
        followed: list[Followed],
        *,
        pushed: bool = False,
        damaged: str = "",
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.ledger = ledger
        self.housekeeping = housekeeping
        self.intake = Intake(ledger, housekeeping, many_ways=pushed or len(followed) > 1, waited_for=pushed)
        self.health = Health()
        self.hearing: list[PushStatus] = []
        self.configured: Configured | None = None
        self.cluster: Clustered | None = None
        self.logs_named = True
        self.followed = followed
        self.asked = _asked(followed)
        self.found = False
        self._clock = clock
        self._caught_up = True
        self._damaged = damaged
        self._damaged_until = 0
        self._quiet = Quiet(log)

    @property
    def unread_seconds(self) -> int:
        """How far ahead of the clock lines may be stamped that wait to be read; 0 if none waits."""
        waiting = self.intake.waiting or not self._caught_up
        return self.housekeeping.limits.now.future_seconds if waiting else 0

    def start(self) -> None:
        """Bring books and map in line with the clock and each other, and find the place in every log."""
        now = self.now()
        self.housekeeping.prepare(now)
        with self.ledger.beginning() as writing:
            self.housekeeping.start(writing, now)
            if self.cluster is not None:
                self.cluster.start(writing, now)
            else:
                writing.outbox.clear()
            places = {item.source.name: writing.places.of(item.source.name) for item in self.followed}
            silences = {item.source.name: writing.meta.longest_silence(item.source.name) for item in self.followed}
        self._damaged_until = now + longest_lifetime(self.housekeeping.limits.now)
        self._resume(self.followed, places, silences)

    def follow(self, followed: list[Followed], places: Mapping[str, bytes | None], silences: Mapping[str, int]) -> None:
        """From now on follow these sources. One that is not followed yet begins at its place.

        silences: the longest ones known, in seconds.
        """
        before, self.followed, self.asked = self.followed, followed, _asked(followed)
        for item in before:
            if item not in followed:
                item.source.close()
                self.health.left(item.source.name)
        self._resume([item for item in followed if item not in before], places, silences)

    def _resume(
        self, items: Iterable[Followed], places: Mapping[str, bytes | None], silences: Mapping[str, int]
    ) -> None:
        now = self.now()
        oldest = now - longest_lifetime(self.housekeeping.limits.now)
        for item in items:
            self._say("log-is-mount-point", item.source.name, MOUNTED if is_mount_point(item.source.name) else "")
            item.alarm.longest_seconds = silences[item.source.name]
            item.alarm.start(now)
            item.source.resume(places[item.source.name], oldest)

    def now(self) -> int:
        """Epoch seconds."""
        return int(self._clock())

    def turn(self) -> bool:
        """Read what is new, and do what is due; True if there is more to read at once."""
        self.intake.grant_log.tend()
        self.found = False
        try:
            self.housekeeping.tend_clock(self.now())
            more = self._read()
            more = (self.cluster is not None and self.cluster.tend(self._clock())) or more
            more = self.housekeeping.tend(self.now(), caught_up=self._caught_up) or more
        except StoreBrokenError:
            raise
        except StoreFullError:
            return self._make_room()
        except StoreError as error:
            return self._trouble(error)
        self._say_trouble(self.housekeeping.degraded)
        self._say("map-reader-stopped", "", self.ledger.stopped_reader)
        self._say("user-list-wrong", "", self.housekeeping.limits.trouble)
        self._say("files-were-damaged", "", self._damaged if self.now() < self._damaged_until else "")
        return more

    def _make_room(self) -> bool:
        try:
            self.housekeeping.make_room(self.now())
        except StoreBrokenError:
            raise
        except StoreError as error:
            return self._trouble(error)
        return True

    def _trouble(self, error: StoreError) -> bool:
        self._say_trouble(str(error))
        return False

    def _say_trouble(self, what: str) -> None:
        """What is wrong with the files that are written, "" if nothing is."""
        self._say("store-trouble", "", what)

    def _read(self) -> bool:
        more = trouble = False
        self.intake.enter_stuck(self.now())
        until = time.monotonic() + TURN_SECONDS
        for item in self.followed:
            for _ in range(CHUNKS_A_TURN):
                try:
                    chunk = item.source.read(self.now())
                except SourceError as error:
                    self._quiet.warn(item.source.name, f"cannot read: {error}")
                    trouble = True
                    chunk = None
                self._note_gaps(item)
                if chunk is None:
                    self.intake.enter_of(item.source.name, self.now())
                    break
                self._take(item, chunk)
                self.found = True
                if chunk.behind_bytes and time.monotonic() >= until:
                    more = True
                    break
            else:
                more = True
            state = item.source.state()
            trouble = trouble or state.status in UNREAD
            self._look_at(item, state)
            self._listen(item, state)
        self._caught_up = not more and not trouble
        return more

    def _look_at(self, item: Followed, state: FileStatus | JournalStatus) -> None:
        """Whether a source can be read at all, and whether lines of it are lost."""
        now, name = self.now(), item.source.name
        for status, word in CANNOT_READ.items():
            holds = state.status == status and (status != "missing" or self._missing_long(item, now))
            self._say(word, name, (state.why or status) if holds else "")
        if state.status != "missing":
            item.missing_since, item.seen = None, True
        if now >= item.lost_until:
            self.health.over("lines-lost", name)

    def _missing_long(self, item: Followed, now: int) -> bool:
        """Whether a log is missing for longer than a rotation takes; at once if it was not there at the start."""
        if item.missing_since is None:
            item.missing_since = now if item.seen else now - MISSING_SECONDS
        return now - item.missing_since >= MISSING_SECONDS

    def _note_gaps(self, item: Followed) -> None:
        for gap in item.source.take_gaps():
            self.housekeeping.notes.add(f"gap in {item.source.name}: {gap.what}", gap.at)
            self.housekeeping.notes.count({"gap": 1})
            item.lost_until = self.now() + longest_lifetime(self.housekeeping.limits.now)
            self._say("lines-lost", item.source.name, gap.what)

    def _take(self, item: Followed, chunk: Chunk) -> None:
        """Recognise a chunk, and hand what it says to the intake with its place."""
        now = self.now()
        if chunk.records:
            events, lines = item.recogniser.records(chunk.records)
            block = Block(lines, others=list(enumerate(events)))
        else:
            block = item.recogniser.columns(chunk.block, now, chunk.written_after)
        stamps = block.logins.at + [event.at for _place, event in block.others if isinstance(event, Login)]
        item.last_login_at = max(item.last_login_at, min(max(stamps, default=0), now))
        reasons = (event.reason for _place, event in block.others if isinstance(event, Refusal))
        refused = Counter(reason for reason in reasons if reason not in HEAD_REASONS) + item.recogniser.heads
        seen_at = item.alarm.dovecot_at
        look = seen_at is None or now - seen_at >= DOVECOT_EVERY_SECONDS
        dovecots = look and (bool(chunk.records) or item.recogniser.has_servers(chunk.block))
        item.alarm.heard(now, block.lines, len(stamps), refused, item.recogniser.refused, dovecots=dovecots)
        if chunk.written_after is not None:
            limits = self.housekeeping.limits.now
            ran_out = min(chunk.written_after, now) - longest_lifetime(limits)
            item.alarm.stamped(now, stamps, ran_out, now + limits.future_seconds)
        more, silence = chunk.behind_bytes > 0, item.alarm.longest_seconds
        self.intake.take_block(item.source.name, block, chunk.place, now, silence=silence, more=more)

    def _listen(self, item: Followed, state: FileStatus | JournalStatus) -> None:
        """Say which signs of the alarm stand."""
        now = self.now()
        signs = item.alarm.signs(now)
        # Of a journal only Dovecot's records are read, so its other lines cannot show that it grows.
        if isinstance(state, JournalStatus) and state.status == PRESENT and state.last_record_at is None:
            signs |= {"dovecot-not-seen": EMPTY} if now - item.alarm.started_at >= UNSEEN_SECONDS else {}
        for word in SIGNS:
            # A node of a cluster may have no Dovecot, where nobody has said that there is one.
            spared = word == "dovecot-not-seen" and self.cluster is not None and not self.logs_named
            self._say(word, item.source.name, "" if spared else signs.get(word, ""))

    def _say(self, word: str, about: str, evidence: str) -> None:
        """A condition holds, or does not: then there is no evidence."""
        if evidence:
            self.health.holds(word, about, evidence, self.now())
        else:
            self.health.over(word, about)

    def status(self) -> Status:
        """How the watcher is now. Raises StoreError."""
        now = self.now()
        configuration = None if self.configured is None else self.configured.state()
        with self.ledger.reading() as reading:
            cluster = None if self.cluster is None else self.cluster.status(reading.outbox.count())
            return Status(
                version=__version__,
                pid=os.getpid(),
                now=now,
                degraded=self.health.degraded,
                dry_run=self.ledger.dry_run,
                addresses=reading.published.count(),
                held=reading.sessions.held_count(),
                shared=tuple(found for found in reading.shared.all() if found.until),
                sources=tuple(item.status() for item in self.followed),
                pushed=tuple(self.hearing),
                today=reading.counters.of(day_of(now)),
                notes=tuple(self.housekeeping.notes.texts),
                conditions=self.health.standing,
                configuration=configuration,
                cluster=cluster,
            )

    def descriptors(self) -> Iterator[tuple[int, Callable[[], None]]]:
        """The descriptors of sources that have one to wake by, each with what takes its readiness away."""
        for source in self.asked:
            if (descriptor := source.fileno()) is not None:
                yield descriptor, source.process

    def close(self) -> None:
        """Close sources, books and map."""
        self.intake.grant_log.sum_up()
        if self.cluster is not None:
            self.cluster.close()
        for item in self.followed:
            item.source.close()
        self.housekeeping.close()
        self.ledger.close()


def _asked(followed: Iterable[Followed]) -> list[Waking]:
    return [item.source for item in followed if isinstance(item.source, Waking)]
