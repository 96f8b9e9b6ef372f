"""The push sources in the watcher: opens their listeners, hands it each login, and what they counted."""

from __future__ import annotations

import contextlib
import selectors
from collections import Counter
from collections.abc import Callable

from popauthd.config import Config
from popauthd.errors import ConfigError
from popauthd.model import Login
from popauthd.sources.push import auth_policy, post_login
from popauthd.watch.control import listen
from popauthd.watch.watcher import Watcher


def check(settings: Config) -> list[str]:
    """The names of the push sources that are configured. Raises ConfigError if one could not be opened."""
    names = []
    if settings.post_login:
        post_login.uids(settings.push_users)
        names.append(post_login.NAME)
    if settings.auth_policy_listen:
        auth_policy.place(settings.auth_policy_listen)
        _secret(settings)
        names.append(auth_policy.NAME)
    return names


def _secret(settings: Config) -> bytes:
    if not settings.auth_policy_secret_file:
        raise ConfigError("auth_policy_listen: needs auth_policy_secret_file, as any local user can connect")
    return auth_policy.read_secret(settings.auth_policy_secret_file)


class Pushing:
    """Serves what is configured, maybe nothing, through `selector`. Raises ConfigError if it cannot be opened."""

    def __init__(self, settings: Config, watcher: Watcher, selector: selectors.BaseSelector) -> None:
        self._watcher = watcher
        self._selector = selector
        self._servers: list[post_login.PushServer | auth_policy.PolicyServer] = []
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            if settings.post_login:
                self._add(self._script(settings, stack), stack, settings.push_path)
            if settings.auth_policy_listen:
                self._add(self._policy(settings, stack), stack, settings.auth_policy_listen)
            self._stack = stack.pop_all()

    def _script(self, settings: Config, stack: contextlib.ExitStack) -> post_login.PushServer:
        allowed = post_login.uids(settings.push_users)
        # run_dir's group may reach it, or nobody else; then SO_PEERCRED decides.
        listener = stack.enter_context(listen(settings.push_path, 0o660 if allowed else 0o600))
        return post_login.PushServer(listener, self._enter_from(post_login.NAME), self._selector, allowed)

    def _policy(self, settings: Config, stack: contextlib.ExitStack) -> auth_policy.PolicyServer:
        secret = _secret(settings)
        listener = stack.enter_context(auth_policy.listen(settings.auth_policy_listen))
        return auth_policy.PolicyServer(listener, self._enter_from(auth_policy.NAME), self._selector, secret)

    def _enter_from(self, source: str) -> Callable[[Login], bool]:
        """What enters a login of this source: True once it is published, False if it is refused."""
        return lambda login: not self._watcher.intake.take([login], source, self._watcher.now()).refused

    def _add(
        self, server: post_login.PushServer | auth_policy.PolicyServer, stack: contextlib.ExitStack, where: str
    ) -> None:
        stack.callback(server.close)
        self._servers.append(server)
        self._watcher.hearing[server.name] = where

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
            self._watcher.housekeeping.notes.count(server.counts)
            server.counts = Counter()

    def close(self) -> None:
        """Close every client and listener."""
        self._stack.close()
