"""The loop that every small socket server here shares: accept clients, read without blocking, drop who is slow.

`Clients` holds the connections of one listener within its `Bounds`. What to do with a client is the `Server`'s part: it
is told that somebody connects, that bytes came, and that a client has to go. The caller turns the loop: it waits in
the selector and calls what is ready (turns.py), and then `tend`.
"""

from __future__ import annotations

import functools
import logging
import math
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from popauthd.logs import Quiet
from popauthd.serving.accepting import Accepting


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one server may take.

    accept_at_once: connections accepted in one go. clients: open at the same time. seconds: how long a client may
    take to send a whole request. read_bytes: read from a client in one go.
    """

    accept_at_once: int
    clients: int
    seconds: float
    read_bytes: int


S = TypeVar("S")


class Client(Generic[S]):
    """One connection. state: what the server knows of it. until: monotonic seconds; from then on it is too slow."""

    __slots__ = ("connection", "state", "until", "watched")

    def __init__(self, connection: socket.socket, state: S, until: float) -> None:
        self.connection = connection
        self.state = state
        self.until = until
        self.watched = False  # the selector reports what comes from it

    def send(self, reply: bytes) -> bool:
        """Send a reply that fits into an empty socket buffer. False if the client left no room for it or is gone."""
        try:
            return self.connection.send(reply, socket.MSG_NOSIGNAL) == len(reply)
        except OSError:
            return False


class Server(Protocol[S]):
    """What a server does with its clients."""

    def take_in(self) -> None:
        """Somebody connects: call `Clients.accept`."""

    def welcome(self, connection: socket.socket, /) -> S | None:
        """The state of a new client, or None to close the connection at once."""

    def hear(self, client: Client[S], /) -> None:
        """Bytes came from a client that is watched: call `Clients.receive`, now or later."""

    def end(self, client: Client[S], /) -> None:
        """A client is too slow or broken, or must make room for another: call `Clients.drop`."""


class Clients(Generic[S]):
    """The clients that are connected to `listener`, which stays the caller's.

    to_lose: which client must make room when all places are taken; the oldest if it is not given.
    slow_at: monotonic seconds; no client is too slow before then.
    """

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        server: Server[S],
        bounds: Bounds,
        log: logging.Logger,
        to_lose: Callable[[], Client[S]] | None = None,
    ) -> None:
        self.bounds = bounds
        self.slow_at = math.inf
        self._selector = selector
        self._server = server
        self._to_lose = to_lose or self._oldest
        self._open: dict[Client[S], None] = {}  # the oldest first
        self._quiet = Quiet(log)
        self._accepting = Accepting(
            listener,
            functools.partial(selector.register, listener, selectors.EVENT_READ, server.take_in),
            functools.partial(selector.unregister, listener),
            self._quiet,
        )

    def __len__(self) -> int:
        return len(self._open)

    def __contains__(self, client: Client[S]) -> bool:
        return client in self._open

    @property
    def full(self) -> bool:
        """Whether all places are taken."""
        return len(self._open) >= self.bounds.clients

    def _oldest(self) -> Client[S]:
        return next(iter(self._open))

    def accept(self) -> Iterator[Client[S]]:
        """Accept those who wait in the queue, and give each that is welcome. It is not watched yet."""
        for connection in self._accepting.connections(self.bounds.accept_at_once):
            state = self._server.welcome(connection)
            if state is None:
                connection.close()
                continue
            connection.setblocking(False)
            if self.full:
                self._quiet.warn("full", f"more than {self.bounds.clients} clients at once; dropping the oldest")
                self._server.end(self._to_lose())
            client = Client(connection, state, math.inf)
            self._open[client] = None
            self.keep_until(client, time.monotonic() + self.bounds.seconds)
            yield client

    def keep_until(self, client: Client[S], until: float) -> None:
        """From `until` on, in monotonic seconds, the client is too slow."""
        client.until = until
        self.slow_at = min(self.slow_at, until)

    def watch(self, client: Client[S]) -> None:
        """Have the server hear what comes from a client."""
        if not client.watched:
            client.watched = True
            self._selector.register(client.connection, selectors.EVENT_READ, functools.partial(self._readable, client))

    def unwatch(self, client: Client[S]) -> None:
        """Look no more at what comes from a client, such as an end that was read already."""
        if client.watched:
            client.watched = False
            self._selector.unregister(client.connection)

    def _readable(self, client: Client[S]) -> None:
        if client in self._open:  # it was not dropped earlier in this turn
            self._server.hear(client)

    def receive(self, client: Client[S]) -> bytes | None:
        """What a client has sent, b"" once it sends no more.

        None if nothing has come yet, then the client is watched, or if the connection is broken, then it was ended.
        """
        try:
            return client.connection.recv(self.bounds.read_bytes)
        except BlockingIOError:
            self.watch(client)
        except OSError:
            self._server.end(client)
        return None

    def drop(self, client: Client[S]) -> None:
        """Close a connection that is open."""
        del self._open[client]
        self.unwatch(client)
        client.connection.close()

    def wait(self, at_most_seconds: float) -> float:
        """How long the loop may wait before the next turn, whoever is slow."""
        return self._accepting.wait(at_most_seconds)

    def tend(self) -> None:
        """End every client that is too slow, and a rest of the listener that is over; call it at every turn."""
        self._accepting.tend()
        now = time.monotonic()
        if self.slow_at <= now:
            for client in [client for client in self._open if client.until <= now]:
                self._server.end(client)
            self.slow_at = min((client.until for client in self._open), default=math.inf)

    def accept_no_more(self) -> None:
        """Leave whoever connects from now on in the queue of the listener."""
        self._accepting.close()

    def close(self) -> None:
        """End every client, and accept nobody any more."""
        for client in list(self._open):
            self._server.end(client)
        self.accept_no_more()
