"""Dovecot's auth policy server: takes `command=report`, answers `command=allow` with "continue".

HTTP on loopback, since Dovecot speaks nothing else there. Any local user can connect to it, so every
request must carry the secret that Dovecot is configured with (`X-API-Key`), or it is a 403 and nothing more.

Nobody is ever kept from logging in: `allow` is answered "continue" without a look. A report in good form is
200 whatever comes of it, because Dovecot writes an error for every other status and a failed login (also one
over smtp) is reported like a good one; 503 is for a login that should have been entered and could not be.

LIMIT: Dovecot reports when the password was right, before it looks up the user and his mail, and does not wait for us:
a login that fails after that is granted, the grant is mostly, not always, ahead of the client's next command, and
a report sent while we are away is lost. The post-login script has neither of the first two faults.

LIMIT: whoever may speak to Dovecot's auth socket names protocol and address himself, though not the password.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import logging
import os
import re
import selectors
import socket
import time
from collections import Counter
from collections.abc import Callable

from popauthd.as_user import open_plain
from popauthd.errors import ConfigError, StoreBrokenError, StoreError, unreadable
from popauthd.logs import Quiet
from popauthd.model import Failure, Ignored, Login
from popauthd.protocol import Bad, NeedMore
from popauthd.serving.peers_in_turn import PeersInTurn, Speaker
from popauthd.sources.push.http import Refused, Request, Requests, write_response
from popauthd.sources.push.messages import read_report, sent_at

log = logging.getLogger("popauthd.watch")

REQUEST_SECONDS = 5.0
IDLE_SECONDS = 30.0  # Dovecot keeps an idle connection for 10 s
MAX_CLIENTS = 256  # Dovecot opens at most 100
SECRET_HEADER = "x-api-key"
SECRET = re.compile(rb"[!-~]{16,256}")
PLACE = re.compile(r"(?:\[([0-9a-fA-F:]+)\]|([0-9.]+)):([0-9]{1,5})")
NAME = "auth-policy"
UNKNOWN = -1  # over TCP nothing tells whose a connection is
Enter = Callable[[Login], bool]


def place(text: str) -> tuple[str, int]:
    """Read `127.0.0.1:PORT` or `[::1]:PORT`. Raises ConfigError for any other place."""
    match = PLACE.fullmatch(text)
    try:
        host = ipaddress.ip_address((match[1] or match[2]) if match else "")
    except ValueError:
        host = None
    if match is None or host is None or not host.is_loopback or int(match[3]) > 65535:
        raise ConfigError(f'auth_policy_listen: {text!r} is no loopback address and port, such as "127.0.0.1:4001"')
    return str(host), int(match[3])


def listen(text: str) -> socket.socket:
    """A socket that listens at a `place`. Raises ConfigError."""
    where = place(text)
    try:
        listener = socket.socket(socket.AF_INET6 if ":" in where[0] else socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise ConfigError(
            f"auth_policy_listen: no TCP here ({error.strerror}); as a service popauthd has none unless a drop-in "
            "allows it: /usr/share/doc/popauthd/examples/auth-policy.conf"
        ) from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise ConfigError(f"auth_policy_listen: cannot listen on {text}: {error.strerror}") from error
    return listener


def read_secret(path: str) -> bytes:
    """The secret in a file: one line of 16 to 256 visible ASCII characters. Raises ConfigError.

    The file must not be readable by everybody, for who knows the secret can grant himself.
    """
    try:
        with os.fdopen(open_plain(path), "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            secret = file.read(512).strip()
    except OSError as error:
        raise unreadable(f"auth_policy_secret_file {path}", error) from error
    if mode & 0o007:
        raise ConfigError(f"auth_policy_secret_file {path}: everybody may read it; chmod 0640 it and change the secret")
    if not SECRET.fullmatch(secret):
        raise ConfigError(
            f"auth_policy_secret_file {path}: must be one line of 16 to 256 letters, digits and signs; "
            "make one with: openssl rand -hex 24"
        )
    return secret


class PolicyServer:
    """Serves a listening TCP socket. `enter` grants a login, publishes it, and says whether it did.

    counts: what was reported, by outcome; the caller may take and clear it. secret: what every request must carry.
    note: takes a failed login, which grants nothing.
    """

    def __init__(
        self,
        listener: socket.socket,
        enter: Enter,
        selector: selectors.BaseSelector,
        secret: bytes,
        clock: Callable[[], float] = time.time,
        note: Callable[[Failure], None] = lambda _failure: None,
    ) -> None:
        self.name = NAME
        self.counts: Counter[str] = Counter()
        self._enter, self._note = enter, note
        self._clock = clock
        self.secret = secret
        self._quiet = Quiet(log)
        self._clients = PeersInTurn(
            listener,
            selector,
            log=log,
            at_most=MAX_CLIENTS,
            seconds=REQUEST_SECONDS,
            welcome=lambda _connection: UNKNOWN,
            stream=Requests,
            hear=self._answer,
        )

    def _answer(self, client: Speaker[Requests]) -> bool:
        """Answer the first request if it is whole; True if the client may have sent another behind it."""
        request = client.state.stream.following()
        if isinstance(request, NeedMore):
            if client.state.peer.proved:
                # It is no longer idle.
                self._clients.keep_until(client, min(client.until, time.monotonic() + REQUEST_SECONDS))
            return False
        status, message = self._serve(client, request)
        keep_alive = status == 200 and isinstance(request, Request) and request.keep_alive
        body = json.dumps({"status": 0, "msg": message}).encode("ascii")
        sent = self._clients.send(client, write_response(status, body, keep_alive=keep_alive))
        if not sent or not keep_alive or isinstance(request, Refused):
            self._clients.end(client)
            return False
        self._clients.keep_until(client, time.monotonic() + IDLE_SECONDS)
        return len(client.state.stream) > 0

    def _serve(self, client: Speaker[Requests], request: Request | Refused) -> tuple[int, str]:
        """Status and message of the answer; whatever is not a login is counted here."""
        if isinstance(request, Refused):
            return self._refuse(request.status, request.why)
        if not hmac.compare_digest(request.headers.get(SECRET_HEADER, b""), self.secret):
            return self._refuse(403, "without the secret")
        self._clients.prove(client)
        if request.method != "POST":
            return self._refuse(405, "not a POST")
        path, _, query = request.target.partition("?")
        command = COMMANDS.get(query) if path == "/" else None
        if command is None:
            return self._refuse(404, "neither /?command=allow nor /?command=report")
        return command(self, request)

    def allow(self, _request: Request) -> tuple[int, str]:
        """May this login go on? It may."""
        self.counts["auth-policy.allow"] += 1
        return 200, "continue"

    def report(self, request: Request) -> tuple[int, str]:
        """A login went well or not."""
        now = int(self._clock())
        told = read_report(request.body, sent_at(request.headers.get("date", b""), now))
        if isinstance(told, Bad):
            return self._refuse(400, told.why)
        if isinstance(told, Ignored):
            if told.failed is not None:
                self._note(told.failed)
            self.counts[f"auth-policy.{told.reason}"] += 1
            return 200, f"ignored: {told.reason}"
        try:
            granted = self._enter(told)
        except StoreBrokenError:
            raise
        except StoreError as error:
            self.counts["auth-policy.trouble"] += 1
            self._quiet.warn("trouble", f"auth policy: a login cannot be entered: {error}")
            return 503, "cannot be entered now"
        self.counts["auth-policy.granted" if granted else "auth-policy.refused"] += 1
        return 200, "granted" if granted else "refused"

    def _refuse(self, status: int, why: str) -> tuple[int, str]:
        self.counts[f"auth-policy.{status}"] += 1
        self._quiet.warn(str(status), f"auth policy: refused a request with {status}: {why}")
        return status, why

    def wait(self, at_most_seconds: float) -> float:
        """How long the loop may wait before the next turn."""
        return self._clients.wait(at_most_seconds)

    def drop_slow(self) -> None:
        """Hear those who wait, and drop who is idle or slow for too long; call it at every turn."""
        self._clients.tend()

    def close(self) -> None:
        """Drop every client; the listener stays the caller's."""
        self._clients.close()


COMMANDS: dict[str, Callable[[PolicyServer, Request], tuple[int, str]]] = {
    "command=allow": PolicyServer.allow,
    "command=report": PolicyServer.report,
}
