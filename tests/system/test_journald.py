"""A journald of our own with a real Dovecot that logs to it by syslog, as on a Debian without rsyslog."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Login, Refusal
from popauthd.sources.journal.reader import dovecot_logs_here
from popauthd.sources.journal.source import JournalSource
from tests.servers.clients import LOGIN, USER
from tests.servers.dovecot import TO_SYSLOG, Dovecot
from tests.support.daemons import Installation
from tests.support.helpers import eventually
from tests.support.journals import Inside, Journald, journalctl, login

pytestmark = pytest.mark.system

LIFETIME = 900


@pytest.fixture(scope="module")
def place_inside() -> Iterator[Inside]:
    """Servers started here after the journald log to it."""
    made = Inside()
    with made:
        yield made


@pytest.fixture(scope="module")
def journald(place_inside: Inside) -> Journald:
    """The journald."""
    return Journald(place_inside)


@pytest.fixture(scope="module")
def dovecot(place_inside: Inside, journald: Journald) -> Dovecot:
    """The Dovecot that logs to it."""
    assert journald.server.alive()
    return Dovecot(place_inside, TO_SYSLOG)


class Following:
    """A journal source with its recogniser, and what it has seen so far."""

    def __init__(self, journald: Journald, saved: bytes | None = None) -> None:
        self.source = JournalSource(path=str(journald.journal))
        self.source.resume(saved, int(time.time()) - LIFETIME)
        self.place = saved
        self.records: list[Mapping[str, object]] = []
        self.logins: list[str] = []
        self.refused: list[str] = []
        self._recogniser = Recogniser(Options(framing="journal"))

    def read(self) -> Following:
        """Read all there is."""
        while (chunk := self.source.read(int(time.time()))) is not None:
            events, _count = self._recogniser.records(chunk.records)
            self.logins += [event.address for event in events if isinstance(event, Login)]
            self.refused += [event.reason for event in events if isinstance(event, Refusal)]
            self.records += chunk.records
            self.place = chunk.place
        return self

    def until_login(self, address: str) -> None:
        """Read on until there was a login from there."""
        eventually(lambda: address in self.read().logins, f"a login from {address} in the journal")


def text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@pytest.mark.parametrize("protocol", sorted(LOGIN))
def test_a_login_comes_with_the_fields_that_journald_vouches_for(
    journald: Journald, dovecot: Dovecot, protocol: str
) -> None:
    address = f"127.0.1.{sorted(LOGIN).index(protocol) + 1}"
    following = Following(journald).read()
    before = time.time()
    assert LOGIN[protocol](address, dovecot.ports[protocol])
    following.until_login(address)
    texts = [{name: text(value) for name, value in record.items()} for record in following.records]
    (record,) = [one for one in texts if f"{protocol}-login: " in one["MESSAGE"] and address in one["MESSAGE"]]
    assert record["_UID"] == "0"
    assert record["_EXE"] == "/usr/lib/dovecot/log"
    assert record["_COMM"] == "log"
    assert record["_TRANSPORT"] == "syslog"
    assert record["SYSLOG_IDENTIFIER"] == "dovecot"
    assert record["_SYSTEMD_UNIT"] == "dovecot.service"
    assert before <= int(record["__REALTIME_TIMESTAMP"]) / 1e6 <= time.time()
    assert USER in record["MESSAGE"]


def test_journalctl_and_the_source_give_the_same_events(journald: Journald, dovecot: Dovecot) -> None:
    assert LOGIN["pop3"]("127.0.1.3", dovecot.ports["pop3"])
    following = Following(journald)
    following.until_login("127.0.1.3")
    read = Recogniser(Options(framing="journal"))
    now = int(time.time())

    def same() -> bool:  # in the end: Dovecot logs the end of the session when it likes
        printed = journalctl(journald.journal, "-o", "json", "SYSLOG_IDENTIFIER=dovecot")
        return read.block(printed, now) == read.records(following.read().records)

    eventually(same, "the same events from both")


@pytest.mark.parametrize("unit", [True, False], ids=["in Dovecot's unit", "elsewhere"])
@pytest.mark.parametrize("uid", [0, 65534])
def test_what_logger_writes_is_refused(journald: Journald, dovecot: Dovecot, uid: int, unit: bool) -> None:
    assert dovecot.server.alive()
    following = Following(journald).read()
    already = len(following.refused)
    forged = f"203.0.113.{uid % 100}"
    journald.run("logger", "-t", "dovecot", "-p", "mail.info", login(forged), uid=uid, unit=unit)
    eventually(lambda: len(following.read().refused) > already, "the forged record")
    assert following.refused[already:] == ["untrusted"]
    assert forged not in following.logins


def test_a_failed_login_grants_nothing(journald: Journald, dovecot: Dovecot) -> None:
    following = Following(journald).read()
    seen = len(following.logins)
    assert not LOGIN["pop3"]("127.0.1.4", dovecot.ports["pop3"], password="wrong")
    assert LOGIN["pop3"]("127.0.1.5", dovecot.ports["pop3"])
    following.until_login("127.0.1.5")
    assert following.logins[seen:] == ["127.0.1.5"]


def test_it_goes_on_through_rotation_and_a_restart(journald: Journald, dovecot: Dovecot) -> None:
    following = Following(journald).read()
    assert LOGIN["pop3"]("127.0.1.6", dovecot.ports["pop3"])
    following.until_login("127.0.1.6")
    journald.rotate()
    assert LOGIN["pop3"]("127.0.1.7", dovecot.ports["pop3"])
    following.until_login("127.0.1.7")
    stopped_at = following.place
    following.source.close()
    assert LOGIN["pop3"]("127.0.1.8", dovecot.ports["pop3"])
    journald.rotate()
    assert LOGIN["pop3"]("127.0.1.9", dovecot.ports["pop3"])
    again = Following(journald, stopped_at)
    again.until_login("127.0.1.9")
    assert again.logins == ["127.0.1.8", "127.0.1.9"]
    assert [*following.source.take_gaps(), *again.source.take_gaps()] == []


def test_a_vacuum_of_what_was_not_read_yet_is_a_gap(journald: Journald, dovecot: Dovecot) -> None:
    following = Following(journald).read()
    assert LOGIN["pop3"]("127.0.1.10", dovecot.ports["pop3"])
    eventually(lambda: b"127.0.1.10" in journalctl(journald.journal, "-o", "json"), "the login in the journal")
    journald.rotate()
    journald.vacuum()
    assert LOGIN["pop3"]("127.0.1.11", dovecot.ports["pop3"])
    following.until_login("127.0.1.11")
    assert "127.0.1.10" not in following.logins
    assert len(following.source.take_gaps()) == 1


def test_a_vacuum_that_leaves_a_file_is_no_gap(journald: Journald, dovecot: Dovecot) -> None:
    journald.rotate()
    assert LOGIN["pop3"]("127.0.1.16", dovecot.ports["pop3"])
    following = Following(journald)
    following.until_login("127.0.1.16")
    journald.rotate()
    assert LOGIN["pop3"]("127.0.1.17", dovecot.ports["pop3"])
    journald.vacuum(keep=2)
    following.until_login("127.0.1.17")
    assert following.source.take_gaps() == []


def test_a_vacuum_while_it_is_stopped_is_a_gap(journald: Journald, dovecot: Dovecot) -> None:
    following = Following(journald).read()
    assert LOGIN["pop3"]("127.0.1.12", dovecot.ports["pop3"])
    eventually(lambda: b"127.0.1.12" in journalctl(journald.journal, "-o", "json"), "the login in the journal")
    journald.rotate()
    journald.vacuum()
    assert LOGIN["pop3"]("127.0.1.13", dovecot.ports["pop3"])
    again = Following(journald, following.place)
    again.until_login("127.0.1.13")
    assert "127.0.1.12" not in again.logins
    assert len(again.source.take_gaps()) == 1


def test_a_login_wakes_whoever_waits(journald: Journald, dovecot: Dovecot) -> None:
    following = Following(journald).read()
    descriptor = following.source.fileno()
    assert descriptor is not None
    following.source.process()
    assert LOGIN["pop3"]("127.0.1.14", dovecot.ports["pop3"])
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    assert poll.poll(10_000)
    following.until_login("127.0.1.14")


def test_it_is_known_that_dovecot_logs_here(journald: Journald, dovecot: Dovecot) -> None:
    assert LOGIN["pop3"]("127.0.1.15", dovecot.ports["pop3"])
    Following(journald).until_login("127.0.1.15")
    assert dovecot_logs_here(path=str(journald.journal))
    assert not dovecot_logs_here(programs=("another",), path=str(journald.journal))


def test_the_daemon_grants_by_the_journal_and_goes_on_after_a_kill(
    journald: Journald, dovecot: Dovecot, tmp_path: Path
) -> None:
    # LIMIT: whether a unit is asked for is the machine's (is systemd its init?); Dovecot has one here either way.
    source = f'[[source]]\ntype = "journal"\npath = "{journald.journal}"\n'
    with contextlib.closing(Installation(tmp_path, f"grant_loopback = true\n{source}")) as installed:
        watcher = installed.start("watch")
        installed.start("respond")
        installed.ready()
        assert LOGIN["pop3"]("127.0.3.1", dovecot.ports["pop3"])
        eventually(lambda: installed.ask("127.0.3.1") == "yes", "the grant")
        watcher.kill()
        watcher.wait()
        assert LOGIN["pop3"]("127.0.3.2", dovecot.ports["pop3"])
        journald.run("logger", "-t", "dovecot", "-p", "mail.info", login("203.0.113.9"), unit=True)
        journald.rotate()
        installed.start("watch")
        eventually(lambda: installed.ask("127.0.3.2") == "yes", "the grant for a login while it was down")
        eventually(lambda: "refused.untrusted" in installed.status()["today"], "the forged record in the counters")
        assert installed.ask("203.0.113.9") == "no"

        def state() -> dict[str, object]:
            (found,) = [one for one in installed.status()["sources"] if one["name"] == str(journald.journal)]
            return dict(found)

        eventually(lambda: state()["behind_seconds"] == 0, "everything is read")
        assert state()["status"] == "present"
        assert state()["last_login_at"] is not None


def test_what_journald_drops_is_a_gap(journald: Journald, dovecot: Dovecot) -> None:
    following = Following(journald).read()
    flood = "yes '<22>dovecot: imap: Info: noise' | head -n 20000 | logger --socket-errors=on --prio-prefix -t dovecot"
    journald.run("sh", "-c", flood, unit=True)
    # journald says what it dropped when a message of that unit gets through again.
    number = 0

    def told() -> bool:
        nonlocal number
        number += 1
        assert LOGIN["pop3"](f"127.0.2.{number % 250}", dovecot.ports["pop3"])
        following.read()
        return bool(following.source.state().dropped_messages)

    eventually(told, "the notice of what was dropped")
    (gap,) = following.source.take_gaps()
    assert "messages of dovecot.service" in gap.what
