"""From the first release, 0.1.0, to this one, on a clean Debian 12 and 13: grants, a held session and revocations stay.

The tests are chapters: each goes on where the one before it ended. Logins are lines of Dovecot's log.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd import __version__
from tests.package.building import build, of_first_release
from tests.package.roots import SUITES, Root
from tests.package.units import Listener, Service
from tests.support.helpers import eventually

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.package]

PLAIN, SIX, HELD, ENDED, BY_HAND = "203.0.113.10", "2001:db8:7::7", "203.0.113.11", "203.0.113.12", "203.0.113.13"
REVOKED, REVOKED_USER, BOTH, AGAIN = "203.0.113.20", "203.0.113.21", "203.0.113.22", "203.0.113.23"
REVOKED_BY_HAND, STRANGER = "203.0.113.24", "203.0.113.250"
GRANTED = {PLAIN, SIX, HELD, ENDED, BY_HAND, BOTH, AGAIN}
REFUSED = {REVOKED, REVOKED_USER, REVOKED_BY_HAND, STRANGER}
LIFETIME = 900


class Machine:
    """A root with popauthd, its log, and the three ways to ask."""

    def __init__(self, root: Root) -> None:
        self.root = root
        self.log = root.path / "var/log/dovecot-info.log"
        root.run("install", "-m", "640", "-o", "root", "-g", "adm", "/dev/null", "/var/log/dovecot-info.log")

    def configure(self) -> None:
        """What an administrator sets: a file of his own, so that dpkg must not replace it."""
        with (self.root.path / "etc/popauthd/popauthd.toml").open("a") as file:
            file.write('\nhost_list = true\n[[source]]\npath = "/var/log/dovecot-info.log"\n')

    def start(self) -> None:
        """Start what the units of the installed version say."""
        self.socket = Listener(self.root, "popauthd-lookup.socket")
        self.lookup = Service(self.root, "popauthd-lookup.service", self.socket)
        self.watcher = Service(self.root, "popauthd.service")
        self.lookup.start()
        self.watcher.start()

    def stop(self) -> None:
        """Stop them."""
        self.watcher.stop()
        self.lookup.stop()
        self.socket.close()

    def login(self, user: str, client: str, session: str = "", before: int = 0) -> None:
        """A login, so many seconds ago."""
        tail = f", session=<{session}>" if session else ""
        words = f"user=<{user}>, method=PLAIN, rip={client}, lip=198.51.100.5, mpid=7{tail}"
        self._write(before, f"imap-login: Info: Login: {words}")

    def end(self, user: str, session: str, before: int = 0) -> None:
        """The end of a session, so many seconds ago."""
        self._write(before, f"imap({user})<7><{session}>: Info: Logged out in=1 out=2")

    def _write(self, before: int, text: str) -> None:
        with self.log.open("a") as file:
            file.write(f"{time.strftime('%b %d %H:%M:%S', time.gmtime(time.time() - before))} {text}\n")

    def reread(self) -> None:
        """Every line so far once more, as from a copy of the log, and a new login behind them."""
        text = self.log.read_text()
        with self.log.open("a") as file:
            file.write(text)
        self.login("last", "203.0.113.99")
        self.relays("203.0.113.99")

    def relays(self, client: str) -> None:
        """Wait until an address may relay."""
        eventually(lambda: self.socket.ask(client) == "yes", f"{client} may relay")

    def answers(self) -> dict[str, set[str]]:
        """Which of all addresses may relay, by each way to ask."""
        everybody = sorted(GRANTED | REFUSED)
        lines = (self.root.path / "run/popauthd/relay-hosts").read_text().splitlines()
        listed = {line.rpartition(": ")[0].strip('"') for line in lines}
        return {
            "socket": {one for one in everybody if self.socket.ask(one) == "yes"},
            "readlookup": {one for one in everybody if self.root.fails("/usr/lib/popauthd/readlookup", one)[0] == 0},
            "hostlist": listed & {*everybody},
        }

    def answer_alike(self, granted: set[str]) -> None:
        """Wait until all three ways say yes to these, and only these (the host list is a little later)."""
        wanted = dict.fromkeys(("socket", "readlookup", "hostlist"), granted)
        eventually(lambda: self.answers() == wanted, f"only {granted} may relay; it is {self.answers()}")

    def expiries(self) -> dict[str, int]:
        """What popauthd says: address -> expiry."""
        return {row["address"]: row["expires_at"] for row in json.loads(self.root.run("popauthctl", "list", "--json"))}

    def held(self) -> bool:
        """Whether the session is known to be open."""
        return "a session is open" in self.root.run("popauthctl", "check", HELD)


@pytest.fixture(scope="module", params=SUITES)
def suite(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def debs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The first release, and this one."""
    there = tmp_path_factory.mktemp("debs")
    return of_first_release(there), build(there)


@pytest.fixture(scope="module")
def machine(suite: str, debs: tuple[Path, Path]) -> Iterator[Machine]:
    """A machine with 0.1.0, as it was left when it was stopped for the upgrade."""
    with Root(suite) as root:
        for deb in debs:
            (root.path / "tmp" / deb.name).write_bytes(deb.read_bytes())
        root.install(debs[0])
        running = Machine(root)
        running.configure()
        running.start()
        yield running
        running.stop()


@pytest.fixture(scope="module")
def before(machine: Machine) -> dict[str, int]:
    """What 0.1.0 had granted in the end: address -> expiry."""
    machine.login("pia", ENDED, "pia+1", 120)
    machine.end("pia", "pia+1", 100)
    machine.login("bob", HELD, "bob+1", 60)
    machine.login("anna", PLAIN, before=60)
    machine.login("anna", SIX, before=60)
    machine.login("fred", REVOKED, "fred+1", 50)
    machine.login("mallory", REVOKED_USER, "mallory+1", 50)
    machine.login("mallory", BOTH, before=50)
    machine.login("nora", BOTH, before=50)
    machine.login("hugo", AGAIN, before=50)
    for client in (GRANTED | REFUSED) - {BY_HAND, REVOKED_BY_HAND, STRANGER}:
        machine.relays(client)
    control = "popauthctl"
    machine.root.run(control, "grant", BY_HAND, "--for", "3d")
    machine.root.run(control, "grant", REVOKED_BY_HAND, "--for", "3d")
    for words in ([REVOKED], ["--user", "mallory"], [AGAIN], [REVOKED_BY_HAND]):
        machine.root.run(control, "revoke", *words)
    second = int(time.time())
    eventually(lambda: int(time.time()) > second, "the next second")
    machine.login("hugo", AGAIN)
    machine.relays(AGAIN)
    machine.answer_alike(GRANTED)
    assert machine.held()
    return machine.expiries()


@pytest.fixture(scope="module")
def after(machine: Machine, before: dict[str, int], debs: tuple[Path, Path]) -> dict[str, int]:
    """What this version says when it has been started in the place of 0.1.0."""
    assert set(before) == GRANTED
    machine.stop()
    machine.root.apt("-o", "Dpkg::Options::=--force-confold", "install", f"/tmp/{debs[1].name}")
    assert machine.root.run("dpkg-query", "-W", "-f", "${Version}", "popauthd") == __version__ != "0.1.0"
    machine.start()
    return machine.expiries()


def test_an_upgrade_keeps_every_grant_and_its_end(
    machine: Machine, before: dict[str, int], after: dict[str, int]
) -> None:
    assert after == before
    machine.answer_alike(GRANTED)


def test_the_books_are_brought_up_to_date_and_none_is_moved_aside(machine: Machine, after: dict[str, int]) -> None:
    state = machine.root.path / "var/lib/popauthd"
    assert [path.name for path in state.iterdir() if "damaged" in path.name] == []
    notes = json.loads(machine.root.run("popauthctl", "status", "--json"))["notes"]
    assert [note for note in notes if "books.mdb: brought from schema 2 to" in note]
    assert after


def test_what_was_revoked_stays_revoked_when_its_lines_are_read_again(machine: Machine, after: dict[str, int]) -> None:
    machine.reread()
    machine.answer_alike(GRANTED)
    assert {client: machine.expiries()[client] for client in after} == after


def test_a_session_that_was_held_is_held_until_its_end(machine: Machine, after: dict[str, int]) -> None:
    assert machine.held()
    ends_at = int(time.time())
    machine.end("bob", "bob+1")
    eventually(lambda: not machine.held(), "the session ends")
    assert ends_at + LIFETIME <= machine.expiries()[HELD] <= int(time.time()) + LIFETIME
    assert machine.expiries()[HELD] > after[HELD]


def test_who_was_revoked_comes_in_by_a_new_login_and_by_hand(machine: Machine, after: dict[str, int]) -> None:
    assert after
    machine.login("fred", REVOKED)
    machine.root.run("popauthctl", "grant", REVOKED_BY_HAND)
    machine.answer_alike(GRANTED | {REVOKED, REVOKED_BY_HAND})


def test_going_back_is_refused_and_says_how_and_what_is_lost(
    machine: Machine, after: dict[str, int], debs: tuple[Path, Path]
) -> None:
    assert after
    status, said = machine.root.fails("dpkg", "--force-confold", "-i", f"/tmp/{debs[0].name}")
    assert status != 0
    assert f"{__version__} is installed and 0.1.0 is older" in said
    assert "move /var/lib/popauthd/books.mdb away before you install 0.1.0" in said
    assert "whoever was revoked since his last login may relay again" in said
    words = ("dpkg-query", "-W", "-f", "${db:Status-Status} ${Version}", "popauthd")
    assert machine.root.run(*words) == f"installed {__version__}"
    machine.answer_alike(GRANTED | {REVOKED, REVOKED_BY_HAND})


def test_the_way_back_that_it_tells_leads_back(
    machine: Machine, after: dict[str, int], debs: tuple[Path, Path]
) -> None:
    assert after
    machine.root.run("popauthctl", "revoke", PLAIN)
    machine.stop()
    machine.root.run("apt-get", "-q", "-y", "remove", "popauthd")
    machine.root.run("mv", "/var/lib/popauthd/books.mdb", "/var/lib/popauthd/books.mdb.newer")
    machine.root.run("dpkg", "--force-confold", "-i", f"/tmp/{debs[0].name}")
    machine.start()
    machine.relays(PLAIN)  # it does not know that this was revoked, as we said
    machine.root.run("popauthctl", "revoke", PLAIN)
    machine.answer_alike({SIX, HELD, ENDED, REVOKED, REVOKED_USER, BOTH, AGAIN})
