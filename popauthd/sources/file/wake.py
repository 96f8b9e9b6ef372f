"""Wake the watcher when something happens to a log: watchdog over the directories of the logs.

An event only says "look now". It is never the truth: events get lost (a full queue), come late (a
file moved out of the directory delays those behind it by half a second) or not at all (network file
systems, no inotify instance left). So the caller looks once a second anyway, and calls `tend` then.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

from watchdog.events import FileSystemEventHandler
from watchdog.utils import BaseThread

from popauthd.mounts import real_path

log = logging.getLogger("popauthd.watch")

# Reading a log is an event too, in newer versions of watchdog: it would wake us for ever.
READING = frozenset({"opened", "closed_no_write"})
LIBRARY = logging.getLogger("watchdog.observers.inotify")  # newer ones tell of each end of a watch as an error
FAULTS = (OSError, KeyError, RuntimeError)  # what watchdog raises when a directory goes or inotify is full


class Waker:
    """Calls `wake`, from a thread of its own, on events of these logs and of files named after them.

    Directories may be missing, be removed and come back: `tend` watches what is there now; `rest` watches nothing
    until then. Without inotify it does nothing. `wake` must be quick and must not raise.
    """

    def __init__(self, paths: Iterable[str], wake: Callable[[], None]) -> None:
        self._paths = tuple(paths)
        self._wake = wake
        self._observer: Any = None
        self._watched: dict[str, tuple[tuple[int, int], Any]] = {}
        self._handlers: dict[tuple[str, frozenset[str]], LogEvents] = {}
        self._failed = False
        self._resting = False
        self._hook = threading.excepthook

    def start(self) -> None:
        """Begin to watch. Never raises."""
        self._hook, threading.excepthook = threading.excepthook, self._thread_died
        self._begin()

    def _begin(self) -> None:
        try:
            from watchdog.observers.inotify import InotifyObserver

            observer: Any = cast(Any, InotifyObserver)()
            observer.start()
        except (ImportError, *FAULTS):  # no inotify in this kernel or C library, or no instance left
            return
        self._observer = observer
        LIBRARY.setLevel(logging.CRITICAL)
        self.tend()

    def tend(self) -> bool:
        """Watch the directories as they are now; whether all that exist are watched. Never raises."""
        self._resting = False
        if self._failed:
            self._failed = False
            self._end()
            self._begin()
        wanted = self._directories()
        if self._observer is None:
            return not any(map(_identity, wanted))
        for directory in [one for one in self._watched if one not in wanted]:
            self._unwatch(directory)
        for directory, names in wanted.items():
            self._watch(directory, names)
        return all(directory in self._watched for directory in wanted if _identity(directory))

    def rest(self) -> None:
        """Watch nothing until `tend`, as the logs are read all the time: an event for each line costs much."""
        self._resting = True
        for directory in list(self._watched):
            self._unwatch(directory)

    def stop(self) -> None:
        """Stop watching; `wake` is not called any more once this returns."""
        self._end()
        if threading.excepthook == self._thread_died:
            threading.excepthook = self._hook

    def _end(self) -> None:
        observer, self._observer = self._observer, None
        self._watched.clear()
        if observer is not None:
            observer.stop()
            observer.join()

    def _thread_died(self, failure: threading.ExceptHookArgs) -> None:
        """Note that a thread of watchdog died, so that `tend` begins anew; pass other threads to the hook that was set.

        watchdog's inotify thread can die of an event that comes while its watch is removed. While we stop or rest, it
        does not matter.
        """
        if not isinstance(failure.thread, BaseThread):
            self._hook(failure)
        elif self._observer is not None:
            self._failed = True
            if not self._resting:
                log.warning(
                    "watching the directories of the logs failed (%s: %s) and begins anew; the logs are read all the "
                    "same",
                    failure.exc_type.__name__,
                    failure.exc_value,
                )

    def _directories(self) -> dict[str, frozenset[str]]:
        """The directories of the logs, and of what they link to, with the names that matter there."""
        found: dict[str, set[str]] = {}
        for path in self._paths:
            for one in (Path(path).absolute(), Path(real_path(path))):
                found.setdefault(str(one.parent), set()).add(one.stem if one.suffix else one.name)
        return {directory: frozenset(names) for directory, names in found.items()}

    def _watch(self, directory: str, names: frozenset[str]) -> None:
        identity = _identity(directory)
        if directory in self._watched:
            if identity == self._watched[directory][0]:
                return
            self._unwatch(directory)
        if identity is None or not os.access(directory, os.R_OK):  # watchdog says nothing of one that it may not watch
            return
        # The same one at each try: watchdog 2.2 keeps that of a try that failed.
        handler = self._handlers.setdefault((directory, names), LogEvents(names, self._wake))
        with contextlib.suppress(*FAULTS):
            self._watched[directory] = (identity, self._observer.schedule(handler, directory))
            self._wake()  # what happened before the watch was set is seen by this look

    def _unwatch(self, directory: str) -> None:
        with contextlib.suppress(*FAULTS):
            self._observer.unschedule(self._watched.pop(directory)[1])


class LogEvents(FileSystemEventHandler):
    """Passes on the events of files whose name begins like a log's. Events that a reader causes are left out."""

    def __init__(self, names: frozenset[str], wake: Callable[[], None]) -> None:
        super().__init__()
        self._names = tuple(names)
        self._wake = wake

    def dispatch(self, event: Any) -> None:
        if event.event_type in READING:
            return
        for path in (event.src_path, getattr(event, "dest_path", "")):
            if path and os.path.basename(os.fsdecode(path)).startswith(self._names):  # noqa: PTH119 - of each line
                self._wake()
                return


def _identity(directory: str) -> tuple[int, int] | None:
    try:
        info = Path(directory).stat()
    except OSError:
        return None
    return info.st_dev, info.st_ino
