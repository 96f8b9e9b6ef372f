"""The process that talks with the engine, so that the watcher never waits for it.

The watcher starts it with a socket as its standard input, and both write lines to it (frames.py). A thread for each
half keeps trying with pauses, whatever the engine does: one that is down, slow, hung or full holds up that thread and
nobody else. At most one batch is on its way in each direction: the next is given when that one is sent, or entered. The
process ends when the watcher does.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from popauthd.cluster.access import open_stream
from popauthd.cluster.events import PeerEvent
from popauthd.cluster.frames import incoming_told, line, read_events, read_line
from popauthd.cluster.inbound import Inbound
from popauthd.cluster.keys import read_keys
from popauthd.cluster.offset import Offset
from popauthd.cluster.outbound import Outbound
from popauthd.cluster.stream import EngineError
from popauthd.cluster.traffic import INBOUND, OUTBOUND, Incoming, Sender
from popauthd.config import ClusterConfig

BLOCK_MS = 1000
SHORTEST_SECONDS, LONGEST_SECONDS = 0.1, 2.0  # pauses after an error
ALIVE_SECONDS = 1.0  # how often the watcher is told how it is, though nothing was heard
_ENDS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
Result = TypeVar("Result")


class Half:
    """A half of the link: tries again after an EngineError, and tells of it. say: what writes a line to the watcher."""

    def __init__(self, name: str, say: Callable[..., None]) -> None:
        self._name = name
        self._say = say
        self._pause = SHORTEST_SECONDS
        self._failing = False
        self._wait = threading.Event()

    def once(self, work: Callable[[], Result]) -> Result | None:
        """Do it; None after an EngineError and a pause."""
        try:
            found = work()
        except EngineError as error:
            self._failing = True
            self._say("state", self._name, error.word, error.text)
            self._wait.wait(self._pause)
            self._pause = min(LONGEST_SECONDS, 2 * self._pause)
            return None
        if self._failing:
            self._failing, self._pause = False, SHORTEST_SECONDS
            self._say("state", self._name, "", "")
        return found


class Link:
    """Both halves over a connected socket."""

    def __init__(self, to_watcher: socket.socket, inbound: Inbound, outbound: Outbound) -> None:
        self._socket = to_watcher
        self._inbound = inbound
        self._outbound = outbound
        self._writing = threading.Lock()
        self._batches: queue.SimpleQueue[list[PeerEvent]] = queue.SimpleQueue()
        self._took = threading.Event()

    def run(self) -> None:
        """Work until the watcher ends the connection."""
        for work in (self._read, self._send):
            threading.Thread(target=work, daemon=True).start()
        for text in self._socket.makefile("rb"):
            what, rest = read_line(text)
            if what == "send":
                self._batches.put(read_events(rest[0]))
            elif what == "took":
                self._took.set()

    def _say(self, what: str, *rest: object) -> None:
        with self._writing:
            try:
                self._socket.sendall(line(what, *rest))
            except OSError:  # the watcher is gone
                os._exit(0)

    def _read(self) -> None:
        half, said_at = Half(INBOUND, self._say), 0.0
        while True:
            incoming: Incoming | None = half.once(lambda: self._inbound.turn(BLOCK_MS))
            if incoming is None or (incoming.empty and time.monotonic() - said_at < ALIVE_SECONDS):
                continue
            said_at = time.monotonic()
            self._took.clear()
            self._say("heard", incoming_told(incoming))
            self._took.wait()

    def _send(self) -> None:
        half = Half(OUTBOUND, self._say)
        while True:
            events = self._batches.get()
            while half.once(lambda events=events: self._sent(events)) is None:  # type: ignore[misc]
                pass
            self._say("sent")

    def _sent(self, events: Sequence[PeerEvent]) -> bool:
        self._outbound.send(events)
        return True


def begin(settings: ClusterConfig, me: Sender, place: str) -> bytes:
    """The line that a link is begun with. The key and the passwords are read by the link itself."""
    table = {name: getattr(settings, name) for name in settings.__slots__}
    return line("begin", table, [me.node, me.run, me.stream, me.keep_seconds], place)


def main(parent: int) -> None:
    """Be the link of the watcher that is our parent."""
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)  # systemd tells all processes of the unit; we end with the watcher
    to_watcher = socket.socket(fileno=os.dup(0))
    _what, (table, (node, run, stream, keep_seconds), place) = read_line(_first_line(to_watcher))
    if os.getppid() != parent:
        return
    settings = ClusterConfig(**table)
    me = Sender(node, run, stream, read_keys(settings.key_file), keep_seconds)
    offset = Offset()
    inbound = Inbound(open_stream(settings), me, offset, time.time, place)
    Link(to_watcher, inbound, Outbound(open_stream(settings), me, offset, time.time)).run()
    os._exit(0)  # a thread may wait for an engine that hangs


def _first_line(connection: socket.socket) -> bytes:
    """The first line, and not a byte of what follows."""
    text = bytearray()
    while not text.endswith(b"\n"):
        text += connection.recv(1) or b"\n"
    return bytes(text)


def command() -> list[str]:
    """How a link is started; its standard input is the socket."""
    isolated = ["-I"] if sys.flags.isolated else []  # as installed: no module of the current directory
    return [sys.executable, *isolated, "-m", "popauthd.cluster.link", str(os.getpid())]


if __name__ == "__main__":
    main(int(sys.argv[1]))
