"""A push source of its own on a real socket, turning in a thread, with what was entered into it."""

from __future__ import annotations

import selectors
import socket
import threading
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from popauthd.errors import StoreError
from popauthd.model import Login
from tests.support.helpers import eventually


class Served(Protocol):
    """What both servers offer."""

    counts: Counter[str]

    def drop_slow(self) -> None: ...
    def close(self) -> None: ...


class Running:
    """`verdict` is what `enter` answers; None for a full disk. path: the listener's, where it was renamed."""

    def __init__(
        self,
        listener: socket.socket,
        make: Callable[[socket.socket, Callable[[Login], bool], selectors.BaseSelector], Served],
        path: str = "",
    ) -> None:
        self.address = path or listener.getsockname()
        self.entered: list[Login] = []
        self.verdict: bool | None = True
        self._listener = listener
        self._selector = selectors.DefaultSelector()
        self.server = make(listener, self._enter, self._selector)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._turn)
        self._thread.start()

    def _enter(self, login: Login) -> bool:
        if self.verdict is None:
            raise StoreError("the disk is full")
        self.entered.append(login)
        return self.verdict

    def _turn(self) -> None:
        while not self._stop.is_set():
            for key, _events in self._selector.select(0.01):
                key.data()
            self.server.drop_slow()

    def connect(self) -> socket.socket:
        connection = socket.socket(self._listener.family)
        connection.settimeout(10)
        connection.connect(self.address)
        return connection

    def ask(self, *parts: bytes) -> bytes:
        """Send the parts and return all that comes until the server closes."""
        with self.connect() as connection:
            for part in parts:
                connection.sendall(part)
            return b"".join(iter(lambda: connection.recv(4096), b""))

    def counted(self, **counts: int) -> None:
        """Wait until exactly this was counted; `auth_policy_403` stands for `auth-policy.403`."""
        wanted = {".".join(name.rsplit("_", 1)).replace("_", "-"): number for name, number in counts.items()}
        eventually(lambda: dict(self.server.counts) == wanted, f"counts {wanted}, now {self.server.counts}")

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self.server.close()
        self._selector.close()
        self._listener.close()
