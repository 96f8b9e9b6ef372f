"""Held sessions on a real Dovecot: an address stays allowed while its client is connected, and no lifetime longer."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from popauthd.watch.doveadm_who import Who
from tests.servers.clients import LOGIN, Session
from tests.servers.dovecot import Dovecot
from tests.servers.place import Place, Server, wait_for
from tests.servers.popauthd import Popauthd
from tests.support.helpers import eventually

pytestmark = pytest.mark.system

LIFETIME = 3  # seconds


@dataclass(frozen=True, slots=True)
class Site:
    """Dovecot, with popauthd reading its log."""

    dovecot: Dovecot
    popauthd: Popauthd
    watcher: Server


@pytest.fixture
def site() -> Iterator[Site]:
    with Place() as place:
        dovecot = Dovecot(place)
        popauthd = Popauthd(place, dovecot.log, f"{LIFETIME}s")
        parts = popauthd.start("watch", "respond")
        assert LOGIN["pop3"]("127.0.3.9", dovecot.ports["pop3"])  # shows that the log tells of ends
        yield Site(dovecot, popauthd, parts["watch"])


def stays_allowed(site: Site, client: str, seconds: float) -> None:
    """Look again and again for a time."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        assert site.popauthd.may_relay(client)


def expires_at(site: Site, client: str) -> int:
    """When the grant as it stands ends, epoch seconds; whether the watcher lives or not."""
    listed = json.loads(site.popauthd.control("list", "--json").stdout)
    (expiry,) = [entry["expires_at"] for entry in listed if entry["address"] == client]
    return int(expiry)


def imap_end_is_told(site: Site) -> bool:
    """Whether the log has told of the end of an IMAP session."""
    return any(b"imap(" in line and b"Logged out" in line for line in site.dovecot.lines())


def runs_out(site: Site, client: str) -> float:
    """Wait until the address may not relay any more; returns when that was (epoch seconds)."""
    wait_for(lambda: not site.popauthd.may_relay(client), f"the end of {client}'s grant")
    return time.time()


@pytest.mark.parametrize(("protocol", "how"), [("imap", "leave"), ("pop3", "vanish")])
def test_a_connected_client_may_relay_until_a_lifetime_after_it_has_gone(site: Site, protocol: str, how: str) -> None:
    client = "127.0.3.1"
    session = Session(protocol, client, site.dovecot.ports[protocol])
    wait_for(lambda: site.popauthd.may_relay(client), "the grant")
    stays_allowed(site, client, 1.7 * LIFETIME)
    assert not site.popauthd.may_relay("127.0.3.2")
    before = int(time.time())
    getattr(session, how)()
    ended = runs_out(site, client)
    assert ended >= before + LIFETIME


def test_a_watcher_that_died_lets_it_run_out_and_a_new_one_takes_it_up_again(site: Site) -> None:
    client = "127.0.3.1"
    session = Session("imap", client, site.dovecot.ports["imap"])
    wait_for(lambda: site.popauthd.may_relay(client), "the grant")
    stays_allowed(site, client, 1.5 * LIFETIME)
    site.watcher.signal_group(signal.SIGKILL)
    died = time.time()
    assert expires_at(site, client) <= died + LIFETIME
    runs_out(site, client)
    site.popauthd.start("watch")
    wait_for(lambda: site.popauthd.may_relay(client), "the session that is still open")
    session.leave()
    runs_out(site, client)


def test_a_client_that_left_while_the_watcher_was_away_is_not_taken_up_again(site: Site) -> None:
    client, other = "127.0.3.1", "127.0.3.2"
    session = Session("imap", client, site.dovecot.ports["imap"])
    staying = Session("imap", other, site.dovecot.ports["imap"])
    wait_for(lambda: site.popauthd.may_relay(client) and site.popauthd.may_relay(other), "the grants")
    site.watcher.signal_group(signal.SIGKILL)
    session.leave()
    wait_for(lambda: imap_end_is_told(site), "the line of the client that left")
    told_at = time.time()  # the line's own time is not later
    runs_out(site, client)
    runs_out(site, other)
    wait_for(lambda: time.time() > told_at + LIFETIME, "the lifetime that it had left when it went")
    site.popauthd.start("watch")
    wait_for(lambda: site.popauthd.may_relay(other), "the session that is still open")
    assert not site.popauthd.may_relay(client)
    staying.leave()


def test_a_revoked_client_stays_out_though_it_is_connected(site: Site) -> None:
    client = "127.0.3.1"
    session = Session("imap", client, site.dovecot.ports["imap"])
    wait_for(lambda: site.popauthd.may_relay(client), "the grant")
    assert site.popauthd.control("revoke", client).returncode == 0
    until = time.monotonic() + 1.5 * LIFETIME
    while time.monotonic() < until:
        assert not site.popauthd.may_relay(client)
    session.leave()


def test_dovecot_says_who_is_connected(site: Site) -> None:
    who = Who(("doveadm", "-c", str(site.dovecot.config), "-f", "json", "who", "-1"))
    sessions = [
        Session("imap", "127.0.3.1", site.dovecot.ports["imap"]),
        Session("pop3", "::1", site.dovecot.ports["pop3"]),
    ]

    def connected() -> set[str]:
        who.ask()
        found: list[set[str] | None] = []
        eventually(lambda: found.append(who.answer()) or found[-1] is not None, "the answer")  # type: ignore[func-returns-value]
        return found[-1] or set()

    wait_for(lambda: connected() == {"127.0.3.1", "::1"}, "both to be told")  # Dovecot learns of them by and by
    sessions[0].leave()
    wait_for(lambda: connected() == {"::1"}, "the one who left to be gone")
    sessions[1].leave()
    wait_for(lambda: connected() == set(), "everybody to be gone")
