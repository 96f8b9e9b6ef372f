"""What the control socket can ask of the running watcher: one function a command, in one table."""

from __future__ import annotations

import ipaddress
import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from popauthd import address
from popauthd.errors import UsageError
from popauthd.model import Revocation
from popauthd.policy.address_facts import never_reason
from popauthd.policy.limits import lifetime
from popauthd.reasons import LOGINS
from popauthd.status import to_json
from popauthd.store.books import Reading
from popauthd.text import safe
from popauthd.watch.watcher import Watcher

log = logging.getLogger("popauthd.watch")

LONGEST_GRANT_SECONDS = 7 * 86400
TOLD_AT_MOST = 50  # addresses in a reply
Command = Callable[[Watcher, Mapping[str, Any]], dict[str, Any]]


def status(watcher: Watcher, _request: Mapping[str, Any]) -> dict[str, Any]:
    """How the watcher is."""
    return to_json(watcher.status())


def grant(watcher: Watcher, request: Mapping[str, Any]) -> dict[str, Any]:
    """Grant an address by hand, for `seconds` (the lifetime if not given)."""
    client = _client(request)
    housekeeping, ledger = watcher.housekeeping, watcher.ledger
    housekeeping.limits.learn_own(_own_addresses(request))
    limits = housekeeping.limits.now
    if ledger.dry_run:
        raise UsageError("dry_run is set in the configuration: nothing is published, not even a grant by hand")
    seconds = request.get("seconds", lifetime(client, limits))
    if not isinstance(seconds, int) or isinstance(seconds, bool) or not 1 <= seconds <= LONGEST_GRANT_SECONDS:
        raise UsageError(f"a grant lasts between 1 second and {LONGEST_GRANT_SECONDS // 86400} days")
    if reason := never_reason(client, limits):
        raise UsageError(f"{client} may never relay by address ({reason}): {LOGINS[reason]}")
    now = watcher.now()
    housekeeping.tend_clock(now)
    with ledger.change() as writing:
        made = writing.logins.grant_by_hand(str(client), now, now + seconds)
        stands_until = max(writing.published.expiry(key) or 0 for key in address.keys(str(client)))
        writing.counters.add({"granted.by-hand": 1}, now)
    log.info("granted by hand address=%s expires_at=%d", made.address, made.expires_at)
    return {"address": made.address, "expires_at": stands_until}


def revoke(watcher: Watcher, request: Mapping[str, Any]) -> dict[str, Any]:
    """Revoke what was granted up to now to an address, a user, or everybody (`what` is "all")."""
    now = watcher.now()
    revocation, whom = _revocation(request, now)
    with watcher.ledger.reading() as reading:
        known, stood = _concerned(reading, revocation)
    closed = watcher.intake.take([revocation], "control", now, unread_seconds=watcher.unread_seconds).closed
    log.info("revoked %s addresses=%d revoked_at=%d", whom, closed, now)
    with watcher.ledger.reading() as reading:
        undone = [
            {"address": one, "until": until, "still_until": reading.published.expiry(one)}
            for one, until in stood.items()
            if until > now
        ]
    # Whoever is told that it was done may stop us right after that: no later look would publish it.
    warnings = [watcher.ledger.revocations_trouble, *watcher.ledger.publish_now()]
    warning = "; ".join(filter(None, warnings))
    return {"revoked_at": now, "addresses": closed, "known": known, "closed": undone, "warning": warning}


def reload(watcher: Watcher, _request: Mapping[str, Any]) -> dict[str, Any]:
    """Put the configuration file in force."""
    if watcher.configured is None:
        raise UsageError("this watcher was not made from a configuration file")
    return watcher.configured.reload()


def _concerned(reading: Reading, revocation: Revocation) -> tuple[bool, dict[str, int]]:
    """Whether the books know of a login that a revocation is about, and which addresses may relay until when.

    At most TOLD_AT_MOST addresses.
    """
    found: Iterable[str]
    if revocation.user:
        found = (row.address for row in reading.logins.of_user(revocation.user))
    elif revocation.address.endswith("/64"):
        site = ipaddress.IPv6Network(revocation.address)
        inside = (row.address for row in reading.logins.within(site))
        found = itertools.chain((row.address for row in reading.logins.of(revocation.address)), inside)
    elif revocation.address:
        found = (row.address for key in address.keys(revocation.address) for row in reading.logins.of(key))
    else:
        found = (one for one, _until in reading.published.all())
    stood: dict[str, int] = {}
    known = False
    for one in found:
        known = True
        if (until := reading.published.expiry(one)) is not None:
            stood[one] = until
        if len(stood) == TOLD_AT_MOST:
            break
    return known, stood


def failed(watcher: Watcher, request: Mapping[str, Any]) -> dict[str, Any]:
    """Who failed to log in of late, from `networks` or as one of `users`."""
    given, users = request.get("networks", []), request.get("users", [])
    if not isinstance(given, list) or not isinstance(users, list):
        raise UsageError("networks and users are lists")
    try:
        networks = tuple(address.network(str(text)) for text in given)
    except ValueError as error:
        raise UsageError(safe(str(error))) from error
    found = watcher.intake.failed.of(networks, map(str, users), watcher.now())
    return {"failed": [{**asdict(one.latest), "times": one.times} for one in found]}


COMMANDS: dict[str, Command] = {
    "status": status, "grant": grant, "revoke": revoke, "reload": reload, "failed": failed,
}  # fmt: skip


def handle(watcher: Watcher, request: Mapping[str, Any]) -> dict[str, Any]:
    """Carry out one control request. Raises a PopauthdError, which becomes the reply."""
    command = COMMANDS.get(str(request.get("command")))
    if command is None:
        raise UsageError(f"unknown command; known are {', '.join(COMMANDS)}")
    return command(watcher, request)


def _revocation(request: Mapping[str, Any], now: int) -> tuple[Revocation, str]:
    """The revocation that is asked for, and whom it is about, for the log. Raises UsageError."""
    user = request.get("user")
    if request.get("what") == "all":
        return Revocation(now, made_here=True), "everybody"
    if isinstance(user, str) and user.startswith("@"):
        raise UsageError(f"{safe(user)} is a domain; revoke its users one by one, and list it in deny_users")
    if isinstance(user, str) and user:
        return Revocation(now, user=user, made_here=True), f"user={safe(user)}"
    key = _key(request)
    return Revocation(now, address=key, made_here=True), f"address={key}"


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
