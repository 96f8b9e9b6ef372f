"""The proof: an address that nobody has is granted for a minute, asked for each way, revoked and asked for again."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from typing import NamedTuple

from popauthd.accounts import Account
from popauthd.as_user import LookError, ask_socket, look
from popauthd.config import Config
from popauthd.config.limits import limits
from popauthd.control_client import ask_status, ask_watcher, map_expiry
from popauthd.doctor.permissions import listed, run_script
from popauthd.doctor.verdicts import OK, Learning, Verdict, Verdicts, fail, ok, skip
from popauthd.errors import ConfigError, PopauthdError
from popauthd.eximsetup.commands import Envelope, Exim
from popauthd.eximsetup.relaying import prove
from popauthd.policy.address_facts import never_reason
from popauthd.status import Status
from popauthd.text import safe

# RFC 5737 and 3849: addresses for documentation, which no client has.
DOCUMENTATION = tuple(map(ip_network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/64")))
TRIES = 20
NEIGHBOURS = 2  # asked for too before Exim is called open
UNPROVEN = "try where other domains can be routed, or refuse relaying before all else: see exim/README.md"
OPEN = "is it in relay_from_hosts (dc_relay_nets)? If not: an open relay"
GRANT_SECONDS = 60
LIST_SECONDS = 20.0  # a long host list is not written at every change
LOOK_AGAIN_SECONDS = 0.05
Ask = Callable[[str], str]  # what a way of asking says of an address, "yes" or "no"; raises LookError


class Granted(NamedTuple):
    """The address that is granted for the proof. expires_at: epoch seconds."""

    address: str
    expires_at: int


@dataclass(slots=True)
class ToRevoke:
    """The address that may be granted, "" if none is. It is set before the grant: the answer to that may never come."""

    address: str = ""


def candidate(config: Config, but: Container[str] = ()) -> str | None:
    """A documentation address that may be granted and is not granted now, or None. Raises LookError."""
    limit = limits(config)
    for net in DOCUMENTATION:
        for _ in range(TRIES):
            address = ip_address(int(net.network_address) + random.randrange(1, 255))
            free = map_expiry(config.map_path, str(address)) is None
            if free and str(address) not in but and not never_reason(address, limit):
                return str(address)
    return None


class Refused(NamedTuple):
    """A client that Exim refused to relay for, as it must, and a message with which it did."""

    address: str
    envelope: Envelope


def stranger(exim: Exim, config: Config) -> Learning[Refused]:
    """Whether an address without a grant is refused relaying, by Exim as it is. Learns that, if it is proven.

    Exim may let a few addresses relay of its own, so that one alone is no proof of an open relay: its neighbours are.
    """
    let_in: list[str] = []
    while True:
        try:
            address = candidate(config, but=let_in)
        except LookError as error:
            yield fail(f"the map cannot be read: {error}", "restart popauthd")
            return None
        if address is None:
            yield skip("no documentation address is free: all are granted, or excluded by never or proxies")
            return None
        try:
            (proof,) = prove(exim, [address])
        except ConfigError as error:
            yield fail(str(error), "try it by hand: exim4 -bh " + address)
            return None
        if not proof.open_to:
            break
        if len(let_in) == NEIGHBOURS:
            yield fail(f"as {address} Exim accepts {proof.open_to}, WITHOUT a grant", OPEN)
            return None
        let_in.append(address)
    if proof.why:
        yield fail(f"that Exim does not relay for {address} could not be proven: {proof.why}", UNPROVEN)
        return None
    also = f"; {' and '.join(let_in)} may, by Exim's own relay_from_hosts" if let_in else ""
    yield ok(f"as {address} Exim says {safe(proof.refusal, 200)!r} to {proof.envelopes[0].recipient}{also}")
    return Refused(address, proof.envelopes[0])


def _session(exim: Exim, client: Refused, *, accepted: bool) -> Verdict:
    """What Exim tells the address, compared with what it must."""
    address = client.address
    try:
        reply = exim.reply_to_rcpt(address, client.envelope)
    except ConfigError as error:
        return fail(str(error), "try it by hand: exim4 -bh " + address)
    seen = f"as {address} Exim says {safe(reply, 200)!r} to {client.envelope.recipient}"
    if reply[0] == ("2" if accepted else "5"):
        return ok(seen)
    if reply[0] == "2":
        return fail(seen + ", WITHOUT a grant", OPEN)
    if reply[0] == "4":
        return fail(seen, "Exim's own log says why: /var/log/exim4/mainlog, and paniclog")
    return fail(seen + ", though it is granted", f"try it by hand: exim4 -bh {address}; is Exim's ACL popauthd's?")


def grant(config: Config, status: Status, tried: str | None, to_revoke: ToRevoke) -> Learning[Granted]:
    """Grant an address for a minute, the one that was refused as a stranger if there is one. Learns the grant."""
    if status.dry_run:
        yield fail(
            "dry_run = true: nothing is published, no address may relay", "set dry_run = false, restart popauthd"
        )
        return None
    try:
        address = tried or candidate(config)
    except LookError as error:
        yield fail(f"the map cannot be read: {error}", "restart popauthd")
        return None
    if not address:
        yield skip("no documentation address is free")
        return None
    to_revoke.address = address
    try:
        reply = ask_watcher(config.control_path, command="grant", address=address, seconds=GRANT_SECONDS)
    except PopauthdError as error:
        reply = {"error": str(error)}
    if "error" in reply:
        if "exit_code" in reply:  # the watcher itself says that it has not granted it
            to_revoke.address = ""
        yield fail(f"{address}: {reply['error']}", "journalctl -u popauthd says more")
        return None
    yield ok(f"{address} is granted for a minute")
    return Granted(address, int(reply["expires_at"]))


def revoke(config: Config | None, to_revoke: ToRevoke) -> Verdicts:
    """Revoke what may have been granted: also when the answer to the grant never came."""
    address = to_revoke.address
    if config is None or not address:
        yield skip("nothing was granted")
        return
    try:
        reply = ask_watcher(config.control_path, command="revoke", address=address)
    except PopauthdError as error:
        reply = {"error": str(error)}
    if "error" in reply:
        yield fail(f"{address}: {reply['error']}", f"popauthctl revoke {address}; it ends within a minute")
    else:
        yield ok(f"{address} is revoked")


def by_socket(user: Account, config: Config) -> Ask:
    """Asking the responder, as Exim's user."""
    return lambda address: look(user, lambda: ask_socket(config.lookup_path, address))


def by_readlookup(user: Account, script: str, config: Config) -> Ask:
    """Asking the script, as Exim's user."""
    return lambda address: run_script(user, script, config.map_path, address)


def says_yes(ask: Ask, granted: Granted) -> Learning[Ask]:
    """Whether the answer is yes. Learns the way of asking, if it is."""
    verdict = _says(ask, granted.address, "yes")
    yield verdict
    return ask if verdict.state == OK else None


def _says(ask: Ask, address: str, wanted: str) -> Verdict:
    try:
        said = ask(address)
    except LookError as error:
        said = str(error)
    if said == wanted:
        return ok(f"says {said}")
    advice = "do map and responder belong to one run_dir? Restart popauthd and popauthd-lookup"
    return fail(f"says {said!r}, not {wanted}", advice)


class HostListSeen(NamedTuple):
    """The host list, as Exim's user sees it."""

    user: Account
    config: Config

    def expiry(self, address: str, wanted: str) -> str:
        """The expiry of an address, "None" without one: once it is what is wanted, or when it will not become so."""
        until = time.monotonic() + LIST_SECONDS
        while True:
            try:
                found = look(self.user, lambda: str(listed(self.config.host_list_path).get(address)))
            except LookError as error:
                found = str(error)
            if found == wanted or time.monotonic() > until or self.hindered():
                return found
            time.sleep(LOOK_AGAIN_SECONDS)

    def hindered(self) -> str:
        """What hinders the watcher from writing it now, "" if nothing does."""
        try:
            return ask_status(self.config.control_path).degraded
        except PopauthdError as error:
            return str(error)


def is_listed(host_list: HostListSeen, granted: Granted) -> Learning[HostListSeen]:
    """Whether the host list has the address, with the same expiry. Learns the list, if it has."""
    path, wanted = host_list.config.host_list_path, str(granted.expires_at)
    found = host_list.expiry(granted.address, wanted)
    if found == wanted:
        yield ok(f"{path} has it, with the right expiry")
        return host_list
    said = "does not have it" if found == "None" else f"says {found}, not {wanted}"
    yield fail(f"{path} is stale: {said}", host_list.hindered() or "journalctl -u popauthd says why")
    return None


def relay(
    exim: Exim, granted: Granted, was: Refused, way: str, well: Mapping[str, bool]
) -> Learning[Callable[[], Verdict]]:
    """Whether Exim lets the granted address relay what it `was` refused. Learns the check that it does not any more.

    way: the one by which Exim asks. well: whether each way said yes.
    """
    if not well[way]:
        yield skip(f"Exim asks by {way}, and grant-{way} is not well")
        return None
    client = was._replace(address=granted.address)
    verdict = _session(exim, client, accepted=True)
    yield verdict
    return (lambda: _session(exim, client, accepted=False)) if verdict.state == OK else None


def refused(
    address: str,
    said_yes: Mapping[str, Ask | None],
    host_list: HostListSeen | None,
    session: Callable[[], Verdict] | None,
) -> Verdicts:
    """Whether the grant is over: each way that said yes says no, and Exim refuses. None: it was not well before."""
    for way, ask in said_yes.items():
        if ask is not None and (verdict := _says(ask, address, "no")).state != OK:
            yield fail(f"after the revocation {way} {verdict.seen}", verdict.advice)
            return
    if host_list is not None and (found := host_list.expiry(address, "None")) != "None":
        yield fail(f"after the revocation the host list still says {found}", "see journalctl -u popauthd")
        return
    if session is not None:
        yield session()
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
