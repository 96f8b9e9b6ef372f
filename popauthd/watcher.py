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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from popauthd import clock as clocks
from popauthd.alarm import FORMAT_REASONS, Alarm
from popauthd.batch import Batch, Entered
from popauthd.books import Books, Writing
from popauthd.errors import SourceError, StoreBrokenError, StoreError
from popauthd.formats import Recogniser
from popauthd.lostends import LostEnds
from popauthd.model import Login, Refusal
from popauthd.policy import Limits, fingerprint, longest_lifetime, still_grants
from popauthd.publisher import Publisher
from popauthd.sources import Source, Waking
from popauthd.text import Quiet, safe, stamp
from popauthd.twice import Twice
from popauthd.userfile import UserFiles

log = logging.getLogger("popauthd.watch")

CHUNKS_A_TURN = 8  # of each source, so that control and sweeping come to their turn while catching up
FORGET_EVERY_SECONDS = 600
READER_CHECK_SECONDS = 60
COUNT_EVERY_SECONDS = 5.0
NOTES = 20  # kept for status
SAMPLE = 160  # characters of a line that is shown


@dataclass(slots=True)
class Followed:
    """A source with the recogniser of its lines."""

    source: Source
    recogniser: Recogniser
    alarm: Alarm = field(default_factory=Alarm)
    last_login_at: int = 0


class Watcher:
    """Owns books and map. Call `start` once, then `turn` whenever something may have happened."""

    def __init__(
        self,
        limits: Limits,
        books: Books,
        publisher: Publisher,
        followed: list[Followed],
        *,
        history_seconds: int = 86400,
        notes: Sequence[str] = (),
        user_files: UserFiles | None = None,
        lost_ends: LostEnds | None = None,
        pushed: bool = False,
        clock: Callable[[], float] = time.time,
        clock_offset: Callable[[], int] = clocks.offset,
    ) -> None:
        self._user_files = user_files
        self.limits = user_files.applied(limits) if user_files is not None else limits
        self.books = books
        self.degraded = ""
        self.notes = list(notes)  # what an administrator should know since the start, newest last
        self.publisher = publisher
        self._followed = followed
        self._history_seconds = history_seconds
        self._clock = clock
        self._clock_offset = clock_offset
        self._pending: Batch | None = None
        self._uncounted: Counter[str] = Counter()  # waits for the next batch
        self._lost_ends = lost_ends
        self._holding = books.rules.hold_seconds > 0
        self._many_ways = pushed or len(followed) > 1
        self._twice = Twice() if self._many_ways else None
        self._caught_up = False
        self._judge_due = False
        self._ends_missed = False
        self._offset = 0
        self._forget_at = 0
        self._count_at = 0.0
        self._readers_at = 0.0
        self._quiet = Quiet(log)

    def start(self) -> None:
        """Bring books and map in line with the clock and each other, and find the place in every log."""
        now = self.now()
        boot = clocks.boot_id()
        self._offset = self._clock_offset()
        with self.books.writing() as writing:
            before = writing.clock()
            if before is not None and before[0] == boot and before[1] - self._offset >= clocks.STEP_SECONDS:
                writing.clock_was_set_back(before[1] - self._offset, now)
            if before is not None and before[0] != boot:  # no session outlives the machine
                writing.forget_sessions()
            writing.set_clock(boot, self._offset)
            self._judge_again(writing, now)
            while writing.sweep(now):
                pass
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
            more = self._read()
            self._housekeeping()
        except StoreBrokenError:
            raise
        except StoreError as error:
            self.degraded = str(error)
            self._quiet.warn("store", f"degraded, trying again: {error}")
            return False
        self.degraded = ""
        return more

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
                    break
                self._commit(self._learn(item, chunk.block, chunk.place, chunk.written_after))
                self._listen(item, chunk.block)
            else:
                more = True
        self._caught_up = not more and not trouble
        return more

    def _note(self, text: str, at: int) -> None:
        log.warning("%s", text)
        self.notes = [*self.notes[1 - NOTES :], f"{stamp(at)} {text}"]

    def _note_gaps(self, source: Source) -> None:
        for gap in source.take_gaps():
            self._note(f"gap in {source.name}: {gap.what}", gap.at)
            self._uncounted["gap"] += 1

    def _learn(self, item: Followed, block: bytes, place: bytes, written_after: int | None) -> Batch:
        now = self.now()
        batch = Batch(item.source.name, place)
        events, lines = item.recogniser.block(block, now, written_after)
        batch.counts["lines"] = lines
        batch.counts.update(self._uncounted)
        self._uncounted.clear()
        logins = sum(isinstance(event, Login) for event in events)
        item.alarm.heard(now, lines, logins, Counter(e.reason for e in events if isinstance(e, Refusal)))
        batch.longest_silence = item.alarm.longest_seconds
        batch.learn(events, self.limits, now, holding=self._holding, twice=self._twice)
        item.last_login_at = max(item.last_login_at, batch.last_login_at)
        return batch

    def _listen(self, item: Followed, block: bytes) -> None:
        """Tell what the alarm says, with a line that shows it."""
        now = self.now()
        sign = item.alarm.sign(now)
        if sign is None:
            return
        sample = ""
        for raw in block.split(b"\n") if sign[0] == "likeness" else ():
            event = item.recogniser.line(raw, now)
            if isinstance(event, Refusal) and event.reason in FORMAT_REASONS:
                sample = f" Sample: {safe(raw.decode('utf-8', 'backslashreplace'), SAMPLE)}"
                break
        self._note(f"{item.source.name}: {sign[1]}{sample}", now)

    def _commit(self, batch: Batch) -> None:
        """Enter a batch and its place in one transaction. On StoreError it stays pending, unchanged."""
        self._pending = batch
        self._enter(batch)
        self._pending = None

    def _enter(self, batch: Batch) -> Entered:
        with self.books.writing() as writing:
            entered = batch.enter(writing, self.now(), remember=self._many_ways)
            self.publisher.apply(writing.changes)
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
            self._note(
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
        batch = Batch(source)
        batch.learn([login], self.limits, now, holding=False, twice=self._twice)
        return not self._enter(batch).refused

    def count(self, names: Mapping[str, int]) -> None:
        """Count what was heard and led to no login; entered with the next batch, or before long."""
        self._uncounted.update(names)

    def _housekeeping(self) -> None:
        now = self.now()
        self._mind_the_clock(now)
        self._mind_the_users(now)
        with self.books.reading() as reading:
            renewal_due = self._caught_up and reading.renewal_due(now)
            due = reading.anything_due(now) or renewal_due or reading.recount_due(now)
        if due:
            with self.books.writing() as writing:
                if renewal_due:  # before sweeping, so that what is held does not blink
                    writing.renew(now)
                    self._mind_the_ends(logged=writing.ends_are_logged(now), now=now)
                writing.sweep(now)
                writing.recount(now)
                self.publisher.apply(writing.changes)
        if time.monotonic() >= self._readers_at:
            self._readers_at = time.monotonic() + READER_CHECK_SECONDS
            self.books.check_readers()
            self.publisher.check_readers()
        if self._uncounted and time.monotonic() >= self._count_at:
            self._count_at = time.monotonic() + COUNT_EVERY_SECONDS
            with self.books.writing() as writing:
                writing.count(dict(self._uncounted), now)
            self._uncounted.clear()
        if now >= self._forget_at:
            self._forget_at = now + FORGET_EVERY_SECONDS
            with self.books.writing() as writing:
                writing.forget(now, self._history_seconds)
        if self._lost_ends is not None and self._caught_up:
            self._lost_ends.tend(self.books, now, lambda writing: self.publisher.apply(writing.changes))
        self.publisher.tend(self.books)

    def _mind_the_ends(self, *, logged: bool, now: int) -> None:
        if not logged and not self._ends_missed:
            self._note(
                "sessions are not held: the log has not yet told of the end of one (Dovecot 2.2 never does, nor one "
                "whose mail_log_prefix lacks the session)",
                now,
            )
        self._ends_missed = not logged

    def _mind_the_users(self, now: int) -> None:
        notes = self._user_files.refresh() if self._user_files is not None else []
        for note in notes:
            self._note(note, now)
        if notes and self._user_files is not None:
            self.limits = self._user_files.applied(self.limits)
            self._judge_due = True
        if self._judge_due:
            with self.books.writing() as writing:
                self._judge_again(writing, now)
                self.publisher.apply(writing.changes)
            self._judge_due = False  # not before: a full disk must not leave excluded users what stands

    def _judge_again(self, writing: Writing, now: int) -> None:
        """A login that stands ends when the administrator has excluded its user or its address since."""
        limits = self.limits
        ended = writing.judge_again(fingerprint(limits), lambda key, user: still_grants(key, user, limits), now)
        if ended:
            log.info("the limits have changed: logins that ended by it: %d", ended)

    def _mind_the_clock(self, now: int) -> None:
        step = self._clock_offset() - self._offset
        if abs(step) < clocks.STEP_SECONDS:
            return
        log.warning("the wall clock was set by seconds=%+d; grants end when they would have ended", step)
        with self.books.writing() as writing:
            if step < 0:
                writing.clock_was_set_back(-step, now)
            writing.set_clock(clocks.boot_id(), self._offset + step)
            self.publisher.apply(writing.changes)
        self._offset += step
        self._forget_at = now

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
            "today": today,
            "notes": self.notes,
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
        if self._lost_ends is not None:
            self._lost_ends.close()
        self.publisher.close()
        self.books.close()
