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
from typing import Any, TypeVar

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
from popauthd.errors import ConfigError

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
            threading.Thread(target=_or_end, args=(work,), daemon=True).start()
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


def _or_end(work: Callable[[], None]) -> None:
    """Work; an error that nobody expects ends the process, so that no half goes on without the other."""
    try:
        work()
    except BaseException:
        sys.excepthook(*sys.exc_info())
        os._exit(70)  # EX_SOFTWARE


def begin(settings: ClusterConfig, me: Sender, place: str) -> bytes:
    """The line that a link is begun with. The key and the passwords are read by the link itself."""
    table = {name: getattr(settings, name) for name in settings.__slots__}
    return line("begin", table, [me.node, me.run, me.stream, me.keep_seconds], place)


def main(parent: int) -> None:
    """Be the link of the watcher that is our parent."""
    for number in _ENDS:
        signal.signal(number, signal.SIG_IGN)  # systemd tells all processes of the unit; we end with the watcher
    to_watcher = socket.socket(fileno=os.dup(0))
    first = _first_line(to_watcher)
    if not first or os.getppid() != parent:
        return
    _what, (table, names, place) = read_line(first)
    try:
        made = _link(to_watcher, ClusterConfig(**table), names, place)
    except ConfigError as error:  # a file was changed since the watcher has read it
        to_watcher.sendall(line("fault", str(error)))
        sys.exit(error.exit_code)
    made.run()
    os._exit(0)  # a thread may wait for an engine that hangs


def _link(to_watcher: socket.socket, settings: ClusterConfig, names: Sequence[Any], place: str) -> Link:
    """The link that a watcher asks for. Raises ConfigError."""
    node, run, stream, keep_seconds = names
    me = Sender(node, run, stream, read_keys(settings.key_file), keep_seconds)
    offset = Offset()
    inbound = Inbound(open_stream(settings), me, offset, time.time, place)
    return Link(to_watcher, inbound, Outbound(open_stream(settings), me, offset, time.time))


def _first_line(connection: socket.socket) -> bytes:
    """The first line, and not a byte of what follows; b"" if there is none."""
    text = bytearray()
    while not text.endswith(b"\n"):
        byte = connection.recv(1)
        if not byte:
            return b""
        text += byte
    return bytes(text)


def command() -> list[str]:
    """How a link is started; its standard input is the socket."""
    isolated = ["-I"] if sys.flags.isolated else []  # as installed: no module of the current directory
    return [sys.executable, *isolated, "-m", "popauthd.cluster.link", str(os.getpid())]


if __name__ == "__main__":
    main(int(sys.argv[1]))
