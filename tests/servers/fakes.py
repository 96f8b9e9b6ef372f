"""Things that stand where a part of popauthd should be and do it wrong, and a mail server to relay to."""

from __future__ import annotations

import contextlib
import shutil
import socket
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def answering(path: Path, reply: bytes | None, group: str, shut: bool = True) -> Iterator[None]:
    """A unix socket that gives every client `reply` and closes; None, or shut=False: it then stays silent."""
    held: list[socket.socket] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        open_to(path, group)
        server.listen(8)

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = server.accept()
                    if reply is not None:
                        client.recv(64)  # closing with the question unread would be a reset, not an answer
                        client.sendall(reply)
                    if shut and reply is not None:
                        client.close()
                    else:
                        held.append(client)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for client in held:
                client.close()
            path.unlink()


@contextlib.contextmanager
def never_accepting(path: Path, group: str) -> Iterator[None]:
    """A unix socket whose queue is full: connecting itself hangs, as with a responder that is stopped."""
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
        server.bind(str(path))
        open_to(path, group)
        server.listen(0)
        first.connect(str(path))
        try:
            yield
        finally:
            path.unlink()


def open_to(path: Path, group: str) -> None:
    """Let a group use a socket or read a file, as the daemon does."""
    shutil.chown(path, group=group)
    path.chmod(0o660 if path.is_socket() else 0o640)


class _Session(socketserver.StreamRequestHandler):
    server: Sink

    def handle(self) -> None:
        """Speak just enough SMTP to take messages."""
        self._say(220)
        while line := self.rfile.readline():
            verb = line[:4].upper().rstrip()
            if verb == b"DATA":
                self._say(354)
                body = b""
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    body += line
                self.server.take(body)
            self._say(221 if verb == b"QUIT" else 250)
            if verb == b"QUIT":
                return

    def _say(self, code: int) -> None:
        self.wfile.write(b"%d mx.example.com\r\n" % code)


class Sink(socketserver.ThreadingTCPServer):
    """The mail server of the world outside: keeps what it gets."""

    daemon_threads = True

    def __init__(self, address: str = "127.0.0.1") -> None:
        super().__init__((address, 0), _Session)
        self.port: int = self.server_address[1]
        self.messages: list[bytes] = []
        self._more = threading.Condition()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self._thread.start()

    def take(self, message: bytes) -> None:
        """Keep one message."""
        with self._more:
            self.messages.append(message)
            self._more.notify_all()

    def got(self, text: bytes, seconds: float = 20.0) -> bool:
        """Whether a message with this text comes in time."""
        with self._more:
            return self._more.wait_for(lambda: any(text in message for message in self.messages), seconds)

    def close(self) -> None:
        """Stop listening."""
        self.shutdown()
        self._thread.join()
        self.server_close()
