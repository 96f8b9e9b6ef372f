"""Clients of a small server inside the watcher's loop: accepted, read without blocking, bounded, dropped when slow.

What the push sources have in common. Registered with the caller's selector, `key.data` being what to call.

A turn hears HEAR_AT_ONCE clients, and takes in ACCEPT_AT_ONCE connections before each: hearing one may need a commit,
and the queue of the listener must not fill meanwhile. Clients of one peer stand in one line, and the lines take turns:
whoever fills his own line delays nobody else by more than one client. When all places are taken, the peer with the most
clients loses his oldest; those that have proved that they may speak have a line of their own, and go last.
"""

from __future__ import annotations

import functools
import logging
import selectors
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

from popauthd.logs import Quiet
from popauthd.serving.accepting import Accepting

READ_BYTES = 16384
ACCEPT_AT_ONCE = 64  # before each that is heard; most of a flood is closed at once
HEAR_AT_ONCE = 16  # a turn, so that those who tell of many logins cannot starve the watcher


class Stream(Protocol):
    """What a client sends: it is fed as it comes."""

    def feed(self, more: bytes, /) -> None:
        """Take in what has come."""


S = TypeVar("S", bound=Stream)


class Peer(NamedTuple):
    """Whose clients share a line. uid: -1 if it is not known."""

    proved: bool
    uid: int


class Client(Generic[S]):
    """One connection. until: monotonic seconds; it is dropped then."""

    __slots__ = ("connection", "in_line", "peer", "stream", "unheard", "until", "watched")

    def __init__(self, connection: socket.socket, peer: Peer, stream: S, until: float) -> None:
        self.connection = connection
        self.peer = peer
        self.stream = stream
        self.until = until
        self.in_line = False
        self.unheard = False  # its stream may hold something whole
        self.watched = False


class Clients(Generic[S]):
    """Accepts on `listener`. welcome: the uid of a connection's peer, -1 for unknown, None to close it at once.

    hear: called when bytes came; True if the stream may hold something more that is whole, for the next turn. A
    client that it does not `drop` is kept until its `until` and no longer. Call `tend` at every turn of the loop.
    """

    def __init__(
        self,
        listener: socket.socket,
        selector: selectors.BaseSelector,
        *,
        log: logging.Logger,
        at_most: int,
        seconds: float,
        welcome: Callable[[socket.socket], int | None],
        stream: Callable[[], S],
        hear: Callable[[Client[S]], bool],
    ) -> None:
        self._selector = selector
        self._at_most = at_most
        self._seconds = seconds
        self._welcome = welcome
        self._stream = stream
        self._hear = hear
        self._of: dict[Peer, dict[socket.socket, Client[S]]] = {}
        self._number = 0
        self._lines: dict[Peer, deque[Client[S]]] = {}
        self._left = HEAR_AT_ONCE
        self._quiet = Quiet(log)
        self._accepting = Accepting(listener, selector, self._hear_some, self._quiet)

    def __len__(self) -> int:
        return self._number

    def _accept(self) -> None:
        until = time.monotonic() + self._seconds
        for connection in self._accepting.connections(ACCEPT_AT_ONCE):
            uid = self._welcome(connection)
            if uid is None:
                connection.close()
                continue
            connection.setblocking(False)
            if self._number >= self._at_most:
                self._quiet.warn("full", f"more than {self._at_most} clients at once; dropping the oldest")
                self.drop(self._least())
            client = Client(connection, Peer(proved=False, uid=uid), self._stream(), until)
            self._join(client)
            self._line_up(client)  # what it says is mostly there already

    def _least(self) -> Client[S]:
        """The client to lose when there are too many."""
        groups = [of for peer, of in self._of.items() if not peer.proved] or list(self._of.values())
        return next(iter(max(groups, key=len).values()))

    def _line_up(self, client: Client[S]) -> None:
        if not client.in_line:
            client.in_line = True
            self._lines.setdefault(client.peer, deque()).append(client)

    def _readable(self, client: Client[S]) -> None:
        self._line_up(client)
        self._hear_some()

    def _hear_some(self) -> None:
        """Hear the first of each line, time and again, while this turn has some left."""
        while self._left:
            self._accept()
            if not self._lines:
                return
            peer = next(iter(self._lines))
            line = self._lines.pop(peer)
            client = line.popleft()
            if line:
                self._lines[peer] = line  # behind the others
            client.in_line = False
            if self._is_open(client):
                self._left -= 1
                self._receive(client)

    def _is_open(self, client: Client[S]) -> bool:
        return client.connection in self._of.get(client.peer, ())

    def _receive(self, client: Client[S]) -> None:
        if not client.unheard:
            try:
                more = client.connection.recv(READ_BYTES)
            except BlockingIOError:
                self._watch(client)
                return
            except OSError:
                more = b""
            if not more:
                self.drop(client)
                return
            client.stream.feed(more)
        client.unheard = self._hear(client)
        if self._is_open(client):
            self._watch(client)
            if client.unheard:
                self._line_up(client)

    def _watch(self, client: Client[S]) -> None:
        if not client.watched:
            client.watched = True
            self._selector.register(client.connection, selectors.EVENT_READ, functools.partial(self._readable, client))

    def prove(self, client: Client[S]) -> None:
        """A client has shown that it may speak."""
        if not client.peer.proved:
            self._leave(client)
            client.peer = client.peer._replace(proved=True)
            self._join(client)

    def _join(self, client: Client[S]) -> None:
        self._of.setdefault(client.peer, {})[client.connection] = client
        self._number += 1

    def _leave(self, client: Client[S]) -> None:
        of = self._of[client.peer]
        del of[client.connection]
        self._number -= 1
        if not of:
            del self._of[client.peer]

    def send(self, client: Client[S], reply: bytes) -> bool:
        """Send a reply that fits into an empty socket buffer; a client that leaves no room for it is dropped: False."""
        try:
            sent = client.connection.send(reply, socket.MSG_NOSIGNAL)
        except OSError:
            sent = 0
        if sent != len(reply):
            self.drop(client)
        return sent == len(reply)

    def drop(self, client: Client[S]) -> None:
        """End a connection; nothing if it has ended."""
        if self._is_open(client):
            self._leave(client)
            if client.watched:
                self._selector.unregister(client.connection)
            client.connection.close()

    def _all(self) -> list[Client[S]]:
        return [client for of in self._of.values() for client in of.values()]

    def wait(self, at_most_seconds: float) -> float:
        """How long the loop may wait before the next turn."""
        return 0.0 if self._lines else self._accepting.wait(at_most_seconds)

    def tend(self) -> None:
        """Begin a turn: hear those who wait in line, and drop every client whose time is over."""
        self._accepting.tend()
        self._left = HEAR_AT_ONCE
        self._hear_some()
        now = time.monotonic()
        for client in self._all():
            if client.until <= now:
                self.drop(client)

    def close(self) -> None:
        """Drop every client; the listener stays the caller's."""
        for client in self._all():
            self.drop(client)
        self._lines.clear()
        self._accepting.close()
