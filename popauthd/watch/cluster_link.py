"""The watcher's end of the link to the engine (popauthd/cluster/link.py), which is a process of its own.

Nothing here waits: the socket does not block, and what does not go into it now goes later. A link that ends, or says
nothing for long, is started anew after a pause; what it had not sent is sent again.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import subprocess
import time
from collections.abc import Sequence
from typing import Any

from popauthd.cluster import link
from popauthd.cluster.frames import events_told, line, read_incoming, read_line
from popauthd.cluster.pseudonym import Pseudonyms
from popauthd.cluster.traffic import INBOUND, OUTBOUND, Incoming, Sender
from popauthd.config import ClusterConfig
from popauthd.status import ClusterStatus
from popauthd.store.books import Writing
from popauthd.watch.cluster import Member

BYTES = 1 << 16
SILENT_SECONDS = 60.0
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
WELL_SECONDS = 60.0  # a link that has worked for so long is started anew soon


class ClusterLink:
    """A member with its link. `start` within the first transaction, `listen` with the loop's selector, then `tend`."""

    def __init__(self, member: Member, settings: ClusterConfig, me: Sender, names: Pseudonyms) -> None:
        """names: of users, by the keys that `me` has."""
        self.names = names
        self._member = member
        self._settings = settings
        self._me = me
        self._selector: selectors.BaseSelector | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._read = self._unwritten = b""
        self._fault = ""
        self._heard: Incoming | None = None
        self._started_at = self._spoke_at = 0.0
        self._start_at = 0.0
        self._pause = FIRST_PAUSE
        self._now = 0.0

    def start(self, writing: Writing, now: int) -> None:
        """Begin, within the first transaction."""
        self._member.start(writing, now)

    def listen(self, selector: selectors.BaseSelector) -> None:
        """Wake the loop of this selector when the link says something."""
        self._selector = selector

    def tend(self, now: float) -> bool:
        """Enter what was heard and hand over what is to be sent; True if there is more at once. Raises StoreError."""
        self._now = now
        self._tend_process()
        if self._heard is not None:
            self._member.received(self._heard, int(now))
            self._heard = None
            self._write(line("took"))
        if self._socket is not None:
            events = self._member.outgoing(now)
            if events:
                self._write(line("send", events_told(events)))
        self._member.tend(int(now))
        return self._socket is not None and self._member.more(now)

    def status(self, unsent: int) -> ClusterStatus:
        """How this node is in its cluster."""
        return self._member.status(unsent)

    def close(self) -> None:
        """End the link; what is not sent stays in the outbox."""
        self._end()

    def _tend_process(self) -> None:
        now = time.monotonic()
        if self._process is None:
            if now >= self._start_at and self._selector is not None:
                self._begin()
        elif self._process.poll() is not None:
            self._lost(self._fault or f"the link {_how(self._process.returncode)}")
        elif self._heard is None and now - self._spoke_at > SILENT_SECONDS:
            self._lost(f"the link has said nothing for {SILENT_SECONDS:.0f} s")

    def _begin(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(
                    link.command(), stdin=theirs.fileno(), stdout=subprocess.DEVNULL, start_new_session=True
                )
            except OSError as error:
                ours.close()
                self._failed(f"the link cannot be started: {error.strerror}")
                return
        ours.setblocking(False)
        self._socket, self._started_at = ours, time.monotonic()
        self._spoke_at, self._fault = self._started_at, ""
        assert self._selector is not None
        self._selector.register(ours, selectors.EVENT_READ, self._ready)
        self._write(link.begin(self._settings, self._me, self._member.place))

    def _lost(self, why: str) -> None:
        self._end()
        self._member.dropped()
        self._failed(why)

    def _failed(self, why: str) -> None:
        if time.monotonic() - self._started_at > WELL_SECONDS:
            self._pause = FIRST_PAUSE
        self._start_at = time.monotonic() + self._pause
        self._pause = min(LONGEST_PAUSE, 2 * self._pause)
        for half in (INBOUND, OUTBOUND):
            self._member.failed(half, "lost", why, int(self._now))

    def _end(self) -> None:
        if self._socket is not None:
            if self._selector is not None:
                self._selector.unregister(self._socket)
            self._socket.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = self._socket = self._heard = None
        self._read = self._unwritten = b""

    def _ready(self) -> None:
        """Read what the link has said, and write what did not go into the socket before."""
        if self._socket is None:
            return
        with contextlib.suppress(OSError):  # it has ended: `tend` sees that
            self._write(b"")
        with contextlib.suppress(OSError):
            while text := self._socket.recv(BYTES):
                self._read += text
                self._spoke_at = time.monotonic()
        *lines, self._read = self._read.split(b"\n")
        for text in lines:
            what, rest = read_line(text)
            self._take(what, rest)

    def _take(self, what: str, rest: Sequence[Any]) -> None:
        if what == "sent":
            self._member.sent(self._now)
        elif what == "heard":
            self._heard = read_incoming(rest[0])
        elif what == "state":
            half, word, text = rest
            self._member.failed(half, word, text, int(self._now))
        elif what == "fault":
            self._fault = str(rest[0])

    def _write(self, text: bytes) -> None:
        """Write to the link, and what is left as soon as it goes."""
        self._unwritten += text
        if self._socket is None or self._selector is None:
            return
        with contextlib.suppress(OSError):
            while self._unwritten:
                self._unwritten = self._unwritten[self._socket.send(self._unwritten) :]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unwritten else 0)
        if self._selector.get_key(self._socket).events != wanted:
            self._selector.modify(self._socket, wanted, self._ready)


def _how(status: int) -> str:
    return f"ended with {status}" if status >= 0 else f"was killed by signal {-status}"
