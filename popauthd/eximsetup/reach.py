"""Whether clients reach Exim, and whether what they send goes on from there: a recipient that is accepted may bounce.

Debian installs Exim for mail on the machine itself: it listens on 127.0.0.1, and bounces what goes elsewhere. So Exim
is asked what it would do with such a recipient (`exim -bt`), by the configuration in force. Nothing is sent.

LIMIT: what a router does for some senders or some domains only is not seen.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from popauthd.conditions import Standing
from popauthd.eximsetup.commands import Exim
from popauthd.eximsetup.listening import Daemon, daemon, listed
from popauthd.processes import Port
from popauthd.text import safe

ROUTED, UNPROVEN, NOWHERE = "routed", "unproven", "nowhere"
# Domains that have been there for long: example.com takes no mail (RFC 7505), which is no fault of this machine's.
ELSEWHERE = ("popauthd-doctor@debian.org", "popauthd-doctor@gmail.com", "popauthd-doctor@example.com")
# Routers that may have a way to another server, if the name servers know the domain.
ONWARDS = {"dnslookup", "manualroute", "queryprogram", "ipliteral", "iplookup", "accept"}
_BY = re.compile(r"(?m)^\s*router = (\S+), transport = (\S+)")
_CALLED = re.compile(r"\bcalling (\S+) router\b")
# No router took it and none said why, or the domain takes no mail at all: it may be the domain's fault.
_OF_THE_DOMAIN = re.compile(r": Unrouteable address$|\bMX\b")
DEFERRED = 1  # the exit code of `exim -bt` where some address cannot be resolved now
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|(?:[0-9a-fA-F]{0,4}:){2,}[0-9a-fA-F.]*")


class Route(NamedTuple):
    """Where mail for other servers goes: "routed", "nowhere", or "unproven"; and what Exim said."""

    state: str
    said: str


def route(exim: Exim) -> Route:
    """What Exim does with a recipient elsewhere. Raises ConfigError if it cannot be asked."""
    found = []
    for recipient in ELSEWHERE:
        one, final = _route(exim, recipient)
        if final:
            return one
        found.append(one)
    return next((one for one in found if one.state == UNPROVEN), found[0])


def _route(exim: Exim, recipient: str) -> tuple[Route, bool]:
    """What Exim does with one recipient, and whether another could not tell more."""
    done = exim.run("-d-all+route", "-bt", recipient)
    if by := _BY.search(done.stdout):
        return Route(ROUTED, f"{recipient} goes by router {by[1]} and transport {by[2]}"), True
    said = safe((done.stdout.strip().splitlines() or ["nothing"])[0], 200)
    if done.returncode == DEFERRED:
        return Route(UNPROVEN, said), True
    asked = any(_driver(exim, name) in ONWARDS for name in _CALLED.findall(done.stderr))
    return Route(UNPROVEN if asked and _OF_THE_DOMAIN.search(said) else NOWHERE, said), False


def _driver(exim: Exim, name: str) -> str:
    found = re.search(r"(?m)^driver = (\S+)", exim.run("-bP", "router", name).stdout)
    return found[1] if found else ""


def loopback(found: Daemon, now: int) -> Standing | None:
    """The condition in which no client reaches a running Exim, or None."""
    if not all(port.loopback for port in found.ports):
        return None
    return Standing("exim-loopback", "", f"Exim listens on {listed(found.ports)} alone", now)


def hindrances(exim: Exim, now: int) -> list[Standing]:
    """What keeps clients' mail from going out through this Exim, whatever popauthd grants. Raises ConfigError.

    For where Exim does not run yet its configuration tells where it will listen.
    """
    running = daemon(exim)
    found = [loopback(running, now) if running is not None else _will_be_loopback(exim, now)]
    there = route(exim)
    if there.state == NOWHERE:
        found.append(nowhere(there, now))
    return [one for one in found if one is not None]


def nowhere(there: Route, now: int) -> Standing:
    """The condition of a route that leads nowhere."""
    return Standing("exim-no-route", "", f"Exim has no way for mail to other servers ({there.said})", now)


def _will_be_loopback(exim: Exim, now: int) -> Standing | None:
    setting = exim.run("-bP", "local_interfaces").stdout.partition("=")[2].strip()
    addresses = _ADDRESS.findall(setting)
    if not addresses or not all(Port(0, address).loopback for address in addresses):
        return None
    seen = f"by its configuration Exim listens on this machine's own addresses alone: {safe(setting)}"
    return Standing("exim-loopback", "", seen, now)
