"""The responder: answers Exim on a unix socket from the relay map alone.

One process, one non-blocking loop; no thread per client, no access to logs, books or network. A client
that is silent or slow is dropped after CLIENT_SECONDS. A "no" is held for up to `hold_ms` while the map
is looked at again, for a client that sends right after its login. Anything but a clean "yes" from the
map is "no": missing map, garbage, a bad request. When all MAX_CLIENTS places are taken, the client that
has waited longest is answered "no" and makes room. When no descriptor is left, those who are in are answered and
the others wait in the queue; the map is kept open, also while nobody asks, as opening it would need one.

LIMIT: a map that is cut short between the look at its size and the look into it kills the process (SIGBUS). Whoever
waits gets a closed connection, which Exim takes as "no"; whatever started the responder starts it anew.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import selectors
import socket
import time
from collections.abc import Callable

from popauthd.errors import StoreError
from popauthd.logs import Quiet
from popauthd.protocol import NEED_MORE, NO, YES, Bad, Lookup, read_lookup
from popauthd.serving.accepting import Accepting
from popauthd.store.relay_map import MapReader

log = logging.getLogger("popauthd.respond")

CLIENT_SECONDS = 2.0
MAX_CLIENTS = 512
LOOK_AGAIN_SECONDS = 0.005
OPEN_MAP_SECONDS = 1.0
READ_BYTES = 4096
ACCEPT_AT_ONCE = 64  # connections a turn, so that a flood of them cannot starve those already open


class _Client:
    __slots__ = ("connection", "data", "ended", "gone_at", "held_until", "request")

    def __init__(self, connection: socket.socket, gone_at: float) -> None:
        self.connection = connection
        self.data = b""
        self.ended = False
        self.request: Lookup | None = None
        self.gone_at = gone_at
        self.held_until = 0.0


class Responder:
    """The loop. `listener`: a bound, listening unix socket. `clock` tells epoch seconds (the expiry's clock)."""

    def __init__(
        self, listener: socket.socket, reader: MapReader, hold_ms: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._reader = reader
        self._hold_seconds = hold_ms / 1000
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._clients: dict[int, _Client] = {}
        self._timers: list[tuple[float, int, _Client]] = []
        self._order = itertools.count()
        self._quiet = Quiet(log)
        self._accepting = Accepting(listener, self._selector, None, self._quiet)
        self._open_map_at = 0.0
        self._keep_map_open()

    def turn(self, at_most_seconds: float) -> None:
        """Wait for what happens next, at most so long, and serve it."""
        wait = at_most_seconds
        if self._timers:
            wait = min(wait, max(0.0, self._timers[0][0] - time.monotonic()))
        for key, _events in self._selector.select(self._accepting.wait(wait)):
            if key.data is None:
                self._accept()
            else:
                self._receive(key.data)
        self._accepting.tend()
        self._keep_map_open()
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            client = heapq.heappop(self._timers)[2]
            if client.connection.fileno() in self._clients:
                self._look(client) if client.request else self._answer(client, NO)

    def drain(self) -> None:
        """Take no new client, and serve those who are here to their end: CLIENT_SECONDS at most.

        Who connects from now on waits in the listener's queue for the next responder, if that gets the same socket.
        """
        self._accepting.close()
        while self._clients:
            self.turn(CLIENT_SECONDS)

    def close(self) -> None:
        """Answer nobody any more; the listener stays the caller's."""
        for client in list(self._clients.values()):
            self._answer(client, NO)
        self._selector.close()
        self._reader.close()

    def _keep_map_open(self) -> None:
        if time.monotonic() >= self._open_map_at:
            self._open_map_at = time.monotonic() + OPEN_MAP_SECONDS
            with contextlib.suppress(StoreError):  # whoever asks is told
                self._reader.open()

    def _accept(self) -> None:
        for connection in self._accepting.connections(ACCEPT_AT_ONCE):
            connection.setblocking(False)
            if len(self._clients) >= MAX_CLIENTS:
                self._quiet.warn("full", f"more than {MAX_CLIENTS} clients at once; dropping the oldest")
                self._answer(next(iter(self._clients.values())), NO)
            client = _Client(connection, time.monotonic() + CLIENT_SECONDS)
            self._clients[connection.fileno()] = client
            self._selector.register(connection, selectors.EVENT_READ, client)
            self._wake_at(client.gone_at, client)
            self._receive(client)  # the request is mostly there already

    def _receive(self, client: _Client) -> None:
        if client.connection.fileno() not in self._clients:
            return  # answered earlier in this turn
        try:
            # more than a request holds: bytes left unread would turn our reply into a reset connection
            data = client.connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            self._drop(client)
            return
        if client.request is not None:
            # More after a whole request, or the client went away while its "no" was held.
            self._selector.unregister(client.connection) if data == b"" else self._answer(client, NO)
            return
        client.data += data
        client.ended = data == b""
        request = read_lookup(client.data, ended=client.ended)
        if isinstance(request, Bad):
            self._quiet.warn("bad", f"bad request, answered no: {request.why}")
            self._answer(client, NO)
        elif isinstance(request, Lookup):
            client.request = request
            client.held_until = time.monotonic() + self._hold_seconds
            self._look(client)
        else:
            assert request is NEED_MORE

    def _look(self, client: _Client) -> None:
        assert client.request is not None
        try:
            expires_at = self._reader.expiry(client.request.address)
        except StoreError as error:
            self._quiet.warn("map", f"answering no: {error}")
            expires_at = None
        now = time.monotonic()
        if expires_at is not None and self._clock() < expires_at:
            self._answer(client, YES)
        elif now >= client.held_until:
            self._answer(client, NO)
        else:
            self._wake_at(min(now + LOOK_AGAIN_SECONDS, client.held_until), client)

    def _wake_at(self, at: float, client: _Client) -> None:
        heapq.heappush(self._timers, (at, next(self._order), client))

    def _answer(self, client: _Client, reply: bytes) -> None:
        with contextlib.suppress(OSError):
            client.connection.send(reply, socket.MSG_NOSIGNAL)  # three bytes into an empty buffer: never short
        self._drop(client)

    def _drop(self, client: _Client) -> None:
        del self._clients[client.connection.fileno()]
        with contextlib.suppress(KeyError):
            self._selector.unregister(client.connection)
        client.connection.close()
