"""The whole path: a login on real Dovecot, popauthd reading its log, real Exim relaying, for every way to ask."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.servers.clients import LOGIN, ask_rcpt, rcpt, send, smtp
from tests.servers.dovecot import Dovecot
from tests.servers.exim import FLAVOURS, REFUSAL, REMOTE, WAYS, Exim
from tests.servers.fakes import Sink
from tests.servers.place import Place, wait_for
from tests.servers.popauthd import Popauthd

pytestmark = pytest.mark.system

ROUTES = [(flavour, way) for flavour in FLAVOURS for way in WAYS]
NAMES = ["-".join(route) for route in ROUTES]
CLIENTS = [("pop3", "127.0.0.{}"), ("imap", "127.0.0.{}"), ("pop3", "::1"), ("imap", "::1")]


@dataclass(frozen=True, slots=True)
class Site:
    """A mail server as a user meets it."""

    dovecot: Dovecot
    popauthd: Popauthd
    exims: dict[tuple[str, str], Exim]
    sink: Sink


@contextlib.contextmanager
def made(routes: list[tuple[str, str]], settings: str = "") -> Iterator[Site]:
    """The whole server, with an Exim for each route."""
    with contextlib.closing(Sink()) as sink, Place() as place:
        dovecot = Dovecot(place)
        popauthd = Popauthd(place, dovecot.log, settings=settings)
        popauthd.start("run")
        exims = {(flavour, way): Exim(place, flavour, way, popauthd.run_dir, sink.port) for flavour, way in routes}
        yield Site(dovecot, popauthd, exims, sink)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with made(ROUTES) as whole:
        yield whole


def relays_soon(site: Site, exim: Exim, client: str) -> None:
    """The map is some milliseconds behind the login, the list a little more; only the socket covers that."""
    wait_for(lambda: site.popauthd.settled(client, True), f"the grant of {client}")
    assert ask_rcpt(client, exim.port, REMOTE).accepted


def close_again(site: Site, client: str) -> None:
    """Revoke, and let that second pass: a log tells whole seconds, and the login must be newer."""
    site.popauthd.control("revoke", client)
    next_second()
    wait_for(lambda: site.popauthd.settled(client, False), "the revocation")


def next_second() -> None:
    """A revocation wins over a login of the same second."""
    second = int(time.time())
    wait_for(lambda: int(time.time()) > second, "the next second")


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
@pytest.mark.parametrize(("protocol", "client"), CLIENTS, ids=["pop3-ipv4", "imap-ipv4", "pop3-ipv6", "imap-ipv6"])
def test_a_login_opens_the_relay_for_its_address_alone(
    site: Site, route: tuple[str, str], protocol: str, client: str
) -> None:
    exim = site.exims[route]
    # An address of its own for each case, so that no other case's login opens it.
    client = client.format(10 + 2 * (4 * ROUTES.index(route) + (protocol == "imap")))
    other = "127.0.0.9"
    if client == "::1":
        close_again(site, client)
    assert str(ask_rcpt(client, exim.port, REMOTE)) == f"550 {REFUSAL}"
    assert LOGIN[protocol](client, site.dovecot.ports[protocol])
    relays_soon(site, exim, client)
    assert str(ask_rcpt(other, exim.port, REMOTE)) == f"550 {REFUSAL}"


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
def test_a_failed_login_opens_nothing(site: Site, route: tuple[str, str]) -> None:
    client = f"127.0.1.{ROUTES.index(route) + 1}"
    port = site.dovecot.ports["imap"]
    assert not LOGIN["imap"](client, port, password="wrong")
    # The log is read in order: once a later login is granted, the failure has been read.
    later = f"127.0.1.{ROUTES.index(route) + 101}"
    assert LOGIN["imap"](later, port)
    relays_soon(site, site.exims[route], later)
    assert ask_rcpt(client, site.exims[route].port, REMOTE).refused


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
def test_a_message_of_a_granted_address_reaches_the_world(site: Site, route: tuple[str, str]) -> None:
    client, text = f"127.0.2.{ROUTES.index(route) + 1}", f"sent-by-{'-'.join(route)}"
    exim = site.exims[route]
    assert str(send(client, exim.port, REMOTE, text)) == f"550 {REFUSAL}"
    assert LOGIN["pop3"](client, site.dovecot.ports["pop3"])
    relays_soon(site, exim, client)
    assert send(client, exim.port, REMOTE, text).accepted
    assert site.sink.got(text.encode()), exim.log()


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_socket_loses_no_race_against_the_log(flavour: str) -> None:
    """Send right after the login, in an SMTP session opened before it: the responder holds its no for that.

    For longer than by default: how fast this machine writes and reads a line is not what is asked.
    """
    refused = []
    with made([(flavour, "socket")], 'hold_no = "1500ms"\n') as site:
        exim = site.exims[flavour, "socket"]
        for number in range(20):
            client = f"127.0.3.{number + 1}"
            session = smtp(client, exim.port)
            assert LOGIN["pop3"](client, site.dovecot.ports["pop3"])
            if not rcpt(session, REMOTE).accepted:
                refused.append(client)
            session.close()
    assert refused == []


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
def test_a_revoked_address_may_not_relay(site: Site, route: tuple[str, str]) -> None:
    client, exim = f"127.0.5.{ROUTES.index(route) + 1}", site.exims[route]
    assert LOGIN["imap"](client, site.dovecot.ports["imap"])
    relays_soon(site, exim, client)
    assert site.popauthd.control("revoke", client).returncode == 0
    wait_for(lambda: site.popauthd.settled(client, False), "the revocation")
    assert str(ask_rcpt(client, exim.port, REMOTE)) == f"550 {REFUSAL}"


@pytest.mark.parametrize("route", ROUTES, ids=NAMES)
def test_an_administrators_grant_relays(site: Site, route: tuple[str, str]) -> None:
    client, exim = f"127.0.6.{ROUTES.index(route) + 1}", site.exims[route]
    assert site.popauthd.control("grant", client, "--for", "30m").returncode == 0
    relays_soon(site, exim, client)


@pytest.mark.parametrize("whom", ["address", "user", "everybody"])
def test_a_login_stamped_ahead_of_the_clock_is_revoked_in_every_way_of_asking(site: Site, whom: str) -> None:
    number = ("address", "user", "everybody").index(whom)
    client, user = f"127.0.7.{number + 1}", f"ahead{number}@example.org"
    stamp = time.strftime("%b %d %H:%M:%S", time.localtime(time.time() + 100))
    line = f"{stamp} imap-login: Info: Login: user=<{user}>, method=PLAIN, rip={client}, lip=127.0.0.1, mpid=7, TLS\n"
    write(site, line)
    for exim in site.exims.values():
        relays_soon(site, exim, client)
    words = {"address": [client], "user": ["--user", user], "everybody": ["--all"]}[whom]
    assert site.popauthd.control("revoke", *words).returncode == 0
    next_second()
    later = f"127.0.7.{number + 101}"
    write(site, line, line.replace(client, later).replace(user, "later@example.org"))
    wait_for(lambda: site.popauthd.settled(later, True), "the grant of a line behind it")
    assert site.popauthd.settled(client, False)
    for exim in site.exims.values():
        assert str(ask_rcpt(client, exim.port, REMOTE)) == f"550 {REFUSAL}"


def write(site: Site, *lines: str) -> None:
    """Append to Dovecot's log, a write a line as Dovecot does."""
    for line in lines:
        with site.dovecot.log.open("ab", buffering=0) as log:
            log.write(line.encode())
