"""A running watcher goes by another configuration, without a new start.

All that can fail is done first: the file is read, lists of users and secrets are read, sockets are opened, and the
books are judged by the new limits in one transaction. If anything of it fails, the configuration from before stays in
force, whole. A log whose [[source]] table is unchanged is read on by the same reader. Any other log goes on at its
place in the books, as after a new start. Sockets that are needed before and after stay open.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from popauthd.accounts import group_id
from popauthd.config import Config, SourceConfig
from popauthd.errors import PopauthdError, StoreError, in_the_way
from popauthd.locks import Places
from popauthd.run_dir import hand_over
from popauthd.sources.file.wake import Waker
from popauthd.status import ConfigurationStatus
from popauthd.watch.assembly import USUAL_LOGS, build_waker, followed_now, rebuild
from popauthd.watch.in_force import InForce
from popauthd.watch.push_sources import Pushing
from popauthd.watch.watcher import Watcher

log = logging.getLogger("popauthd.watch")

AWAIT_SECONDS = 5.0  # how often what is missing is looked for
DIRECTORIES_SECONDS = 1.0  # how often the directories of the logs are looked at; the logs are read all the same
UNWATCHED_SECONDS = 5.0  # for so long a directory may be unwatched, as one that has just come


class Reloading:
    """A watcher that is started, in the selector of its loop, with all that is made of its configuration.

    sources: what it follows, in the order of `Watcher.followed`. waker: wakes the loop when something happens to a log.
    places: what must not be taken from us. wake: for another waker, called from another thread.
    ready: tells systemd what is watched.
    """

    def __init__(
        self,
        in_force: InForce,
        sources: Sequence[SourceConfig],
        watcher: Watcher,
        pushing: Pushing,
        selector: selectors.BaseSelector,
        waker: Waker,
        places: Places,
        wake: Callable[[], None],
        ready: Callable[[str], None],
    ) -> None:
        self._in_force = in_force
        self._sources = tuple(sources)
        self._watcher = watcher
        self._pushing = pushing
        self._selector = selector
        self._waker = waker
        self._places = places
        self._wake = wake
        self._ready = ready
        self._await_at = 0.0
        self._directories_at = 0.0
        self._watched_at = time.monotonic()
        self._group_is_missing = False

    def start(self) -> None:
        """Begin to wait for what the sources have to wake by, and have the responder read the file."""
        self._hear_sources()
        self._hold_push_socket(self._in_force.config)
        if warning := self._tell_responder():
            log.warning("%s", warning)
        self.state()
        self._await()
        log.info("%s", self.watching)
        self._ready(self.watching)

    @property
    def names(self) -> str:
        """What is followed and heard, for the log."""
        return ", ".join([source.name for source in self._sources] + self._pushing.names)

    @property
    def watching(self) -> str:
        """The same as a sentence."""
        return f"watching {self.names or 'nothing yet'}"

    def tend(self, *, busy: bool) -> None:
        """Watch the directories of the logs as they are, and look at the file; call it at every turn.

        busy: the logs are read again and again, so nobody needs to tell of them.
        """
        now = time.monotonic()
        if busy:
            self._waker.rest()
            self._directories_at, self._watched_at = 0.0, now
        elif now >= self._directories_at:
            self._directories_at = now + DIRECTORIES_SECONDS
            self._watch(now)
        self._in_force.look(self._watcher.now())
        if now >= self._await_at:
            self._await()

    def _watch(self, now: float) -> None:
        """Watch the directories of the logs; say if that has not been possible for a while. now: monotonic seconds."""
        if self._waker.tend():
            self._watched_at = now
            self._watcher.health.over("logs-not-watched")
        elif now - self._watched_at >= UNWATCHED_SECONDS:
            seen = "the kernel gives no watch (inotify) on the directory of a log"
            self._watcher.health.holds("logs-not-watched", "", seen, self._watcher.now())

    def _await(self) -> None:
        """Look for what is not on this machine yet: a log to follow, and Exim's group.

        Raises StoreError when the group has come and this user may not give run_dir to it: a new start can.
        """
        self._await_at = time.monotonic() + AWAIT_SECONDS
        settings, health, now = self._in_force.config, self._watcher.health, self._watcher.now()
        nothing = not self._sources and not settings.pushed
        if nothing and followed_now(settings):
            with contextlib.suppress(PopauthdError):  # tried again
                self._take(settings)
                log.info("%s", self.watching)
                nothing = False
        if nothing and settings.cluster is None:  # a node that relays alone has no log
            health.holds("no-log-yet", "", f"looked for a journal and for {', '.join(USUAL_LOGS)}", now)
        else:
            health.over("no-log-yet")
        if group_id(settings.group) is None:
            self._group_is_missing = True
            if settings.cluster is None:  # a node of logins alone has no Exim
                health.holds("no-group-yet", settings.group, "there is no such group", now)
        elif self._group_is_missing:
            hand_over(settings)
            self._group_is_missing = False
            health.over("no-group-yet", settings.group)

    def state(self) -> ConfigurationStatus:
        """What is in force, compared with the file right now: the conditions say what differs."""
        self._in_force.look(self._watcher.now(), at_once=True)
        return self._in_force.status

    def reload(self) -> dict[str, Any]:
        """Put the file in force; returns the reply to who asked for it. Raises PopauthdError; the log is told too."""
        try:
            loaded, differing = self._in_force.read()
            self._take(loaded.config)
        except PopauthdError as error:
            log.error("reload: the configuration from before stays in force: %s", error)  # noqa: TRY400 - no traceback
            if not isinstance(error, StoreError):  # books that cannot be written now are no fault of the file
                self._in_force.refused(str(error), self._watcher.now())
            raise
        self._in_force.taken(loaded, self._watcher.now())
        told = [f"{one.key} was {one.before}, is {one.after}" for one in differing]
        log.info("reloaded %s: %s; %s", loaded.path, "; ".join(told) or "no setting differs", self.watching)
        self._ready(self.watching)
        warnings = [*self._watcher.ledger.publish_now(), self._tell_responder()]
        return {"path": loaded.path, "changed": told, "warning": "; ".join(filter(None, warnings))}

    def _take(self, settings: Config) -> None:
        with self._deaf():
            try:
                sources = followed_now(settings)
                with self._pushing.changing(settings):
                    rebuild(self._watcher, settings, self._sources, sources)
            except OSError as error:
                raise in_the_way("what the configuration asks for cannot be had", error) from error
        self._hold_push_socket(settings)
        if sources != self._sources:
            self._sources = sources
            self._waker.stop()
            self._waker = build_waker(sources, self._wake)

    @contextlib.contextmanager
    def _deaf(self) -> Iterator[None]:
        """Wait for no source meanwhile: one that is closed must not stay in the selector."""
        for descriptor, _process in self._watcher.descriptors():
            self._selector.unregister(descriptor)
        try:
            yield
        finally:
            self._hear_sources()

    def _hear_sources(self) -> None:
        for descriptor, process in self._watcher.descriptors():
            self._selector.register(descriptor, selectors.EVENT_READ, process)

    def _hold_push_socket(self, settings: Config) -> None:
        if settings.post_login:
            self._places.add(settings.push_path)
        else:
            self._places.give_up(settings.push_path)

    def _tell_responder(self) -> str:
        """Write what it looks at, and what readlookup reads; returns why that cannot be done, or ""."""
        path = self._in_force.config.configured_path
        told = b"%d\n" % self._in_force.config.hold_no_ms
        try:
            with os.fdopen(
                os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o640), "wb"
            ) as file:
                file.write(told)
                file.truncate()
            os.utime(path, follow_symlinks=False)
        except OSError as error:
            return f"{path}: cannot be written ({error.strerror}), so lookups go by the configuration from before"
        return ""

    def close(self) -> None:
        """Watch no directory any more."""
        self._waker.stop()
