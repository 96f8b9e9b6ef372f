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
import struct
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from popauthd.errors import PopauthdError, UsageError
from popauthd.logs import Quiet
from popauthd.protocol import CONTROL_BYTES, Bad, NeedMore, read_control, write_control
from popauthd.serving.accepting import Accepting

log = logging.getLogger("popauthd.watch")

CLIENT_SECONDS = 5.0
MAX_CLIENTS = 32
ACCEPT_AT_ONCE = 16  # connections a turn
Handler = Callable[[Mapping[str, Any]], dict[str, Any]]


def listen(path: str, mode: int) -> socket.socket:
    """A listening unix socket at `path`, put there by rename: it replaces an old one without a gap."""
    fresh = f"{path}.new"
    Path(fresh).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777)  # nobody may connect before the mode is right
    try:
        listener.bind(fresh)
    finally:
        os.umask(before)
    listener.listen(512)
    Path(fresh).chmod(mode)
    Path(fresh).rename(path)
    return listener


class ControlServer:
    """Accepts on a listener and hands whole requests to `handler`, which returns the reply.

    A PopauthdError from the handler becomes the reply {"error": message, "exit_code": n}.
    """

    def __init__(self, listener: socket.socket, handler: Handler, selector: selectors.BaseSelector) -> None:
        self._handler = handler
        self._selector = selector
        self._clients: dict[socket.socket, tuple[float, bytearray]] = {}
        self._accepting = Accepting(listener, selector, self._accept, Quiet(log))

    def _accept(self) -> None:
        for connection in self._accepting.connections(ACCEPT_AT_ONCE):
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        uid = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[1]
        if uid not in (0, os.geteuid()) or len(self._clients) >= MAX_CLIENTS:
            log.warning("control: refused uid=%d clients=%d", uid, len(self._clients))
            connection.close()
            return
        connection.setblocking(False)
        self._clients[connection] = (time.monotonic() + CLIENT_SECONDS, bytearray())
        self._selector.register(connection, selectors.EVENT_READ, lambda: self._receive(connection))

    def _receive(self, connection: socket.socket) -> None:
        data = self._clients[connection][1]
        try:
            more = connection.recv(CONTROL_BYTES + 1)
        except BlockingIOError:
            return
        except OSError:
            more = b""
        if not more:
            self._drop(connection)
            return
        data += more
        if b"\n" not in more and len(data) <= CONTROL_BYTES:
            return  # not whole; what has come is not looked at again
        request = read_control(bytes(data))
        assert not isinstance(request, NeedMore)
        with contextlib.suppress(OSError):
            connection.setblocking(True)
            connection.settimeout(1.0)
            connection.sendall(write_control(self._reply(request)))
        self._drop(connection)

    def _reply(self, request: dict[str, Any] | Bad) -> dict[str, Any]:
        if isinstance(request, Bad):
            return {"error": f"bad request: {request.why}", "exit_code": UsageError.exit_code}
        try:
            return self._handler(request)
        except PopauthdError as error:
            return {"error": str(error), "exit_code": error.exit_code}

    def wait(self, at_most_seconds: float) -> float:
        """How long the loop may wait before the next turn."""
        return self._accepting.wait(at_most_seconds)

    def drop_slow(self) -> None:
        """Drop clients that have not sent a whole request in CLIENT_SECONDS; call it at every turn."""
        self._accepting.tend()
        now = time.monotonic()
        for connection in [c for c, (until, _data) in self._clients.items() if until <= now]:
            self._drop(connection)

    def _drop(self, connection: socket.socket) -> None:
        del self._clients[connection]
        self._selector.unregister(connection)
        connection.close()

    def close(self) -> None:
        """Drop every client; the listener stays the caller's."""
        for connection in list(self._clients):
            self._drop(connection)
        self._accepting.close()
