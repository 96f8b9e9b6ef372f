"""What the control socket can ask of the running watcher: one function a command, in one table."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from ipaddress import IPv6Network
from typing import Any

from popauthd import __version__, address
from popauthd.errors import StoreError, UsageError
from popauthd.policy import REASONS, lifetime, never_reason
from popauthd.store.books import Writing
from popauthd.text import safe
from popauthd.watch.watcher import Watcher

log = logging.getLogger("popauthd.watch")

LONGEST_GRANT_SECONDS = 7 * 86400
Command = Callable[[Watcher, Mapping[str, Any]], dict[str, Any]]


def status(watcher: Watcher, _request: Mapping[str, Any]) -> dict[str, Any]:
    """How the watcher is."""
    return {"version": __version__, "pid": os.getpid(), **watcher.status()}


def grant(watcher: Watcher, request: Mapping[str, Any]) -> dict[str, Any]:
    """Grant an address by hand, for `seconds` (the lifetime if not given)."""
    client = _client(request)
    watcher.house.learn_own(_own_addresses(request))
    if watcher.publisher.dry_run:
        raise UsageError("dry_run is set in the configuration: nothing is published, not even a grant by hand")
    seconds = request.get("seconds", lifetime(client, watcher.limits))
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 1 <= seconds <= LONGEST_GRANT_SECONDS:
        raise UsageError(f"a grant lasts between 1 second and {LONGEST_GRANT_SECONDS // 86400} days")
    if reason := never_reason(client, watcher.limits):
        raise UsageError(f"{client} may never relay by address ({reason}): {REASONS[reason]}")
    now = watcher.now()
    watcher.house.mind_the_clock(now)
    with watcher.books.writing() as writing:
        made = writing.grant_by_hand(str(client), now, now + seconds)
        stands_until = max(writing.expiry(key) or 0 for key in address.keys(str(client)))
        writing.count({"granted.by-hand": 1}, now)
        watcher.publisher.apply(writing)
    log.info("granted by hand address=%s expires_at=%d", made.address, made.expires_at)
    return {"address": made.address, "expires_at": stands_until}


def revoke(watcher: Watcher, request: Mapping[str, Any]) -> dict[str, Any]:
    """Revoke what was granted up to now to an address, a user, or everybody (`what` is "all")."""
    now = watcher.now()
    watcher.house.mind_the_clock(now)
    user = request.get("user")
    with watcher.books.writing() as writing:
        writing.unread_seconds = watcher.unread_seconds
        if request.get("what") == "all":
            closed, whom = writing.revoke_all(now), "everybody"
        elif isinstance(user, str) and user.startswith("@"):
            raise UsageError(f"{safe(user)} is a domain; revoke its users one by one, and list it in deny_users")
        elif isinstance(user, str) and user:
            closed, whom = writing.revoke_user(user, now), f"user={safe(user)}"
        else:
            key = _key(request)
            closed, whom = sum(_revoke(key, now, writing)), f"address={key}"
        writing.count({"revoked": closed}, now)
        watcher.publisher.apply(writing)
    log.info("revoked %s addresses=%d revoked_at=%d", whom, closed, now)
    warnings = [watcher.books.revocations.trouble]
    # Whoever is told that it was done may stop us right after that: no later look would publish it.
    for publish, where in ((watcher.publisher.mend, "relay map"), (watcher.publisher.write_host_list, "host list")):
        try:
            publish(watcher.books)
        except StoreError as error:
            warnings.append(f"{error}; until it is, Exim lets relay whom it names, where it asks the {where}")
    return {"revoked_at": now, "addresses": closed, "warning": "; ".join(filter(None, warnings))}


COMMANDS: dict[str, Command] = {"status": status, "grant": grant, "revoke": revoke}


def handle(watcher: Watcher, request: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out one control request. Raises a PopauthdError, which becomes the reply."""
    command = COMMANDS.get(str(request.get("command")))
    if command is None:
        raise UsageError(f"unknown command; known are {', '.join(COMMANDS)}")
    return command(watcher, request)


def _revoke(key: str, now: int, writing: Writing) -> list[bool]:
    """Revoke a key, and its /64 as well or all addresses in it; which of them could relay."""
    if not key.endswith("/64"):
        return [writing.revoke_address(one, now) for one in address.keys(key)]
    inside = {row.address for row in writing.logins_in(IPv6Network(key))} - {key}
    return [writing.revoke_address(key, now, inside=True), *(writing.revoke_address(one, now) for one in inside)]


def _own_addresses(request: Mapping[str, Any]) -> list[str]:
    """This machine's addresses, which popauthctl can see and the watcher cannot."""
    given = request.get("own_addresses", [])
    return [text for text in given if isinstance(text, str)] if isinstance(given, list) else []


def _key(request: Mapping[str, Any]) -> str:
    text = request.get("address")
    key = address.key(text) if isinstance(text, str) else None
    if key is None:
        raise UsageError(f"{safe(str(text))} is not an IPv4 or IPv6 address, nor an IPv6 /64")
    return key


def _client(request: Mapping[str, Any]) -> address.Address:
    text = request.get("address")
    client = address.parse(text) if isinstance(text, str) else None
    if client is None:
        raise UsageError(f"{safe(str(text))} is not an IPv4 or IPv6 address")
    return client
