"""Accepting connections in a loop that must not spin when no descriptor is left for them.

At EMFILE, ENFILE or a lack of memory accept(2) fails and leaves the connection in the queue, so that the listener stays
readable and a selector reports it again at once. Here the listener then leaves the selector for REST_SECONDS: those who
are in are served meanwhile, and those who wait stay in the queue until a descriptor is free.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
import socket
import time
from collections.abc import Iterator

from popauthd.logs import Quiet

REST_SECONDS = 0.1
# The connection is gone, refused by a firewall or broken, and out of the queue: accept(2), "Error handling".
_GONE = {errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN, errno.EHOSTUNREACH, errno.ENETUNREACH}


class Accepting:
    """Keeps `listener` registered for reading with `selector` and `data`, except while it rests.

    Call `tend` at every turn of the loop, or it rests for ever. quiet: where trouble is said, once a minute.
    """

    def __init__(self, listener: socket.socket, selector: selectors.BaseSelector, data: object, quiet: Quiet) -> None:
        self._listener = listener
        self._selector = selector
        self._data = data
        self._quiet = quiet
        self._rests_until: float | None = None
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, data)

    def connections(self, at_once: int) -> Iterator[socket.socket]:
        """The connections that wait, at most so many, each as it is accepted; none in a rest. Never raises."""
        for _ in range(0 if self._rests_until is not None else at_once):
            try:
                connection, _peer = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _GONE:
                    continue
                self._rest(error)
                return
            yield connection

    def _rest(self, error: OSError) -> None:
        self._quiet.warn("accept", f"cannot accept a client for now, those who are in are served: {error.strerror}")
        self._selector.unregister(self._listener)
        self._rests_until = time.monotonic() + REST_SECONDS

    def wait(self, at_most_seconds: float) -> float:
        """How long a turn may wait so that `tend` comes in time."""
        if self._rests_until is None:
            return at_most_seconds
        return min(at_most_seconds, max(0.0, self._rests_until - time.monotonic()))

    def tend(self) -> None:
        """End a rest that is over."""
        if self._rests_until is not None and time.monotonic() >= self._rests_until:
            self._rests_until = None
            self._selector.register(self._listener, selectors.EVENT_READ, self._data)

    def close(self) -> None:
        """Accept nobody any more; the listener stays the caller's."""
        self._rests_until = None
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._listener)
