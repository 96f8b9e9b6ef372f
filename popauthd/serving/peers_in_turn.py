"""Clients that are heard in turn, peer by peer, so that nobody who sends much or connects often delays another.

What the push sources have in common, on top of the shared loop (clients.py).

A turn hears HEAR_AT_ONCE clients, and takes in ACCEPT_AT_ONCE connections before each: hearing one may need a commit,
and the queue of the listener must not fill meanwhile. Clients of one peer stand in one line, and the lines take turns:
a peer that fills its own line delays nobody else by more than one client. When all places are taken, the peer with the
most clients loses its oldest; those that have proved that they may speak have a line of their own, and go last.
"""

from __future__ import annotations

import logging
import selectors
import socket
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from popauthd.serving.clients import Bounds, Client, Clients

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


class InTurn(Generic[S]):
    """What is known of a client that is heard in its turn."""

    __slots__ = ("in_line", "peer", "stream", "unheard")

    def __init__(self, peer: Peer, stream: S) -> None:
        self.peer = peer
        self.stream = stream
        self.in_line = False
        self.unheard = False  # its stream may hold something whole


Speaker: TypeAlias = Client[InTurn[S]]


class PeersInTurn(Generic[S]):
    """Serves `listener`. welcome: the uid of a connection's peer, -1 for unknown, None to close it at once.

    hear: called when bytes came; True if the stream may hold something more that is whole, for the next turn. A
    client that it does not `end` is kept until its `until` and no longer. Call `tend` at every turn of the loop.
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
        hear: Callable[[Speaker[S]], bool],
    ) -> None:
        self._welcome = welcome
        self._stream = stream
        self._hear = hear
        self._of: dict[Peer, dict[Speaker[S], None]] = {}
        self._lines: dict[Peer, deque[Speaker[S]]] = {}
        self._left = HEAR_AT_ONCE
        bounds = Bounds(ACCEPT_AT_ONCE, at_most, seconds, READ_BYTES)
        self._clients: Clients[InTurn[S]] = Clients(listener, selector, self, bounds, log, self._least)

    def __len__(self) -> int:
        return len(self._clients)

    def welcome(self, connection: socket.socket) -> InTurn[S] | None:
        """A new client's state: it stands in the line of its uid, and has proved nothing yet."""
        uid = self._welcome(connection)
        return None if uid is None else InTurn(Peer(proved=False, uid=uid), self._stream())

    def _least(self) -> Speaker[S]:
        """The client to lose when there are too many."""
        groups = [of for peer, of in self._of.items() if not peer.proved] or list(self._of.values())
        largest = max(groups, key=len)
        return next(iter(largest))

    def _line_up(self, client: Speaker[S]) -> None:
        if not client.state.in_line:
            client.state.in_line = True
            self._lines.setdefault(client.state.peer, deque()).append(client)

    def hear(self, client: Speaker[S]) -> None:
        """Bytes came: put the client into its line, and hear whose turn it is."""
        self._line_up(client)
        self.take_in()

    def take_in(self) -> None:
        """Hear the first of each line, time and again, while this turn has some left; accept before each."""
        while self._left:
            for newcomer in self._clients.accept():
                self._join(newcomer)
                self._line_up(newcomer)  # what it says is mostly there already
            if not self._lines:
                return
            peer = next(iter(self._lines))
            line = self._lines.pop(peer)
            client = line.popleft()
            if line:
                self._lines[peer] = line  # behind the others
            client.state.in_line = False
            if client in self._clients:
                self._left -= 1
                self._receive(client)

    def _receive(self, client: Speaker[S]) -> None:
        if not client.state.unheard:
            more = self._clients.receive(client)
            if more is None:
                return
            if not more:
                self.end(client)
                return
            client.state.stream.feed(more)
        client.state.unheard = self._hear(client)
        if client in self._clients:
            self._clients.watch(client)
            if client.state.unheard:
                self._line_up(client)

    def prove(self, client: Speaker[S]) -> None:
        """A client has shown that it may speak."""
        if not client.state.peer.proved:
            self._leave(client)
            client.state.peer = client.state.peer._replace(proved=True)
            self._join(client)

    def _join(self, client: Speaker[S]) -> None:
        self._of.setdefault(client.state.peer, {})[client] = None

    def _leave(self, client: Speaker[S]) -> None:
        of = self._of[client.state.peer]
        del of[client]
        if not of:
            del self._of[client.state.peer]

    def keep_until(self, client: Speaker[S], until: float) -> None:
        """From `until` on, in monotonic seconds, the client is too slow."""
        self._clients.keep_until(client, until)

    def send(self, client: Speaker[S], reply: bytes) -> bool:
        """Send a reply that fits into an empty socket buffer; a client that leaves no room for it is ended: False."""
        sent = client.send(reply)
        if not sent:
            self.end(client)
        return sent

    def end(self, client: Speaker[S]) -> None:
        """Close a connection; nothing if it is closed."""
        if client in self._clients:
            self._leave(client)
            self._clients.drop(client)

    def wait(self, at_most_seconds: float) -> float:
        """How long the loop may wait before the next turn."""
        return 0.0 if self._lines else self._clients.wait(at_most_seconds)

    def tend(self) -> None:
        """Begin a turn: hear those who wait in line, and end every client whose time is over."""
        self._left = HEAR_AT_ONCE
        self.take_in()
        self._clients.tend()

    def close(self) -> None:
        """End every client; the listener stays the caller's."""
        self._clients.close()
        self._lines.clear()
