"""The latest failed logins, so that `popauthctl check` can say why there was none that counts. They grant nothing.

They are kept in memory alone, the newest of each address, as strangers make them: at most AT_MOST addresses, and none
for longer than REMEMBERED_SECONDS. Where more addresses fail at a time, the oldest are forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from popauthd import address
from popauthd.model import Failure
from popauthd.policy.user_list import lower

REMEMBERED_SECONDS = 3600
AT_MOST = 4096  # addresses
TOLD_AT_MOST = 50


class Failed(NamedTuple):
    """The latest failure from an address. times: how many since the first that is remembered."""

    latest: Failure
    times: int


class FailedLogins:
    """Remembers failed logins. Belongs to the watcher's thread."""

    def __init__(self) -> None:
        self._known: dict[str, Failed] = {}

    def remember(self, failures: Iterable[Failure], now: int) -> None:
        """Take in failed logins; those of long ago, or of the future, tell nothing of now."""
        for failure in failures:
            if not now - REMEMBERED_SECONDS <= failure.at <= now + REMEMBERED_SECONDS:
                continue
            before = self._known.pop(failure.address, None)
            if before is not None and before.latest.at <= now - REMEMBERED_SECONDS:
                before = None
            self._known[failure.address] = Failed(failure, 1 if before is None else before.times + 1)
            if len(self._known) > AT_MOST:
                del self._known[next(iter(self._known))]

    def of(self, networks: tuple[address.Network, ...], users: Iterable[str], now: int) -> list[Failed]:
        """Those that failed from an address in one of the networks, or as one of the users; the newest first."""
        names = {lower(user) for user in users}
        found = [
            one
            for text, one in self._known.items()
            if one.latest.at > now - REMEMBERED_SECONDS and (lower(one.latest.user) in names or _inside(text, networks))
        ]
        return sorted(found, key=lambda one: -one.latest.at)[:TOLD_AT_MOST]


def _inside(text: str, networks: tuple[address.Network, ...]) -> bool:
    client = address.parse(text)
    return client is not None and address.inside(client, networks)
