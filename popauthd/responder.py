"""The responder: answers Exim on a unix socket from the relay map alone.

One process, one non-blocking loop; no thread per client, no access to logs, books or network. Whoever connects is read
at once, and mostly answered at once. A client that has to wait gets a place: one that is silent or slow, until it is
dropped after CLIENT_SECONDS, and one whose "no" is held for up to `hold_ms` while the map is looked at again, for a
client that sends right after its login. Anything but a clean "yes" from the map is "no": missing map, garbage, a bad
request. When all MAX_CLIENTS places are taken, or no descriptor is left, the client that has been silent longest is
answered "no" and makes room, or else the one whose "no" has been held longest. The map is kept open, also while nobody
asks, as opening it would need a descriptor.

LIMIT: a map that is cut short between the look at its size and the look into it kills the process (SIGBUS). Whoever
waits gets a closed connection, which Exim takes as "no"; whatever started the responder starts it anew.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import select
import socket
import time
from collections import deque
from collections.abc import Callable

from popauthd.errors import StoreError
from popauthd.logs import Quiet
from popauthd.protocol import NO, YES, Bad, Lookup, read_lookup
from popauthd.serving.accepting import Accepting
from popauthd.serving.clients import Bounds
from popauthd.store.relay_map import MapReader

log = logging.getLogger("popauthd.respond")

CLIENT_SECONDS = 2.0
MAX_CLIENTS = 512
LOOK_AGAIN_SECONDS = 0.005
LOOK_AT_ONCE = 32  # held clients that are looked at between two looks at the sockets
OPEN_MAP_SECONDS = 1.0
READ_BYTES = 4096  # more than a request holds: bytes left unread would turn our reply into a reset connection
ACCEPT_AT_ONCE = 64  # connections a turn, so that a flood of them cannot starve those already open
EVENTS_AT_ONCE = 128
# Flags are enumerations, and joining two costs as much as a system call.
_AT_ONCE = int(socket.MSG_DONTWAIT)
_AT_ONCE_OR_NOT = int(socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)


class _Waiting:
    """A client that could not be answered at once. until: monotonic seconds; it is answered "no" then.

    data: what it has sent of its request. address: what it asks for, once that is known; its "no" is held.
    """

    __slots__ = ("address", "connection", "data", "until")

    def __init__(self, connection: socket.socket, data: bytes, address: str, until: float) -> None:
        self.connection = connection
        self.data = data
        self.address = address
        self.until = until


class Responder:
    """The loop. `listener`: a bound, listening unix socket. `clock` tells epoch seconds (the expiry's clock)."""

    def __init__(
        self, listener: socket.socket, reader: MapReader, hold_ms: int, clock: Callable[[], float] = time.time
    ) -> None:
        self.bounds = Bounds(ACCEPT_AT_ONCE, MAX_CLIENTS, CLIENT_SECONDS, READ_BYTES)
        self._reader = reader
        self._hold_seconds = hold_ms / 1000
        self._clock = clock
        self._quiet = Quiet(log)
        # By descriptor, in the order of arrival: the first one is the first whose time is over.
        self._silent: dict[int, _Waiting] = {}
        self._held: dict[int, _Waiting] = {}
        self._looked_in: tuple[object, ...] | None = (
            None  # the state of the map that all who are held were looked for in
        )
        self._to_look: deque[int] = deque()
        self._look_at = 0.0
        self._epoll = select.epoll()
        self._listening = listener.fileno()
        self._accepting = Accepting(
            listener,
            functools.partial(self._epoll.register, self._listening, select.EPOLLIN),
            functools.partial(self._epoll.unregister, self._listening),
            self._quiet,
            functools.partial(self._make_room, "no descriptor is left"),
        )
        self._open_map_at = 0.0
        self._keep_map_open(time.monotonic())

    def __len__(self) -> int:
        """How many clients wait."""
        return len(self._silent) + len(self._held)

    def hold_no(self, hold_ms: int) -> None:
        """How long a "no" is held from now on, but not shorter than one that is held already."""
        self._hold_seconds = hold_ms / 1000

    def turn(self, at_most_seconds: float) -> None:
        """Wait for what happens next, at most so long, and serve it."""
        for descriptor, _events in self._epoll.poll(self._wait(at_most_seconds), EVENTS_AT_ONCE):
            if descriptor == self._listening:
                self._take_in()
            else:
                self._hear(descriptor)
        self._accepting.tend()
        now = time.monotonic()
        if self._silent:
            for client in _over(self._silent, now):
                self._end(self._silent, client, NO)
        if self._held:
            self._tend_held(now)
        self._keep_map_open(now)

    def drain(self) -> None:
        """Take no new client, and serve those who are here to their end: CLIENT_SECONDS at most.

        Who connects from now on waits in the listener's queue for the next responder, if that gets the same socket.
        """
        self._accepting.close()
        while len(self):
            self.turn(CLIENT_SECONDS)

    def close(self) -> None:
        """Answer nobody any more; the listener stays the caller's."""
        for place in (self._silent, self._held):
            for client in list(place.values()):
                self._end(place, client, NO)
        self._epoll.close()
        self._reader.close()

    def _wait(self, at_most_seconds: float) -> float:
        """How long a turn may wait for the sockets."""
        wait = self._accepting.wait(at_most_seconds)
        if not self._silent and not self._held:
            return wait
        awake_at = [next(iter(place.values())).until for place in (self._silent, self._held) if place]
        if self._held:
            awake_at.append(self._look_at)
        return min(wait, max(0.0, min(awake_at) - time.monotonic()))

    def _keep_map_open(self, now: float) -> None:
        if now >= self._open_map_at:
            self._open_map_at = now + OPEN_MAP_SECONDS
            with contextlib.suppress(StoreError):  # whoever asks is told
                self._reader.open()

    def _take_in(self) -> None:
        """Accept those who connect, and read them at once; the request is mostly there already."""
        for connection in self._accepting.connections(self.bounds.accept_at_once):
            try:
                data = connection.recv(self.bounds.read_bytes, _AT_ONCE)
            except BlockingIOError:
                self._wait_for(connection, b"")
            except OSError:
                connection.close()
            else:
                if not self._serve(connection, data, ended=not data):
                    self._wait_for(connection, data)

    def _hear(self, descriptor: int) -> None:
        """Read what a client sends that waits, and answer it if its request is whole."""
        held = descriptor in self._held
        place = self._held if held else self._silent
        client = place.get(descriptor)
        if client is None:
            return  # it was dropped earlier in this turn
        try:
            more = client.connection.recv(self.bounds.read_bytes, _AT_ONCE)
        except BlockingIOError:
            return  # another client has its descriptor now
        except OSError:
            self._end(place, client, NO)
            return
        if not held:
            client.data += more
            if self._serve(client.connection, client.data, ended=not more):
                del self._silent[descriptor]
        elif more:  # after a whole request
            self._end(place, client, NO)
        else:  # it sends no more, or is gone; reading that again and again would keep the loop turning
            self._epoll.unregister(descriptor)

    def _serve(self, connection: socket.socket, data: bytes, *, ended: bool) -> bool:
        """Answer a request, or hold its "no"; False if it is not whole. data: all that has come of it."""
        request = read_lookup(data, ended=ended)
        if isinstance(request, Lookup):
            if self._allowed(request.address):
                _answer(connection, YES)
            elif self._hold_seconds > 0:
                self._hold(connection, request.address)
            else:
                _answer(connection, NO)
        elif isinstance(request, Bad):
            self._quiet.warn("bad", f"bad request, answered no: {request.why}")
            _answer(connection, NO)
        else:
            return False
        return True

    def _allowed(self, address: str) -> bool:
        try:
            expires_at = self._reader.expiry(address)
        except StoreError as error:
            self._quiet.warn("map", f"answering no: {error}")
            return False
        return expires_at is not None and self._clock() < expires_at

    def _wait_for(self, connection: socket.socket, data: bytes) -> None:
        """Wait for the rest of a request."""
        self._place()
        descriptor = connection.fileno()
        self._silent[descriptor] = _Waiting(connection, data, "", time.monotonic() + self.bounds.seconds)
        self._epoll.register(descriptor, select.EPOLLIN)

    def _hold(self, connection: socket.socket, address: str) -> None:
        """Hold a "no"."""
        now = time.monotonic()
        descriptor = connection.fileno()
        if not self._held:
            self._look_at = now + LOOK_AGAIN_SECONDS
        if descriptor not in self._silent:  # else it has a place, and is watched
            self._place()
            self._epoll.register(descriptor, select.EPOLLIN)
        self._held[descriptor] = _Waiting(connection, b"", address, now + self._hold_seconds)

    def _place(self) -> None:
        """See that one more client can wait."""
        if len(self) >= self.bounds.clients:
            self._make_room(f"more than {self.bounds.clients} clients at once")

    def _make_room(self, why: str) -> bool:
        """Answer "no" to the client that has waited longest; False if nobody waits."""
        place = self._silent or self._held
        if not place:
            return False
        self._quiet.warn("room", f"{why}; dropping the oldest")
        self._end(place, next(iter(place.values())), NO)
        return True

    def _tend_held(self, now: float) -> None:
        """Look again for those whose "no" is held, if the map has changed, and end the time of those where it is over.

        All of them may be many, so that they are looked at in slices, with other clients served in between.
        """
        if now >= self._look_at:
            if not self._to_look and (state := self._state()) != self._looked_in:
                self._looked_in = state
                self._to_look.extend(self._held)
            for _ in range(min(LOOK_AT_ONCE, len(self._to_look))):
                client = self._held.get(self._to_look.popleft())
                if client is not None and self._allowed(client.address):
                    self._end(self._held, client, YES)
            self._look_at = now if self._to_look else now + LOOK_AGAIN_SECONDS
        for client in _over(self._held, now):
            self._end(self._held, client, YES if self._allowed(client.address) else NO)

    def _state(self) -> tuple[object, ...]:
        """What the map is now; () if it cannot be read."""
        try:
            return self._reader.state()
        except StoreError:
            return ()

    def _end(self, place: dict[int, _Waiting], client: _Waiting, reply: bytes) -> None:
        del place[client.connection.fileno()]
        _answer(client.connection, reply)


def _over(place: dict[int, _Waiting], now: float) -> list[_Waiting]:
    """The first clients whose time is over, at most LOOK_AT_ONCE."""
    return list(itertools.takewhile(lambda client: client.until <= now, itertools.islice(place.values(), LOOK_AT_ONCE)))


def _answer(connection: socket.socket, reply: bytes) -> None:
    """Send a reply, if the client is there, and close; closing takes the connection out of epoll too."""
    try:
        connection.send(reply, _AT_ONCE_OR_NOT)
    except OSError:
        pass
    finally:
        connection.close()
