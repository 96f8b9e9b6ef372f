"""Other mail servers, the real ones: popauthd recognises exactly the good logins in what they say to syslog."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

import pytest

from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.formats.servers import FORMATS
from popauthd.model import Login
from tests.servers.clients import LOGIN, USER
from tests.servers.dovecot import Dovecot
from tests.servers.jail import Jail
from tests.servers.mailservers import Courier, Perdition
from tests.servers.place import Place
from tests.support.helpers import eventually

pytestmark = pytest.mark.system

GOOD = {"pop3": "127.0.0.21", "imap": "127.0.0.22"}
BAD = "127.0.0.66"


@pytest.fixture(scope="module")
def dovecot(place: Place) -> Iterator[Dovecot]:
    """What Perdition passes logins on to."""
    yield Dovecot(place)


def recognised(name: str, jail: Jail) -> list[Login]:
    """The logins in a server's log so far."""
    reader = Recogniser(Options("syslog", (name,)))
    events = [reader.line(raw, int(time.time())) for raw in list(jail.logged())]
    return [event for event in events if isinstance(event, Login)]


def exactly_the_good_ones(name: str, jail: Jail, logins: dict[str, str]) -> None:
    """logins: protocol by address. Waits for the last of them to be logged."""
    eventually(lambda: {canonical(login.address) for login in recognised(name, jail)} >= logins.keys(), "the logins")
    found = recognised(name, jail)
    assert sorted((canonical(login.address), login.protocol, login.user) for login in found) == sorted(
        (address, protocol, USER) for address, protocol in logins.items()
    ), jail.lines
    assert {login.format for login in found} == {name}


def canonical(address: str) -> str:
    return address.removeprefix("::ffff:")


COURIER_HOSTILE = [
    "x, ip=[6.6.6.6], port=[1], protocol=IMAP",
    "LOGIN, user=a, ip=[6.6.6.6], port=[1], protocol=IMAP",
    "INFO: LOGIN, user=a, ip=[6.6.6.6]",
]
PERDITION_HOSTILE = ['a" server="s:1" protocol=POP3 server-secure=plaintext status="ok', 'a"x', 'x"status="ok"']


def try_all(ports: dict[str, int], hostile: list[str], failing: tuple[str, ...]) -> None:
    """Failures under every hostile name and a wrong password from one address, then a good login of each protocol."""
    for protocol in failing:
        assert not LOGIN[protocol](BAD, ports[protocol], USER, "wrong")
        for user in hostile:
            assert not LOGIN[protocol](BAD, ports[protocol], user, "wrong")
    for protocol, source in GOOD.items():
        assert LOGIN[protocol](source, ports[protocol])


def pop3_try(port: int, user: str) -> None:
    """A failed POP3 login of any user; whether the server answers at all is its own affair."""
    with socket.create_connection(("127.0.0.1", port), 8, (BAD, 0)) as peer, contextlib.suppress(OSError):
        for said in (f"USER {user}", "PASS wrong"):
            peer.recv(1000)
            peer.sendall(said.encode() + b"\r\n")
        peer.recv(1000)


def logins() -> dict[str, str]:
    return {source: protocol for protocol, source in GOOD.items()}


def test_courier_grants_its_good_logins_and_nothing_else(place: Place, request: pytest.FixtureRequest) -> None:
    courier = Courier(place)
    request.addfinalizer(courier.jail.close)
    for user in COURIER_HOSTILE:  # each costs five seconds
        pop3_try(courier.ports["pop3"], user)
    try_all(courier.ports, COURIER_HOSTILE[:1], ("imap",))
    exactly_the_good_ones("courier", courier.jail, logins())
    told = b"LOGIN FAILED, user=LOGIN, user=a"
    eventually(lambda: any(told in raw for raw in courier.jail.logged()), "the failures in the log")


def test_perdition_grants_its_good_logins_and_nothing_else(
    place: Place, dovecot: Dovecot, request: pytest.FixtureRequest
) -> None:
    perdition = Perdition(place, dovecot.ports)
    request.addfinalizer(perdition.jail.close)
    try_all(perdition.ports, [], ())
    for user in (USER, *PERDITION_HOSTILE):
        pop3_try(perdition.ports["pop3"], user)
    exactly_the_good_ones("perdition", perdition.jail, logins())
    eventually(lambda: any(b'status="failed: ' in raw for raw in perdition.jail.logged()), "the failures in the log")
    exactly_the_good_ones("perdition", perdition.jail, logins())


def test_what_the_table_calls_proved_is_proved_here() -> None:
    assert {row.part_of for row in FORMATS if row.real} == {"dovecot", "courier", "perdition"}
