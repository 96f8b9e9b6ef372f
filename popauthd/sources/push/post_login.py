"""The post-login socket: Dovecot's post-login script tells of a login, and waits until it is granted.

No log is needed, and there is no race: the client reads its `+OK` after the relay map knows its address.
Who may tell: root, the watcher's own user and the users named by the administrator, by SO_PEERCRED beside
the file mode. One message a connection (messages.py), served inside the watcher's own loop. A message that
waited while the watcher was stopped counts from its own time.

LIMIT: who may tell may tell anything. Name no user there whom you would not let relay for everybody.
"""

from __future__ import annotations

import logging
import os
import selectors
import socket
from collections import Counter
from collections.abc import Callable, Iterable

from popauthd.accounts import user_id
from popauthd.errors import ConfigError, StoreBrokenError, StoreError
from popauthd.logs import Quiet
from popauthd.model import Ignored, Login
from popauthd.protocol import Bad, NeedMore
from popauthd.serving.peers_in_turn import PeersInTurn, Speaker
from popauthd.serving.unix_socket import peer_uid
from popauthd.sources.push.messages import HEARD, NO, OK, Push

log = logging.getLogger("popauthd.watch")

CLIENT_SECONDS = 2.0
MAX_CLIENTS = 512  # as many as wait to be accepted
NAME = "post-login"
Enter = Callable[[Login], bool]


def uids(names: Iterable[str]) -> frozenset[int]:
    """The numbers of users by name. Raises ConfigError, naming the one that does not exist."""
    found = set()
    for name in names:
        uid = user_id(name)
        if uid is None:
            raise ConfigError(f"push_users: this machine has no user {name!r}")
        found.add(uid)
    return frozenset(found)


class PushServer:
    """Serves a listening unix socket. `enter` grants a login, publishes it, and says whether it did.

    allowed: the users heard beside root and our own. counts: what was told, by outcome; the caller may
    take and clear it. A StoreError of `enter` is answered as a refusal; the login is not kept.
    """

    def __init__(
        self,
        listener: socket.socket,
        enter: Enter,
        selector: selectors.BaseSelector,
        allowed: Iterable[int] = (),
    ) -> None:
        self.name = NAME
        self.counts: Counter[str] = Counter()
        self._enter = enter
        self._allowed: set[int] = set()
        self.allow(allowed)
        self._quiet = Quiet(log)
        self._clients = PeersInTurn(
            listener,
            selector,
            log=log,
            at_most=MAX_CLIENTS,
            seconds=CLIENT_SECONDS,
            welcome=self._may_tell,
            stream=Push,
            hear=self._hear,
        )

    def allow(self, allowed: Iterable[int]) -> None:
        """Hear these users from now on, beside root and our own."""
        self._allowed = {0, os.geteuid(), *allowed}

    def _may_tell(self, connection: socket.socket) -> int | None:
        uid = peer_uid(connection)
        if uid in self._allowed:
            return uid
        self.counts["push.forbidden"] += 1
        self._quiet.warn("forbidden", f"post-login: uid={uid} may not tell of logins; see push_users")
        return None

    def _hear(self, client: Speaker[Push]) -> bool:
        told = client.state.stream.read()
        if isinstance(told, NeedMore):
            return False
        if isinstance(told, Bad):
            self.counts["push.bad"] += 1
            self._quiet.warn("bad", f"post-login: bad message: {told.why}")
            reply = NO
        elif isinstance(told, Ignored):
            reply = HEARD
        else:
            reply = OK if self._grants(told) else NO
        self._clients.send(client, reply)
        self._clients.end(client)
        return False

    def _grants(self, login: Login) -> bool:
        try:
            granted = self._enter(login)
        except StoreBrokenError:
            raise
        except StoreError as error:
            self.counts["push.trouble"] += 1
            self._quiet.warn("trouble", f"post-login: a login cannot be entered: {error}")
            return False
        self.counts["push.granted" if granted else "push.refused"] += 1
        return granted

    def wait(self, at_most_seconds: float) -> float:
        """How long the loop may wait before the next turn."""
        return self._clients.wait(at_most_seconds)

    def drop_slow(self) -> None:
        """Hear those who wait, and drop who has not sent a whole message in CLIENT_SECONDS; call it at every turn."""
        self._clients.tend()

    def close(self) -> None:
        """Drop every client; the listener stays the caller's."""
        self._clients.close()
