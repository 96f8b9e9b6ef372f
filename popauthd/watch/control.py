"""The control socket: how popauthctl asks the running watcher, and tells it to change something.

Served inside the watcher's own loop, so that every change is made by the one writer. Only root and
the watcher's own user are heard (SO_PEERCRED, beside the file mode 0600). One request a connection.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import socket
from collections.abc import Callable, Mapping
from typing import Any

from popauthd.errors import PopauthdError, UsageError
from popauthd.protocol import CONTROL_BYTES, Bad, NeedMore, read_control, write_control
from popauthd.serving.clients import Bounds, Client, Clients
from popauthd.serving.unix_socket import peer_uid

log = logging.getLogger("popauthd.watch")

CLIENT_SECONDS = 5.0
REPLY_SECONDS = 1.0  # how long the watcher waits for a client that does not take its reply
MAX_CLIENTS = 32
ACCEPT_AT_ONCE = 16  # connections a turn
Handler = Callable[[Mapping[str, Any]], dict[str, Any]]


class ControlServer:
    """Accepts on a listener and hands whole requests to `handler`, which returns the reply.

    A PopauthdError from the handler becomes the reply {"error": message, "exit_code": n}.
    """

    def __init__(self, listener: socket.socket, handler: Handler, selector: selectors.BaseSelector) -> None:
        self._handler = handler
        bounds = Bounds(ACCEPT_AT_ONCE, MAX_CLIENTS, CLIENT_SECONDS, CONTROL_BYTES + 1)
        self._clients: Clients[bytearray] = Clients(listener, selector, self, bounds, log)

    def take_in(self) -> None:
        """Accept those who connect."""
        for client in self._clients.accept():
            self._clients.watch(client)

    def welcome(self, connection: socket.socket) -> bytearray | None:
        """The place for the bytes of a client, or None: another user's, or one too many."""
        uid = peer_uid(connection)
        if uid in (0, os.geteuid()) and not self._clients.full:
            return bytearray()
        log.warning("control: refused uid=%d clients=%d", uid, len(self._clients))
        return None

    def hear(self, client: Client[bytearray]) -> None:
        """Read what a client sends, and answer it if its request is whole."""
        more = self._clients.receive(client)
        if more is None:
            return
        if not more:
            self.end(client)
            return
        data = client.state
        data += more
        if b"\n" not in more and len(data) <= CONTROL_BYTES:
            return  # not whole; what has come is not looked at again
        request = read_control(bytes(data))
        assert not isinstance(request, NeedMore)
        with contextlib.suppress(OSError):
            client.connection.settimeout(REPLY_SECONDS)
            client.connection.sendall(write_control(self._reply(request)))
        self.end(client)

    def end(self, client: Client[bytearray]) -> None:
        """Close a connection."""
        self._clients.drop(client)

    def _reply(self, request: dict[str, Any] | Bad) -> dict[str, Any]:
        if isinstance(request, Bad):
            return {"error": f"bad request: {request.why}", "exit_code": UsageError.exit_code}
        try:
            return self._handler(request)
        except PopauthdError as error:
            return {"error": str(error), "exit_code": error.exit_code}

    def wait(self, at_most_seconds: float) -> float:
        """How long the loop may wait before the next turn."""
        return self._clients.wait(at_most_seconds)

    def drop_slow(self) -> None:
        """Drop clients that have not sent a whole request in CLIENT_SECONDS; call it at every turn."""
        self._clients.tend()

    def close(self) -> None:
        """Drop every client; the listener stays the caller's."""
        self._clients.close()
