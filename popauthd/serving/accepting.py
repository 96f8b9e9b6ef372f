"""Accepting connections in a loop that must not spin when no descriptor is left for them.

At EMFILE, ENFILE or a lack of memory accept(2) fails and leaves the connection in the queue, so that the listener stays
readable and a selector reports it again at once. Here the loop may first make room, by dropping somebody. If it cannot,
the listener leaves the selector for REST_SECONDS: those who are in are served meanwhile, and those who wait stay in the
queue until a descriptor is free.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable, Iterator

from popauthd.logs import Quiet

REST_SECONDS = 0.1
# The connection is gone, refused by a firewall or broken, and out of the queue: accept(2), "Error handling".
_GONE = {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH}
_NO_ROOM = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}


def _nobody() -> bool:
    return False


class Accepting:
    """Accepts at `listener`, which the loop watches, except while it rests.

    watch, unwatch: put the listener into the selector of the loop, and take it out. make_room: called when no
    descriptor is left; whether one was freed. quiet: where trouble is said, once a minute. Call `tend` at every turn of
    the loop, or it rests for ever.
    """

    def __init__(
        self,
        listener: socket.socket,
        watch: Callable[[], object],
        unwatch: Callable[[], object],
        quiet: Quiet,
        make_room: Callable[[], bool] = _nobody,
    ) -> None:
        self._listener = listener
        self._watch = watch
        self._unwatch = unwatch
        self._quiet = quiet
        self._make_room = make_room
        self._rests_until: float | None = None
        self._watched = True
        # accept() of CPython makes enumerations of family and kind for each connection, which costs a microsecond.
        self._bare_accept = getattr(listener, "_accept", None)
        self._kind = int(listener.family), int(listener.type), listener.proto
        listener.setblocking(False)
        watch()

    def connections(self, at_once: int) -> Iterator[socket.socket]:
        """The connections that wait, at most so many, each as it is accepted; none in a rest. Never raises."""
        for _ in range(0 if self._rests_until is not None else at_once):
            try:
                connection = self._accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _GONE or (error.errno in _NO_ROOM and self._make_room()):
                    continue
                self._rest(error)
                return
            yield connection

    def _accept(self) -> socket.socket:
        if self._bare_accept is None:
            return self._listener.accept()[0]
        descriptor, _peer = self._bare_accept()
        return socket.socket(*self._kind, descriptor)

    def _rest(self, error: OSError) -> None:
        self._quiet.warn("accept", f"cannot accept a client for now, those who are in are served: {error.strerror}")
        self._stop()
        self._rests_until = time.monotonic() + REST_SECONDS

    def _stop(self) -> None:
        if self._watched:
            self._watched = False
            self._unwatch()

    def wait(self, at_most_seconds: float) -> float:
        """How long a turn may wait so that `tend` comes in time."""
        if self._rests_until is None:
            return at_most_seconds
        return min(at_most_seconds, max(0.0, self._rests_until - time.monotonic()))

    def tend(self) -> None:
        """End a rest that is over."""
        if self._rests_until is not None and time.monotonic() >= self._rests_until:
            self._rests_until = None
            self._watched = True
            self._watch()

    def close(self) -> None:
        """Accept nobody any more; the listener stays the caller's."""
        self._rests_until = None
        self._stop()
