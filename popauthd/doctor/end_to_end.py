"""The proof: an address that nobody has is granted for a minute, asked for each way, revoked and asked for again."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Container, Iterator
from ipaddress import ip_address, ip_network

from popauthd.as_user import LookError, ask_socket, look
from popauthd.config.limits import limits
from popauthd.control_client import ask_watcher, map_expiry
from popauthd.doctor.context import OK, Verdict, Visit, fail, ok, skip
from popauthd.doctor.exim import play
from popauthd.doctor.permissions import listed, run_script
from popauthd.errors import PopauthdError
from popauthd.policy import never_reason
from popauthd.text import safe

# RFC 5737 and 3849: addresses for documentation, which no client has.
DOCUMENTATION = tuple(map(ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/64")))
TRIES = 20
NEIGHBOURS = 2  # asked for too before Exim is called open
OPEN = "is it in relay_from_hosts (dc_relay_nets)? If not: an open relay"
GRANT_SECONDS = 60
LIST_SECONDS = 20.0  # a long host list is not written at every change
LOOK_AGAIN_SECONDS = 0.05


def candidate(visit: Visit, but: Container[str] = ()) -> str | None:
    """A documentation address that may be granted and is not granted now, or None. Raises LookError."""
    limit = limits(visit.config)
    for net in DOCUMENTATION:
        for _ in range(TRIES):
            address = ip_address(int(net.network_address) + random.randrange(1, 255))
            free = map_expiry(visit.config.map_path, str(address)) is None
            if free and str(address) not in but and not never_reason(address, limit):
                return str(address)
    return None


def stranger(visit: Visit) -> Iterator[Verdict]:
    """Whether an address without a grant is refused, by Exim as it is.

    Exim may let a few addresses relay of its own, so that one alone is no proof of an open relay: its neighbours are.
    """
    let_in: list[str] = []
    while True:
        try:
            found = candidate(visit, but=let_in)
        except LookError as error:
            yield fail(f"the map cannot be read: {error}", "restart popauthd")
            return
        if found is None:
            yield skip("no documentation address is free: all are granted, or excluded by never or proxies")
            return
        visit.address = found
        verdict = _session(visit, accepted=False)
        if verdict.advice != OPEN or len(let_in) == NEIGHBOURS:
            break
        let_in.append(found)
    also = f"; {' and '.join(let_in)} may, by Exim's own relay_from_hosts" if let_in and verdict.state == OK else ""
    yield verdict._replace(seen=verdict.seen + also)


def _session(visit: Visit, *, accepted: bool) -> Verdict:
    """What Exim tells the address, compared with what it must."""
    try:
        reply = play(visit, visit.address)
    except LookError as error:
        return fail(str(error), "try it by hand: exim4 -bh " + visit.address)
    seen = f"as {visit.address} Exim says {safe(reply, 200)!r} to a recipient elsewhere"
    if reply[0] == ("2" if accepted else "5"):
        return ok(seen)
    if reply[0] == "2":
        return fail(seen + ", WITHOUT a grant", OPEN)
    if reply[0] == "4":
        return fail(seen, "Exim's own log says why: /var/log/exim4/mainlog, and paniclog")
    return fail(
        seen + ", though it is granted", f"try it by hand: exim4 -bh {visit.address}; is Exim's ACL popauthd's?"
    )


def grant(visit: Visit) -> Iterator[Verdict]:
    """Grant it for a minute."""
    if visit.status["dry_run"]:
        yield fail(
            "dry_run = true: nothing is published, no address may relay", "set dry_run = false, restart popauthd"
        )
        return
    try:
        visit.address = visit.address or candidate(visit) or ""
    except LookError as error:
        yield fail(f"the map cannot be read: {error}", "restart popauthd")
        return
    if not visit.address:
        yield skip("no documentation address is free")
        return
    visit.granting = True  # from here on it may be granted, though no answer has come
    try:
        reply = ask_watcher(visit.config.control_path, command="grant", address=visit.address, seconds=GRANT_SECONDS)
    except PopauthdError as error:
        reply = {"error": str(error)}
    if "error" in reply:
        visit.granting = "exit_code" not in reply
        yield fail(f"{visit.address}: {reply['error']}", "journalctl -u popauthd says more")
        return
    visit.expires_at = int(reply["expires_at"])
    yield ok(f"{visit.address} is granted for a minute")


def revoke(visit: Visit) -> Verdict:
    """Take it back."""
    try:
        reply = ask_watcher(visit.config.control_path, command="revoke", address=visit.address)
    except PopauthdError as error:
        reply = {"error": str(error)}
    if "error" in reply:
        return fail(f"{visit.address}: {reply['error']}", f"popauthctl revoke {visit.address}; it ends within a minute")
    return ok(f"{visit.address} is revoked")


def socket_yes(visit: Visit) -> Iterator[Verdict]:
    """Whether the responder says yes."""
    yield _says(visit, "socket", "yes")


def readlookup_yes(visit: Visit) -> Iterator[Verdict]:
    """Whether the script says yes."""
    yield _says(visit, "readlookup", "yes")


def host_list_yes(visit: Visit) -> Iterator[Verdict]:
    """Whether the host list has it, with the same expiry."""
    path = visit.config.host_list_path
    found = _awaited(visit, str(visit.expires_at))
    if found == str(visit.expires_at):
        yield ok(f"{path} has it, with the right expiry")
        return
    said = "does not have it" if found == "None" else f"says {found}, not {visit.expires_at}"
    advice = _degraded(visit) or "journalctl -u popauthd says why"
    yield fail(f"{path} is stale: {said}", advice)


def _awaited(visit: Visit, wanted: str) -> str:
    """The expiry in the host list as Exim's user sees it, once it is right, or when it will not become so."""
    until = time.monotonic() + LIST_SECONDS
    while True:
        try:
            found = look(visit.user, lambda: str(listed(visit.config.host_list_path).get(visit.address)))
        except LookError as error:
            found = str(error)
        if found == wanted or time.monotonic() > until or _degraded(visit):
            return found
        time.sleep(LOOK_AGAIN_SECONDS)


def _degraded(visit: Visit) -> str:
    """What hinders the watcher now."""
    try:
        reply = ask_watcher(visit.config.control_path, command="status")
        return str(reply.get("error") or reply.get("degraded", ""))
    except PopauthdError as error:
        return str(error)


def _says(visit: Visit, way: str, wanted: str) -> Verdict:
    try:
        if way == "socket":
            said = look(visit.user, lambda: ask_socket(visit.config.lookup_path, visit.address))
        else:
            said = run_script(visit, visit.address)
    except LookError as error:
        said = str(error)
    if said == wanted:
        return ok(f"says {said}")
    advice = "do map and responder belong to one run_dir? Restart popauthd and popauthd-lookup"
    return fail(f"says {said!r}, not {wanted}", advice)


def relay(visit: Visit) -> Iterator[Verdict]:
    """Whether Exim lets the granted address relay."""
    if visit.state_of(f"grant-{visit.way}") != OK:
        yield skip(f"Exim asks by {visit.way}, and grant-{visit.way} is not well")
    else:
        yield _session(visit, accepted=True)


def refused(visit: Visit) -> Iterator[Verdict]:
    """Whether it is over: each way that said yes says no, and Exim refuses."""
    for way in ("socket", "readlookup"):
        if visit.state_of(f"grant-{way}") == OK:
            verdict = _says(visit, way, "no")
            if verdict.state != OK:
                yield fail(f"after the revocation {way} {verdict.seen}", verdict.advice)
                return
    if visit.state_of("grant-hostlist") == OK:
        found = _awaited(visit, "None")
        if found != "None":
            yield fail(f"after the revocation the host list still says {found}", "see journalctl -u popauthd")
            return
    if visit.state_of("relay") == OK:
        yield _session(visit, accepted=False)
    else:
        yield ok("no way says yes any more; no session was played")


@contextlib.contextmanager
def no_way_out() -> Iterator[None]:
    """SIGTERM and SIGHUP become SystemExit, so that what was granted is revoked on the way out."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """No signal ends us in here."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
