"""Clients of a small server inside the watcher's loop: accepted, read without blocking, bounded, dropped when slow.

What the push sources have in common. Registered with the caller's selector, `key.data` being what to call.
When all places are taken, the oldest client that has proved nothing yet makes room; if all have, the oldest.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import selectors
import socket
import time
from collections.abc import Callable

from popauthd.text import Quiet

READ_BYTES = 16384
ACCEPT_AT_ONCE = 16  # connections a turn, so that a flood of them cannot starve the watcher


class Client:
    """One connection: `data` is what came and is not used yet; `proved`: it has shown that it may speak."""

    __slots__ = ("connection", "data", "proved", "until")

    def __init__(self, connection: socket.socket, until: float) -> None:
        self.connection = connection
        self.data = b""
        self.proved = False
        self.until = until


class Clients:
    """Accepts on `listener`; `welcome` says whether to keep a connection, `hear` is called when bytes came.

    A client that `hear` does not `drop` is kept until its `until` (monotonic seconds) and no longer.
    """

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        *,
        log: logging.Logger,
        at_most: int,
        seconds: float,
        welcome: Callable[[socket.socket], bool],
        hear: Callable[[Client], None],
    ) -> None:
        self._listener = listener
        self._selector = selector
        self._at_most = at_most
        self._seconds = seconds
        self._welcome = welcome
        self._hear = hear
        self._clients: dict[socket.socket, Client] = {}
        self._quiet = Quiet(log)
        listener.setblocking(False)
        selector.register(listener, selectors.EVENT_READ, self._accept)

    def __len__(self) -> int:
        return len(self._clients)

    def _accept(self) -> None:
        for _ in range(ACCEPT_AT_ONCE):
            try:
                connection, _peer = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                self._quiet.warn("accept", f"cannot accept a client: {error.strerror}")
                return
            if not self._welcome(connection):
                connection.close()
                continue
            connection.setblocking(False)
            if len(self._clients) >= self._at_most:
                self._quiet.warn("full", f"more than {self._at_most} clients at once; dropping the oldest")
                oldest = next(iter(self._clients.values()))
                self.drop(next((client for client in self._clients.values() if not client.proved), oldest))
            client = Client(connection, time.monotonic() + self._seconds)
            self._clients[connection] = client
            self._selector.register(connection, selectors.EVENT_READ, functools.partial(self._receive, client))
            self._receive(client)  # the request is mostly there already

    def _receive(self, client: Client) -> None:
        if client.connection not in self._clients:
            return  # dropped earlier in this turn
        try:
            more = client.connection.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        if not more:
            self.drop(client)
            return
        client.data += more
        self._hear(client)

    def send(self, client: Client, reply: bytes) -> bool:
        """Send a reply that fits into an empty socket buffer; a client that leaves no room for it is dropped: False."""
        try:
            sent = client.connection.send(reply, socket.MSG_NOSIGNAL)
        except OSError:
            sent = 0
        if sent != len(reply):
            self.drop(client)
        return sent == len(reply)

    def drop(self, client: Client) -> None:
        """End a connection; nothing if it has ended."""
        if self._clients.pop(client.connection, None) is not None:
            self._selector.unregister(client.connection)
            client.connection.close()

    def drop_slow(self) -> None:
        """Drop every client whose time is over; call it now and then."""
        now = time.monotonic()
        for client in [client for client in self._clients.values() if client.until <= now]:
            self.drop(client)

    def close(self) -> None:
        """Drop every client; the listener stays the caller's."""
        for client in list(self._clients.values()):
            self.drop(client)
        with contextlib.suppress(KeyError):
            self._selector.unregister(self._listener)
