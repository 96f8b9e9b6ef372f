"""The push sources on a real Dovecot, by popauthd's own snippets: no log is followed, nobody is kept from mail."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from popauthd import config
from popauthd.doctor.push import push
from popauthd.doctor.verdicts import OK
from popauthd.store.relay_map import MapReader
from tests.servers.clients import LOGIN, imap_anonymous
from tests.servers.dovecot import NO_LOGINS, Dovecot, branch, tls
from tests.servers.place import Place, Server, free_port, wait_for
from tests.servers.popauthd import Popauthd
from tests.servers.pushes import auth_policy, listening, post_login, secret_file

pytestmark = pytest.mark.system

PROTOCOLS = ["pop3", "imap"]
WAYS = ["post-login", "auth-policy"]


@dataclass(frozen=True, slots=True)
class Site:
    """A Dovecot that tells popauthd of logins in one way."""

    place: Place
    way: str
    dovecot: Dovecot
    popauthd: Popauthd
    snippet: str

    def start(self, part: str = "watch") -> Server:
        """Start a part of popauthd, and wait until it can be told."""
        started = self.popauthd.start(part)[part]
        wait_for(lambda: listening(self.snippet), "popauthd to listen")
        return started

    def today(self) -> dict[str, int]:
        """Today's counters."""
        counted: dict[str, int] = json.loads(self.popauthd.control("status", "--json").stdout)["today"]
        return counted

    def count(self, name: str) -> int:
        """One of today's counters."""
        return self.today().get(name, 0)


def make(
    place: Place, way: str, settings: str = "", dovecots: str = "", *, user: str = "dovecot", follow: bool = False
) -> Site:
    """Dovecot with the snippet, and popauthd set up for it but not started. settings, dovecots: more for each."""
    run_dir, port = place.root / "run", free_port()
    if way == "post-login":
        extra = post_login(place, run_dir / "push.sock", user)
        settings += 'post_login = true\npush_users = ["dovecot"]\n'
    else:
        extra = auth_policy(place, port)
        settings += f'auth_policy_listen = "127.0.0.1:{port}"\nauth_policy_secret_file = "{secret_file(place)}"\n'
    dovecot = Dovecot(place, extra + dovecots)
    return Site(place, way, dovecot, Popauthd(place, dovecot.log if follow else None, settings=settings), extra)


@pytest.fixture(scope="module", params=WAYS)
def site(request: pytest.FixtureRequest) -> Iterator[Site]:
    with Place() as place:
        made = make(place, request.param)
        made.start("run")
        yield made


@pytest.fixture(scope="module")
def relay_map(site: Site) -> Iterator[MapReader]:
    reader = MapReader(str(site.popauthd.map))
    yield reader
    reader.close()


# An address of its own for each case; of IPv6 there is but one.
@pytest.mark.parametrize(("protocol", "client"), [("pop3", "127.0.0.10"), ("imap", "127.0.0.11"), ("imap", "::1")])
def test_a_login_is_granted_without_any_log(site: Site, relay_map: MapReader, protocol: str, client: str) -> None:
    assert relay_map.expiry(client) is None
    assert LOGIN[protocol](client, site.dovecot.ports[protocol])
    if site.way == "auth-policy":  # Dovecot does not wait for it
        wait_for(lambda: relay_map.expiry(client) is not None, "the grant")
    assert relay_map.expiry(client) is not None
    assert site.popauthd.may_relay(client)


@pytest.mark.parametrize("way", WAYS)
def test_the_doctor_is_heard_and_tells_of_nothing(way: str) -> None:
    with Place() as place:
        site = make(place, way)
        site.start("run")
        found = list(push(config.load(str(site.popauthd.config))))
        assert [verdict.state for verdict in found] == [OK], found
        assert ("dovecot is heard" if way == "post-login" else "knows the secret") in found[0].seen
        # What is counted is entered by and by, and in order: once this login is, the doctor's visit is.
        assert LOGIN["imap"]("127.0.0.10", site.dovecot.ports["imap"])
        granted = "push.granted" if way == "post-login" else "auth-policy.granted"
        wait_for(lambda: site.count(granted) == 1, "the login after it to be counted")
        assert site.today().keys() - {"auth-policy.allow", granted, "login"} == set()
        assert site.count("login") == 1


def test_the_script_leaves_no_race(site: Site, relay_map: MapReader) -> None:
    late = []
    for number in range(20 if site.way == "post-login" else 0):
        client = f"127.0.1.{number + 1}"
        with socket.create_connection(("127.0.0.1", site.dovecot.ports["pop3"]), 20, (client, 0)) as connection:
            for line in (b"", b"USER joe@example.org\r\n", b"PASS joespassword\r\n"):
                connection.sendall(line)
                assert connection.recv(1000).startswith(b"+OK")
            if relay_map.expiry(client) is None:
                late.append(client)
    assert late == []


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_failed_login_is_not(site: Site, relay_map: MapReader, protocol: str) -> None:
    client = f"127.0.2.{1 + PROTOCOLS.index(protocol)}"
    assert not LOGIN[protocol](client, site.dovecot.ports[protocol], password="wrong")
    # Reports come in the order of the logins.
    assert LOGIN[protocol]("127.0.2.9", site.dovecot.ports[protocol])
    wait_for(lambda: relay_map.expiry("127.0.2.9") is not None, "the later login's grant")
    assert relay_map.expiry(client) is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("state", ["never there", "killed", "stopped"])
def test_nobody_is_kept_from_mail_by_a_popauthd_that_is(way: str, state: str) -> None:
    with Place() as place:
        site = make(place, way)
        if state != "never there":
            watcher = site.start()
            watcher.signal_group(signal.SIGKILL if state == "killed" else signal.SIGSTOP)
        for protocol in PROTOCOLS:
            assert LOGIN[protocol]("127.0.0.10", site.dovecot.ports[protocol])
        if state == "stopped":
            watcher.signal_group(signal.SIGKILL)


@pytest.mark.parametrize("way", WAYS)
def test_nobody_is_kept_from_mail_by_garbage(way: str) -> None:
    with Place() as place:
        site = make(place, way)
        listener = _listener(site)
        threading.Thread(target=_talk_garbage, args=(listener,), daemon=True).start()
        for protocol in PROTOCOLS:
            assert LOGIN[protocol]("127.0.0.10", site.dovecot.ports[protocol])
        listener.close()


def test_a_script_that_is_not_allowed_keeps_nobody_from_mail() -> None:
    with Place() as place:
        site = make(place, "post-login", user="nobody")
        site.start()
        for protocol in PROTOCOLS:
            assert LOGIN[protocol]("127.0.0.10", site.dovecot.ports[protocol])
        wait_for(lambda: site.count("push.forbidden") == 2, "both to be counted")


@pytest.mark.parametrize("way", WAYS)
def test_a_login_that_a_log_tells_of_as_well_is_counted_once(way: str) -> None:
    with Place() as place:
        site = make(place, way, follow=True)
        site.start()
        for protocol in PROTOCOLS:
            assert LOGIN[protocol]("127.0.0.10", site.dovecot.ports[protocol])
        wait_for(lambda: site.count("login") + site.count("login.twice") == 4, "both tellings of both")
        assert site.count("login") == 2


@pytest.mark.parametrize("way", WAYS)
def test_whether_a_login_came_under_tls_is_told(way: str) -> None:
    with Place() as place:
        site = make(place, way, "require_tls = true\n", tls(place))
        site.start()
        reader = MapReader(str(site.popauthd.map))
        for protocol in PROTOCOLS:
            plain, under_tls = (f"127.0.{number}.{1 + PROTOCOLS.index(protocol)}" for number in (1, 2))
            assert LOGIN[protocol](plain, site.dovecot.ports[protocol])
            assert LOGIN[protocol](under_tls, site.dovecot.ports[protocol], tls=True)
            wait_for(lambda under_tls=under_tls: reader.expiry(under_tls) is not None, "the grant")  # type: ignore[misc]
            assert reader.expiry(plain) is None
        reader.close()


@pytest.mark.parametrize("way", WAYS)
def test_a_success_that_lets_nobody_in_grants_nothing(way: str) -> None:
    with Place() as place:
        site = make(place, way, dovecots=NO_LOGINS[branch()])
        site.start()
        port = site.dovecot.ports["imap"]
        assert not LOGIN["imap"]("127.0.0.11", port, "passed-on", "anything")
        assert not LOGIN["imap"]("127.0.0.12", port, "kept-out", "anything")
        assert imap_anonymous("127.0.0.13", port)
        assert LOGIN["imap"]("127.0.0.14", port)
        reader = MapReader(str(site.popauthd.map))
        wait_for(lambda: reader.expiry("127.0.0.14") is not None, "the last login's grant")
        assert [reader.expiry(f"127.0.0.{number}") for number in (11, 12, 13)] == [None] * 3
        reader.close()
        if way == "auth-policy":
            wait_for(
                lambda: site.count("auth-policy.proxied") == site.count("auth-policy.nologin") == 1,
                "both to be counted",
            )
        wait_for(lambda: site.count("refused.anonymous") == 1, "the anonymous login to be counted")


def _listener(site: Site) -> socket.socket:
    if site.way == "post-login":
        site.place.directory("run")
        listener = socket.socket(socket.AF_UNIX)
        path = site.popauthd.run_dir / "push.sock"
        listener.bind(str(path))
        path.chmod(0o666)
    else:
        port = int(site.popauthd.config.read_text().partition("127.0.0.1:")[2].partition('"')[0])
        listener = socket.create_server(("127.0.0.1", port))
    listener.listen()
    return listener


def _talk_garbage(listener: socket.socket) -> None:
    while True:
        try:
            connection = listener.accept()[0]
        except OSError:  # the test is over
            return
        with connection, contextlib.suppress(OSError):  # it may have heard enough
            connection.recv(65536)
            connection.sendall(bytes(range(256)) * 64)
