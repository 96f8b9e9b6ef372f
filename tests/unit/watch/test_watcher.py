"""The watcher: what a log teaches is entered once, published at once, and told; and nothing is lost when that fails."""

from __future__ import annotations

import logging
import resource
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from popauthd import clock as clocks
from popauthd.address import network
from popauthd.errors import SourceError, StoreBrokenError, StoreError
from popauthd.formats.journal_fields import LOG_PROCESS, UNIT
from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Login
from popauthd.sources import Chunk, Gap
from popauthd.sources.file.source import LogFile
from popauthd.status import FileStatus, JournalStatus, PushStatus
from popauthd.store.books import Books, Rules
from popauthd.store.host_list import HostList
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from popauthd.watch import intake, watcher
from popauthd.watch.alarm import UNSEEN_SECONDS
from popauthd.watch.commands import handle
from popauthd.watch.watcher import CHUNKS_A_TURN, MISSING_SECONDS, Followed, Watcher
from tests.support.helpers import published_expiry
from tests.support.policy import default_limits
from tests.support.watching import housekeeping_of
from tests.support.watching import told as tell

A, B, SERVER = "192.0.2.10", "192.0.2.11", "198.51.100.5"
NOW = 1_795_467_600
LIFETIME, HOUR = 900, 3600


def line(at: int, text: str) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S ", time.localtime(at)) + text + "\n"


def login(at: int, address: str = A, user: str = "anna", session: str = "") -> str:
    session = f", session=<{session}>" if session else ""
    said = f"Login: user=<{user}>, method=PLAIN, rip={address}, lip={SERVER}, mpid=1, TLS{session}"
    return line(at, f"imap-login: Info: {said}")


def ended(at: int, session: str, user: str = "anna") -> str:
    return line(at, f"imap({user})<1><{session}>: Info: Disconnected: Logged out in=1 out=2")


def noise(at: int, number: int) -> str:
    return "".join(line(at, f"auth: Debug: something else {one}") for one in range(number))


def no_room(*_arguments: object, **_more: object) -> None:
    raise StoreError("no space left on the device")


class Reel:
    """A log in the test's hand: it gives `blocks` or `records`, may lose something, may lie on a disk that fails."""

    name = "other.log"

    def __init__(self, *blocks: str) -> None:
        self.sick = False
        self.status = "present"
        self.closed = False
        self.resumed: list[tuple[bytes | None, int]] = []
        self.gaps: list[Gap] = []
        self.blocks = [block.encode() for block in blocks]
        self.records: list[tuple[Mapping[str, object], ...]] = []
        self.woken = 0
        self.descriptor: int | None = 7

    def resume(self, place: bytes | None, oldest: int) -> None:
        self.resumed.append((place, oldest))

    def read(self, now: int) -> Chunk | None:
        if self.sick:
            raise SourceError("reading other.log: Input/output error; will be tried again")
        if self.records:
            return Chunk(b"", b"after", None, 0, self.records.pop(0))
        return Chunk(self.blocks.pop(0), b"after", None, 0) if self.blocks else None

    def take_gaps(self) -> list[Gap]:
        gaps, self.gaps = self.gaps, []
        return gaps

    def state(self) -> FileStatus:
        return FileStatus(self.name, self.status)

    def close(self) -> None:
        self.closed = True

    def fileno(self) -> int | None:
        return self.descriptor

    def process(self) -> None:
        self.woken += 1

    def unread(self) -> bool:
        return bool(self.blocks or self.records)


class JournalReel(Reel):
    """A journal in the test's hand; last_at: when the last record of it that was ever read was written."""

    name = "journal"
    last_at: int | None = None

    def state(self) -> JournalStatus:  # type: ignore[override]
        return JournalStatus(self.name, self.status, last_record_at=self.last_at)


class World:
    """A log in Dovecot's own form and a watcher on it, with the clock in the test's hand."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "dovecot.log"
        self.log.touch()
        self.now = NOW
        self.offset = NOW - 1000  # of the wall clock to the boot clock
        self.rules = Rules(shared_users=3, hold_seconds=12 * HOUR)
        self.limits = default_limits()
        self.dry_run = False
        self.pushed = False
        self.others: list[Reel] = []
        self.damaged = ""
        self.start()

    def start(self) -> None:
        self.books = Books(str(self.directory / "books.mdb"), self.rules)
        self.map = MapWriter(str(self.directory / "relay.mdb"))
        publisher = Publisher(self.map, HostList(str(self.directory / "relay-hosts")), dry_run=self.dry_run)
        ledger, housekeeping = housekeeping_of(self.books, publisher, self.limits, lambda: self.offset)
        recogniser = Recogniser(Options("dovecot-file"))
        source = LogFile(str(self.log), recogniser.stamp, clock=lambda: self.now)
        followed = [Followed(source, recogniser), *(Followed(one, recogniser) for one in self.others)]
        self.watcher = Watcher(
            ledger, housekeeping, followed, pushed=self.pushed, damaged=self.damaged, clock=self.clock
        )
        self.watcher.start()

    def clock(self) -> float:
        return self.now + 0.5

    def restart(self, **change: object) -> None:
        self.watcher.close()
        for name, value in change.items():
            setattr(self, name, value)
        self.start()

    def append(self, *lines: str) -> None:
        with self.log.open("a", encoding="utf-8") as file:
            file.writelines(lines)

    def read(self, *lines: str) -> None:
        """Write these lines, and let the watcher turn until nothing is left."""
        self.append(*lines)
        assert any(not self.watcher.turn() for _ in range(500)), "nothing is left at last"

    def left(self, address: str = A) -> int:
        """For how many seconds more the map lets an address relay."""
        return max(0, (published_expiry(self.map, address) or 0) - self.now)

    def status(self, name: str) -> Any:
        return getattr(self.watcher.status(), name)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.watcher.close()


def test_a_login_in_the_log_is_published_told_and_counted(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "popauthd.watch")
    world.read(login(NOW - 10, session="s"), noise(NOW, 2))
    assert world.left() == LIFETIME - 10
    assert f"granted address={A} expires_at={NOW - 10 + LIFETIME} user=anna source={world.log}" in caplog.messages
    status = world.watcher.status()
    assert status.today == {"lines": 3, "login": 1}
    assert (status.addresses, status.held, status.shared) == (1, 1, ())
    assert (status.now, status.degraded, status.dry_run) == (NOW, "", False)
    assert [(one.name, one.last_login_at) for one in status.sources] == [(str(world.log), NOW - 10)]
    assert status.pushed == ()


WHOM: list[dict[str, str]] = [{"address": A}, {"user": "anna"}, {"what": "all"}]


@pytest.mark.parametrize("whom", WHOM, ids=["address", "user", "all"])
@pytest.mark.parametrize("wait", ["a long log", "a log that cannot be read", "full books"])
def test_a_login_that_waits_to_be_read_is_ended_by_a_revocation_whatever_its_stamp(
    world: World, monkeypatch: pytest.MonkeyPatch, wait: str, whom: dict[str, str]
) -> None:
    reel = Reel(*([noise(NOW, 1)] * (CHUNKS_A_TURN if wait == "a long log" else 0)), login(NOW + 100))
    world.restart(others=[reel])
    reel.sick = wait == "a log that cannot be read"
    if wait == "full books":
        reel.blocks.insert(0, noise(NOW, 1).encode())
        with monkeypatch.context() as full:
            full.setattr("popauthd.watch.batch.Batch.enter", no_room)
            world.watcher.turn()
    else:
        world.watcher.turn()
    handle(world.watcher, {"command": "revoke", **whom})
    reel.sick = False
    world.now += 5
    assert any(not world.watcher.turn() for _ in range(500))
    assert (reel.blocks, world.left()) == ([], 0)
    world.now += 120
    world.read(login(world.now))
    assert world.left() == LIFETIME, "a login made after it"


@pytest.mark.parametrize("whom", WHOM, ids=["address", "user", "all"])
def test_where_no_line_waits_a_login_right_after_a_revocation_counts(world: World, whom: dict[str, str]) -> None:
    world.read(login(NOW))
    handle(world.watcher, {"command": "revoke", **whom})
    world.now += 1
    world.read(login(world.now))
    assert world.left() == LIFETIME


def test_a_second_login_of_an_open_address_is_not_told_again(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "popauthd.watch")
    world.read(login(NOW - 10))
    world.read(login(NOW - 5))
    assert [message for message in caplog.messages if "granted" in message] == [
        f"granted address={A} expires_at={NOW - 10 + LIFETIME} user=anna source={world.log}"
    ]


def test_a_restart_goes_on_at_the_saved_place(world: World) -> None:
    world.read(login(NOW - 10))
    world.restart()
    assert world.left() == LIFETIME - 10, "before anything is read"
    world.read(login(NOW - 5, B))
    assert world.status("today") == {"lines": 2, "login": 2}
    assert [one.last_login_at for one in world.status("sources")] == [NOW - 5], "since the start"


def test_without_a_place_it_begins_a_lifetime_ago(world: World) -> None:
    world.watcher.close()
    for path in world.directory.iterdir():
        if path.name.startswith("books.mdb"):
            path.unlink()
    world.append(*(login(NOW - ago, B) for ago in (9000, 5000, 1500)), login(NOW - 800))
    world.start()
    world.read()
    assert world.status("today") == {"lines": 1, "login": 1}
    assert (world.left(A), world.left(B)) == (100, 0)


def test_the_longest_lifetime_of_all_says_where_it_begins(world: World) -> None:
    longer = ((network("203.0.113.0/24"), 5000),)
    world.restart(others=[Reel(noise(NOW, 1))], limits=default_limits(lifetime_by_network=longer))
    world.read()
    world.restart()
    assert world.others[0].resumed == [(None, NOW - 5000), (b"after", NOW - 5000)]


def test_a_refused_login_is_counted_and_told_with_what_it_says(world: World, caplog: pytest.LogCaptureFixture) -> None:
    world.read(login(NOW, "127.0.0.1", "bob\u202e"))
    assert world.status("today") == {"lines": 1, "login": 1, "refused.loopback": 1}
    assert caplog.messages == [f"refused reason=loopback address=127.0.0.1 user=bob\\u202e source={world.log}"]
    assert world.left("127.0.0.1") == 0


def test_a_dry_run_says_what_would_be_granted(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "popauthd.watch")
    world.restart(dry_run=True)
    world.read(login(NOW))
    assert f"would be granted (dry run) address={A} expires_at={NOW + LIFETIME} user=anna source={world.log}" in (
        caplog.messages
    )
    assert (world.left(), world.status("dry_run"), world.status("addresses")) == (0, True, 1)


def test_an_address_that_becomes_shared_is_noted_once(world: World) -> None:
    world.read(*(login(NOW - 9 + number, user=f"u{number}") for number in range(5)))
    assert world.left() == 0
    assert [note.partition(" ")[2][:50] for note in world.status("notes")] == [
        f"shared address {A}: more than 3 users logged in f"[:50]
    ]
    assert [(one.address, one.users) for one in world.status("shared")] == [(A, 5)]
    assert world.status("today") == {"lines": 5, "login": 5, "refused.shared-address": 2}
    world.now += LIFETIME
    world.read()
    assert world.status("shared") == (), "it was, and is no more"


def test_the_addresses_that_logins_came_in_on_are_never_granted(world: World) -> None:
    world.read(login(NOW))
    world.read(login(NOW + 1, SERVER))
    assert world.left(SERVER) == 0
    assert world.status("today")["refused.own-address"] == 1


def test_a_turn_reads_a_part_of_each_log_so_that_others_have_their_turn(world: World) -> None:
    blocks = [login(NOW, f"10.0.0.{number}") for number in range(1, 2 * CHUNKS_A_TURN + 2)]
    world.restart(others=[Reel(*blocks), Reel(*blocks)])
    for lines in (CHUNKS_A_TURN, 2 * CHUNKS_A_TURN):
        assert world.watcher.turn(), "there is more"
        assert world.status("today")["lines"] == 2 * lines
    assert not world.watcher.turn()
    assert world.status("addresses") == len(blocks)


def prove_ends(world: World) -> None:
    world.read(login(NOW - 60, B, "bob", "first"), ended(NOW - 50, "first", "bob"))


def test_nothing_is_renewed_before_the_log_is_read_to_its_end(world: World) -> None:
    """The end of a session may lie in the part that is unread."""
    prove_ends(world)
    world.read(login(NOW, session="s"))
    world.now += LIFETIME - 10
    world.restart(others=[Reel(*[noise(world.now, 1)] * 3 * CHUNKS_A_TURN, ended(world.now, "s"))])
    turns = 1
    while world.watcher.turn():
        assert world.left() == 10, "not renewed"
        turns += 1
        assert turns < 500
    assert world.left() == LIFETIME, "it ended now"
    assert world.status("held") == 0


def test_nothing_is_renewed_while_a_log_cannot_be_read(world: World, caplog: pytest.LogCaptureFixture) -> None:
    prove_ends(world)
    world.read(login(NOW, session="s"))
    world.restart(others=[Reel()])
    world.others[0].sick = True
    world.now += LIFETIME - 10
    assert not world.watcher.turn()
    assert world.left() == 10, "not renewed"
    assert caplog.messages == ["cannot read: reading other.log: Input/output error; will be tried again"]
    world.read(login(world.now, "192.0.2.12"))
    assert world.left("192.0.2.12") == LIFETIME, "the others are read"
    world.others[0].sick = False
    world.read()
    assert world.left() == LIFETIME, "renewed"


@pytest.mark.parametrize("status", ["unreadable", "refused"])
def test_nothing_is_renewed_while_a_log_may_not_be_read(world: World, status: str) -> None:
    prove_ends(world)
    world.read(login(NOW, session="s"))
    world.restart(others=[Reel()])
    world.others[0].status = status
    world.now += LIFETIME - 10
    world.offset += LIFETIME - 10
    world.read()
    assert world.left() == 10, "its closing line may lie there"
    world.others[0].status = "missing"
    world.read()
    assert world.left() == LIFETIME, "in a log that is not there nothing lies unread"


def test_a_session_that_began_before_the_boot_is_not_held_though_it_is_read_after_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No session outlives the machine: the line lay unread when it went down, and no closing line will come."""
    prove_ends(world)
    world.append(login(NOW, session="before"))
    monkeypatch.setattr(clocks, "boot_id", lambda: "another")
    world.restart(now=NOW + 100, offset=NOW + 50)
    world.read(login(NOW + 50, B, "bob", "after"))
    assert (world.left(A), world.left(B)) == (LIFETIME - 100, LIFETIME - 50)
    assert world.status("held") == 1
    world.now += LIFETIME - 60
    world.read()
    assert (world.left(A), world.left(B)) == (0, LIFETIME)


def test_a_gap_in_a_log_is_noted_and_counted(world: World) -> None:
    other = Reel()
    other.gaps = [Gap("lines were lost", NOW - 5)]
    world.restart(others=[other])
    world.read()
    assert [note.partition(" ")[2] for note in world.status("notes")] == ["gap in other.log: lines were lost"]
    world.read(login(NOW))
    assert world.status("today") == {"gap": 1, "lines": 1, "login": 1}


@contextmanager
def full_disk(world: World) -> Iterator[None]:
    """The map can still be written, and the books, a larger file, cannot."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    room = (world.directory / "relay.mdb").stat().st_size + (16 << 10)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_a_full_disk_kept_out_is_entered_later_and_once(world: World) -> None:
    world.read(*(login(NOW - 1, f"10.0.0.{number}") for number in range(1, 9)))
    world.append(login(NOW, A))
    with full_disk(world):
        for _ in range(2):
            assert not world.watcher.turn()
            assert "cannot be written" in world.status("degraded")
            assert (world.status("addresses"), world.status("today")["lines"]) == (8, 8)
        world.append(login(NOW, B))
        assert not world.watcher.turn()
    world.read()
    assert world.status("degraded") == ""
    assert (world.left(A), world.left(B)) == (LIFETIME, LIFETIME)
    assert world.status("today") == {"lines": 10, "login": 10}


UNDONE: list[tuple[str, Callable[[World], object]]] = [
    ("revoked", lambda world: handle(world.watcher, {"command": "revoke", "address": A})),
    ("all revoked", lambda world: handle(world.watcher, {"command": "revoke", "what": "all"})),
    ("nothing else", lambda world: world.read()),
    ("another login", lambda world: world.read(login(NOW, B))),
]


@pytest.mark.parametrize("then", [row[1] for row in UNDONE], ids=[row[0] for row in UNDONE])
def test_what_was_published_and_then_could_not_be_committed_is_taken_back(
    world: World, then: Callable[[World], object]
) -> None:
    """The map is written before the books: an address in it that they do not know could not be revoked."""
    with full_disk(world), pytest.raises(StoreError):
        handle(world.watcher, {"command": "grant", "address": A, "seconds": 7 * 86400})
    then(world)
    assert world.left(A) == 0


def test_what_was_taken_out_and_then_could_not_be_committed_is_published_again(world: World) -> None:
    world.read(login(NOW))
    with full_disk(world), pytest.raises(StoreError):
        handle(world.watcher, {"command": "revoke", "what": "all"})
    world.read()
    assert world.left(A) == LIFETIME, "the administrator was told that it failed"


def test_full_books_are_made_room_in_and_the_batch_is_entered(world: World) -> None:
    world.books._env.set_mapsize(1 << 18)
    world.read(*(login(NOW, f"10.1.{number >> 8}.{number & 255}") for number in range(2500)))
    assert (world.status("addresses"), world.status("degraded")) == (2500, "")
    assert world.status("today")["books.grown"] >= 1


def test_full_books_that_cannot_grow_are_trouble_that_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.books, "grow", lambda: False)
    world.books._env.set_mapsize(1 << 18)
    world.append(*(login(NOW, f"10.1.{number >> 8}.{number & 255}") for number in range(2500)))
    assert any(not world.watcher.turn() for _ in range(500))
    assert "a shorter `history` makes room" in world.status("degraded")
    world.books._env.set_mapsize(1 << 24)
    world.read()
    assert (world.status("addresses"), world.status("degraded")) == (2500, "")


def test_books_that_break_while_they_are_made_room_in_end_the_process(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks() -> bool:
        raise StoreBrokenError("no address space")

    monkeypatch.setattr(world.books, "grow", breaks)
    world.books._env.set_mapsize(1 << 18)
    world.append(*(login(NOW, f"10.1.{number >> 8}.{number & 255}") for number in range(2500)))
    with pytest.raises(StoreBrokenError):
        for _ in range(500):
            world.watcher.turn()


@pytest.mark.parametrize("error", [StoreBrokenError("half-way"), ValueError("a bug of ours")])
def test_what_cannot_be_mended_here_ends_the_process(
    world: World, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(world.map, "apply", fail)
    world.append(login(NOW))
    with pytest.raises(type(error)):
        world.watcher.turn()


def broken(at: int) -> str:
    return line(at, "imap-login: Info: Login: user=<anna>, method=PLAIN, rip=192.0.2.10, lip=, mpid=1, TLS=yes-or-no")


def journal_record(at: int) -> dict[str, object]:
    trusted = {"_UID": b"0", "_EXE": LOG_PROCESS.encode(), "_TRANSPORT": b"syslog", "_SYSTEMD_UNIT": UNIT.encode()}
    said = login(at).partition("Info: ")
    message = "imap-login: " + said[2].rstrip("\n")
    return {**trusted, "SYSLOG_IDENTIFIER": b"dovecot", "__REALTIME_TIMESTAMP": at * 10**6, "MESSAGE": message.encode()}


def test_a_login_in_a_record_of_the_journal_is_published_and_counted(world: World) -> None:
    reel = Reel()
    world.restart(others=[reel])
    forged = journal_record(NOW) | {"_UID": b"1000"}
    reel.records.append((journal_record(NOW - 10), forged))
    world.read()
    assert world.left() == LIFETIME - 10
    assert world.status("today") == {"lines": 2, "login": 1, "refused.untrusted": 1}


def conditions(world: World) -> dict[str, str]:
    return {one.word: one.evidence for one in world.status("conditions")}


def test_lines_that_look_like_logins_and_are_not_understood_are_told_with_a_sample(world: World) -> None:
    world.read(*[broken(NOW)] * 4)
    assert conditions(world) == {}
    world.read(noise(NOW, 1), broken(NOW), broken(NOW + 1), noise(NOW, 1))
    evidence = conditions(world)["login-not-understood"]
    assert "lines look like logins and are not understood" in evidence
    assert evidence.endswith(f" Sample: {broken(NOW).strip()}"), "the first of them"
    assert world.status("degraded") == f"{world.log}: {evidence}"
    world.read(*[login(NOW + number, f"192.0.2.{number}") for number in range(20, 28)])
    assert conditions(world) == {}
    assert world.status("degraded") == ""


def test_a_log_that_speaks_and_tells_of_no_login_is_told_without_a_sample(world: World) -> None:
    world.read(login(NOW))
    world.now += 7 * HOUR
    world.read(noise(world.now, 150))
    evidence = conditions(world)["no-login-seen"]
    assert "no login was recognised for 420 minutes" in evidence
    assert "Sample" not in evidence
    assert world.status("degraded") == "", "nothing is lost yet, as far as can be told"


@pytest.mark.parametrize(("hours", "how"), [(-1, "before they were written"), (1, "ahead of our clock")])
def test_logins_in_another_time_zone_are_told_until_one_is_in_time(world: World, hours: int, how: str) -> None:
    world.read(noise(NOW, 1))
    for number in range(5):
        assert conditions(world) == {}
        world.now += 10
        world.read(login(world.now + hours * HOUR, f"192.0.2.{number + 20}"))
    evidence = conditions(world)["login-times-off"]
    assert evidence == f"the last 5 logins were stamped 1h 0m {how}, so none of them grants"
    assert world.status("degraded") == f"{world.log}: {evidence}"
    assert world.status("addresses") == 0
    world.read(login(world.now))
    assert conditions(world) == {}


def test_old_logins_that_are_caught_up_are_no_sign_of_another_time_zone(world: World) -> None:
    world.watcher.close()
    world.append(*[login(NOW - HOUR, f"192.0.2.{number}") for number in range(20, 40)])
    world.start()
    world.read()
    assert conditions(world) == {}


def test_how_long_a_log_is_usually_silent_is_kept_over_a_restart(world: World) -> None:
    world.now += 5 * HOUR
    world.read(noise(world.now, 150), login(world.now))
    world.restart()
    world.now += 7 * HOUR
    world.read(noise(world.now, 150))
    assert conditions(world) == {}
    world.now += 9 * HOUR
    world.read(noise(world.now, 1))
    assert "no login was recognised" in conditions(world)["no-login-seen"]


def test_a_log_that_is_missing_from_the_start_is_told_at_once_and_over_when_it_comes(world: World) -> None:
    world.log.unlink()
    world.restart()
    world.watcher.turn()
    assert list(conditions(world)) == ["log-missing"]
    world.log.touch()
    world.watcher.turn()
    assert conditions(world) == {}


def test_a_log_that_is_missing_for_as_long_as_a_rotation_takes_is_not_told_and_then_it_is(world: World) -> None:
    world.read(login(NOW))
    world.log.rename(world.directory / "elsewhere")
    world.watcher.turn()
    world.now += MISSING_SECONDS - 1
    world.watcher.turn()
    assert conditions(world) == {}
    world.now += 1
    world.watcher.turn()
    assert list(conditions(world)) == ["log-missing"]
    assert "dovecot.log" in world.status("degraded")


@pytest.mark.parametrize(("status", "word"), [("unreadable", "log-unreadable"), ("refused", "log-refused")])
def test_a_log_that_cannot_be_read_is_told_at_once_and_alone(world: World, status: str, word: str) -> None:
    reel = Reel()
    world.restart(others=[reel])
    world.watcher.turn()
    assert conditions(world) == {}
    reel.status = status
    world.watcher.turn()
    (one,) = world.status("conditions")
    assert (one.word, one.about) == (word, "other.log")


def test_a_directory_in_the_place_of_a_log_is_told(world: World) -> None:
    world.log.unlink()
    world.log.mkdir()
    world.restart()
    world.watcher.turn()
    assert list(conditions(world)) == ["log-refused"]


def test_lines_that_are_lost_are_told_as_long_as_they_could_have_granted(world: World) -> None:
    reel = Reel()
    world.restart(others=[reel])
    reel.gaps.append(Gap("no copy of it was found", NOW))
    world.watcher.turn()
    assert conditions(world) == {"lines-lost": "no copy of it was found"}
    world.now += LIFETIME - 1
    world.watcher.turn()
    assert list(conditions(world)) == ["lines-lost"]
    world.now += 1
    world.watcher.turn()
    assert conditions(world) == {}


def test_a_journal_without_any_record_of_dovecot_is_told_after_a_while(world: World) -> None:
    reel = JournalReel()
    world.restart(others=[reel])
    world.now += UNSEEN_SECONDS - 1
    world.watcher.turn()
    assert conditions(world) == {}
    world.now += 1
    world.watcher.turn()
    assert conditions(world) == {"dovecot-not-seen": "the journal has no record of Dovecot's"}
    reel.last_at = world.now
    world.watcher.turn()
    assert conditions(world) == {}


def test_damaged_files_are_told_until_what_stood_has_run_out(world: World) -> None:
    world.restart(damaged="books were damaged")
    world.watcher.turn()
    assert conditions(world) == {"files-were-damaged": "books were damaged"}
    world.now += LIFETIME
    world.watcher.turn()
    assert conditions(world) == {}


def test_lines_that_quote_a_login_are_no_sign(world: World) -> None:
    quoted = login(NOW).partition("imap-login: Info: ")[2].strip()
    for _ in range(50):
        world.read(line(NOW, f"auth: Info: passwd(imap-login: {quoted},203.0.113.5): unknown user"))
    assert conditions(world) == {}
    assert world.status("today")["refused.wrong-process"] == 50


def test_a_log_that_is_itself_a_mount_point_is_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mountinfo = world.directory / "mountinfo"
    monkeypatch.setattr("popauthd.mounts.MOUNTINFO", str(mountinfo))
    here = str(world.directory.resolve()).replace(" ", "\\040")
    mountinfo.write_text(f"36 35 98:0 / {here} rw - ext4 /dev/a rw\n")
    world.restart()
    assert conditions(world) == {}
    mountinfo.write_text(f"36 35 98:0 /log {here}/dovecot.log rw - ext4 /dev/a rw\n")
    world.restart()
    assert list(conditions(world)) == ["log-is-mount-point"]


def test_it_is_known_when_a_line_of_dovecot_was_last_seen(world: World) -> None:
    world.read(noise(NOW, 1))
    assert world.status("sources")[0].last_dovecot_line_at == NOW
    world.now += 59
    world.read(noise(world.now, 1))
    assert world.status("sources")[0].last_dovecot_line_at == NOW, "to a minute"
    world.now += 1
    world.read(noise(world.now, 1))
    assert world.status("sources")[0].last_dovecot_line_at == NOW + 60


TELLERS: list[tuple[str, dict[str, object], dict[str, int]]] = [
    ("a log alone", {}, {"login": 2}),
    ("a log, and Dovecot itself", {"pushed": True}, {"login": 1, "login.twice": 1}),
]


@pytest.mark.parametrize(("change", "counts"), [row[1:] for row in TELLERS], ids=[row[0] for row in TELLERS])
def test_a_login_that_is_told_in_two_ways_is_counted_once(
    world: World, change: dict[str, object], counts: dict[str, int]
) -> None:
    world.restart(**change)
    world.read(login(NOW, session="s"))
    assert tell(world.watcher, Login(NOW, A, "anna", "imap", "PLAIN", True, "s", SERVER, "dovecot"), "push")
    assert world.status("today") == {"lines": 1, **counts}


def test_an_opening_line_that_comes_again_from_a_second_log_opens_nothing(world: World) -> None:
    second = Reel()
    world.restart(others=[second])
    world.read(login(NOW, session="s"), ended(NOW, "s"))
    second.blocks = [login(NOW, session="s").encode()]
    world.read()
    assert (world.status("held"), world.status("today")["login.twice"]) == (0, 1)


ENTERED: list[tuple[str, Login, bool, int]] = [
    ("granted", Login(NOW, A, "anna", "imap", "PLAIN", True, "s", SERVER, "push"), True, LIFETIME),
    ("refused", Login(NOW, A, "anna", "imap", "ANONYMOUS", True, "s", SERVER, "push"), False, 0),
    ("its own server's address", Login(NOW, A, "anna", "imap", "PLAIN", True, "s", A, "push"), False, 0),
]


@pytest.mark.parametrize(("told", "entered", "left"), [row[1:] for row in ENTERED], ids=[row[0] for row in ENTERED])
def test_what_dovecot_tells_is_answered_when_it_is_published(
    world: World, told: Login, entered: bool, left: int
) -> None:
    assert tell(world.watcher, told, "push") is entered
    assert world.left() == left
    assert world.status("held") == 0, "only a log tells of its end"


def test_what_dovecot_tells_and_cannot_be_entered_is_not_kept(world: World) -> None:
    told = Login(NOW, A, "anna", "imap")
    with full_disk(world), pytest.raises(StoreError, match="cannot be written"):
        tell(world.watcher, told, "push")
    world.read()
    assert (world.status("addresses"), world.left(A)) == (0, 0)
    assert tell(world.watcher, told, "push")
    assert world.left(A) == LIFETIME


def test_a_login_that_dovecot_tells_counts_from_after_a_step_of_the_clock(world: World) -> None:
    world.read(login(NOW))
    world.now -= HOUR
    world.offset -= HOUR
    assert tell(world.watcher, Login(world.now, B, "bob", "imap"), "push")
    world.read()
    assert (world.left(A), world.left(B)) == (LIFETIME, LIFETIME)


class LaggingReel(Reel):
    """A log that lags behind: whoever reads it knows that there is more."""

    def read(self, now: int) -> Chunk | None:
        chunk = super().read(now)
        return None if chunk is None else replace(chunk, behind_bytes=sum(map(len, self.blocks)))


@pytest.fixture
def lagging(world: World, monkeypatch: pytest.MonkeyPatch) -> World:
    """A watcher on a log that lags behind by more than one turn; no batch of it is entered because of the time."""
    monkeypatch.setattr(watcher, "TURN_SECONDS", 3600)
    monkeypatch.setattr(intake, "WAIT_SECONDS", 3600)
    world.read(login(NOW - 1, "192.0.2.99", "carl"))  # an address of this machine that is new is a change of the limits
    blocks = [login(NOW, f"10.0.0.{number}", "bob") for number in range(1, 2 * CHUNKS_A_TURN)]
    world.restart(others=[LaggingReel(login(NOW, session="s"), *blocks)])
    return world


def test_the_blocks_of_a_log_that_lags_behind_are_entered_together(lagging: World) -> None:
    assert lagging.watcher.turn(), "there is more"
    assert (lagging.status("today")["lines"], lagging.status("addresses")) == (1, 1)
    assert lagging.watcher.unread_seconds > 0
    assert any(not lagging.watcher.turn() for _ in range(3))
    assert lagging.status("today") == {"lines": 1 + 2 * CHUNKS_A_TURN, "login": 1 + 2 * CHUNKS_A_TURN}
    assert lagging.status("addresses") == 1 + 2 * CHUNKS_A_TURN
    assert lagging.watcher.unread_seconds == 0


@pytest.mark.parametrize("pushed", [False, True])
def test_a_batch_that_is_full_is_entered_and_a_smaller_one_where_others_wait(
    lagging: World, monkeypatch: pytest.MonkeyPatch, pushed: bool
) -> None:
    monkeypatch.setattr(intake, "FULL", CHUNKS_A_TURN - 1)
    monkeypatch.setattr(intake, "FULL_WITH_OTHERS", CHUNKS_A_TURN - 2)
    lagging.watcher.intake.heed(many_ways=True, waited_for=pushed)
    lagging.watcher.turn()
    assert lagging.status("today")["lines"] == 1 + CHUNKS_A_TURN - (2 if pushed else 1)


def test_a_batch_that_has_waited_long_enough_is_entered(lagging: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "WAIT_SECONDS", 0)
    lagging.watcher.turn()
    assert lagging.status("today")["lines"] == 1 + CHUNKS_A_TURN


def test_a_turn_ends_after_a_while_though_a_log_lags_behind(lagging: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher, "TURN_SECONDS", 0)
    assert lagging.watcher.turn(), "there is more"
    assert len(lagging.others[0].blocks) == 2 * CHUNKS_A_TURN - 1


def test_a_batch_of_a_log_that_cannot_be_read_any_more_is_entered(lagging: World) -> None:
    lagging.watcher.turn()
    lagging.others[0].sick = True
    lagging.watcher.turn()
    assert lagging.status("today")["lines"] == 1 + CHUNKS_A_TURN


def test_a_batch_waits_for_no_step_of_the_clock(lagging: World) -> None:
    lagging.watcher.turn()
    lagging.now -= HOUR
    lagging.offset -= HOUR
    lagging.others[0].blocks.clear()
    assert not lagging.watcher.turn()
    assert lagging.left() == LIFETIME


def test_a_batch_is_judged_again_where_the_limits_change_before_it_is_entered(lagging: World) -> None:
    """`B` is learnt as an address of this machine after logins from it were judged, and before they are entered."""
    lagging.others[0].blocks[1] = login(NOW, B).encode()
    lagging.watcher.turn()
    assert not tell(lagging.watcher, Login(NOW, B, "bob", "imap", local_address=B), "push")
    lagging.watcher.turn()
    assert (lagging.left(), lagging.left(B)) == (LIFETIME, 0)


def test_a_revocation_ends_the_logins_of_a_batch_that_waits(lagging: World) -> None:
    lagging.watcher.turn()
    handle(lagging.watcher, {"command": "revoke", "user": "anna"})
    lagging.watcher.turn()
    assert (lagging.left(), lagging.status("today")["refused.revoked"]) == (0, 1)


def test_a_batch_that_waits_is_entered_before_the_disk_is_full_again(lagging: World) -> None:
    with full_disk(lagging):
        lagging.watcher.turn()
        lagging.watcher.turn()
        assert "cannot be written" in lagging.status("degraded")
        unread = len(lagging.others[0].blocks)
        lagging.watcher.turn()
        assert len(lagging.others[0].blocks) == unread, "nothing more is read"
    lagging.read()
    assert lagging.status("today")["login"] == 1 + 2 * CHUNKS_A_TURN


def test_what_led_to_no_login_is_counted_with_the_next_batch(world: World) -> None:
    world.watcher.turn()  # what is counted alone is counted every few seconds
    world.watcher.housekeeping.notes.count({"push.bad": 2})
    world.read(noise(NOW, 1))
    assert world.status("today") == {"lines": 1, "push.bad": 2}
    world.read(noise(NOW, 1))
    assert world.status("today") == {"lines": 2, "push.bad": 2}


def test_the_trouble_of_the_house_is_shown(world: World) -> None:
    refused = world.directory / "revocations.jsonl.new"
    refused.mkdir()
    (refused / "x").touch()
    world.books.revocations.trouble = "revocations cannot be written"
    world.watcher.turn()
    assert "cannot be written" in world.status("degraded")


def test_a_source_with_a_descriptor_wakes_the_loop(world: World) -> None:
    waking, silent = Reel(), Reel()
    silent.descriptor = None
    world.restart(others=[waking, silent])
    assert [descriptor for descriptor, _process in world.watcher.descriptors()] == [7]
    process: Callable[[], None] = next(iter(world.watcher.descriptors()))[1]
    process()
    assert (waking.woken, silent.woken) == (1, 0)
    assert list(world.watcher.asked) == [waking, silent]


def test_whether_a_turn_found_something_is_told(world: World) -> None:
    reel = Reel("a line\n")
    world.restart(others=[reel])
    found = []
    for _turn in range(2):
        world.watcher.turn()
        found.append(world.watcher.found)
    assert found == [True, False]


def test_everything_is_closed(world: World) -> None:
    world.restart(others=[Reel()])
    world.watcher.close()
    assert world.others[0].closed
    Books(str(world.directory / "books.mdb")).close()
    world.start()
    assert world.status("pushed") == ()
    world.watcher.hearing.append(PushStatus("push", "/run/push.sock"))
    assert world.status("pushed") == (PushStatus("push", "/run/push.sock"),)
