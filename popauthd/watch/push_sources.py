"""The push sources in the watcher: opens their listeners, hands it each login, and what they counted."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from popauthd.config import Config
from popauthd.errors import ConfigError, in_the_way
from popauthd.model import Failure, Login
from popauthd.serving.unix_socket import listen
from popauthd.sources.push import auth_policy, post_login
from popauthd.status import PushStatus
from popauthd.watch.watcher import Watcher


def names(settings: Config) -> list[str]:
    """The names of the push sources that are configured."""
    by_script = [post_login.NAME] if settings.post_login else []
    return [*by_script, auth_policy.NAME] if settings.auth_policy_listen else by_script


def check(settings: Config) -> None:
    """Raise ConfigError if a push source that is configured could not be opened."""
    if settings.post_login:
        post_login.uids(settings.push_users)
    if settings.auth_policy_listen:
        auth_policy.place(settings.auth_policy_listen)
        _secret(settings)


def _secret(settings: Config) -> bytes:
    if not settings.auth_policy_secret_file:
        raise ConfigError("auth_policy_listen: needs auth_policy_secret_file, as any local user can connect")
    return auth_policy.read_secret(settings.auth_policy_secret_file)


class Pushing:
    """Serves what is configured, maybe nothing, through `selector`. Raises PopauthdError if it cannot be opened."""

    def __init__(self, settings: Config, watcher: Watcher, selector: selectors.BaseSelector) -> None:
        self._watcher = watcher
        self._selector = selector
        self._script: tuple[str, socket.socket, post_login.PushServer] | None = None  # where, and what serves it
        self._policy: tuple[str, socket.socket, auth_policy.PolicyServer] | None = None
        with self.changing(settings):
            pass

    @contextlib.contextmanager
    def changing(self, settings: Config) -> Iterator[None]:
        """Serve what another configuration says, from the end of the block on. If it raises, nothing has changed.

        A listener that is open already stays, with its clients. Raises PopauthdError if one cannot be opened.
        """
        path = settings.push_path if settings.post_login else ""
        where = settings.auth_policy_listen
        allowed = post_login.uids(settings.push_users) if path else frozenset()
        secret = _secret(settings) if where else b""
        with contextlib.ExitStack() as undo:
            by_script, by_policy = None, None
            if path and self._script is None:
                # run_dir's group may reach it, or nobody else; then SO_PEERCRED decides.
                by_script = _listen_for_script(path, undo)
            if where and (self._policy is None or self._policy[0] != where):
                by_policy = undo.enter_context(auth_policy.listen(where))
            yield
            undo.pop_all()
        self._serve_script(path, by_script, allowed)
        self._serve_policy(where, by_policy, secret)
        self._watcher.hearing = [PushStatus(one[2].name, one[0]) for one in (self._script, self._policy) if one]

    def _serve_script(self, path: str, listener: socket.socket | None, allowed: frozenset[int]) -> None:
        if self._script is not None and not path:
            self._end(*self._script[1:])
            with contextlib.suppress(OSError):  # something else is there now; nothing may fail any more
                Path(self._script[0]).unlink()
            self._script = None
        if listener is not None:
            server = post_login.PushServer(listener, self._enter_from(post_login.NAME), self._selector)
            self._script = path, listener, server
        if self._script is not None:
            self._script[2].allow(allowed)
            with contextlib.suppress(OSError):  # it was taken away: `Places` sees that, and the watcher starts anew
                Path(path).chmod(0o660 if allowed else 0o600)

    def _serve_policy(self, where: str, listener: socket.socket | None, secret: bytes) -> None:
        if self._policy is not None and self._policy[0] != where:
            self._end(*self._policy[1:])
            self._policy = None
        if listener is not None:
            enter = self._enter_from(auth_policy.NAME)
            server = auth_policy.PolicyServer(listener, enter, self._selector, secret, note=self._note)
            self._policy = where, listener, server
        if self._policy is not None:
            self._policy[2].secret = secret

    def _end(self, listener: socket.socket, server: post_login.PushServer | auth_policy.PolicyServer) -> None:
        self._count(server)
        server.close()
        listener.close()

    def _note(self, failure: Failure) -> None:
        self._watcher.intake.failed.remember([failure], self._watcher.now())

    def _enter_from(self, source: str) -> Callable[[Login], bool]:
        """What enters a login of this source: True once it is published, False if it is refused."""
        return lambda login: not self._watcher.intake.take([login], source, self._watcher.now()).refused

    @property
    def _servers(self) -> list[post_login.PushServer | auth_policy.PolicyServer]:
        return [one[2] for one in (self._script, self._policy) if one is not None]

    @property
    def names(self) -> list[str]:
        """What is served, for the log."""
        return [server.name for server in self._servers]

    def wait(self, at_most_seconds: float) -> float:
        """How long the loop may wait before the next turn."""
        return min([at_most_seconds, *(server.wait(at_most_seconds) for server in self._servers)])

    def tend(self) -> None:
        """Drop slow clients and have the watcher count what was heard; call it now and then."""
        for server in self._servers:
            server.drop_slow()
            self._count(server)

    def _count(self, server: post_login.PushServer | auth_policy.PolicyServer) -> None:
        self._watcher.housekeeping.notes.count(server.counts)
        server.counts = Counter()

    def close(self) -> None:
        """Close every client and listener."""
        for one in (self._script, self._policy):
            if one is not None:
                self._end(*one[1:])
        self._script = self._policy = None


def _listen_for_script(path: str, undo: contextlib.ExitStack) -> socket.socket:
    """A socket for the post-login script, for nobody yet but ourselves."""
    try:
        listener = undo.enter_context(listen(path, 0o600))
    except OSError as error:
        raise in_the_way(f"post_login: cannot listen on {path}", error) from error
    undo.callback(Path(path).unlink, missing_ok=True)
    return listener
