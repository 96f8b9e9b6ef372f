"""What the watcher does by the clock: time steps, reboots, changed limits, renewals, and room in the books."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from popauthd import clock as clocks
from popauthd.address import network
from popauthd.errors import StoreFullError
from popauthd.model import Grant, Login
from popauthd.policy.decide import decide
from popauthd.policy.limits import Limits
from popauthd.policy.user_list import parse
from popauthd.store.books import Books, Rules, Writing
from popauthd.store.books.shared import SharedAddresses
from popauthd.store.host_list import HostList
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from popauthd.watch.limits_in_force import LimitsInForce
from tests.support.helpers import published_expiry
from tests.support.policy import default_limits
from tests.support.watching import housekeeping_of

A, B, C = "192.0.2.10", "192.0.2.11", "2001:db8::7"
NOW = 1_795_467_600
LIFETIME, HOUR, DAY = 900, 3600, 86400
LIMITS = default_limits()
RULES = Rules(shared_users=3, hold_seconds=12 * HOUR)


def granted(login: Login, now: int, limits: Limits = LIMITS) -> Grant:
    """The grant that a login is."""
    verdict = decide(login, limits, now)
    assert isinstance(verdict, Grant), verdict
    return verdict


@dataclass
class World:
    """Books, map and housekeeping, with a wall clock and a boot clock in the test's hand."""

    directory: Path
    monkeypatch: pytest.MonkeyPatch
    limits: Limits = LIMITS
    rules: Rules = RULES
    dry_run: bool = False
    now: int = NOW
    uptime: int = 1000
    boot: str = "one"

    def start(self) -> None:
        self.monkeypatch.setattr(clocks, "boot_id", lambda: self.boot)
        path = self.directory / "relay.mdb"
        self.books = Books(str(self.directory / "books.mdb"), self.rules)
        listed = HostList(str(self.directory / "relay-hosts"))
        self.publisher = Publisher(MapWriter(str(path)), listed, dry_run=self.dry_run)
        self.ledger, self.housekeeping = housekeeping_of(
            self.books, self.publisher, self.limits, lambda: self.now - self.uptime, HOUR
        )
        self.housekeeping.prepare(self.now)
        with self.ledger.beginning() as writing:
            self.housekeeping.start(writing, self.now)
        self.ledger.publish_due()

    def stop(self) -> None:
        self.housekeeping.close()
        self.ledger.close()

    def restart(self, **change: object) -> None:
        """Stop, change something of the world, and start again."""
        self.stop()
        for name, value in change.items():
            setattr(self, name, value)
        self.start()

    def reboot(self, now: int) -> None:
        self.restart(now=now, uptime=30, boot=self.boot + "'")

    def step(self, seconds: int) -> None:
        """Set the wall clock, and let the watcher see it."""
        self.now += seconds
        self.tend()

    def wait(self, seconds: int) -> None:
        self.now += seconds
        self.uptime += seconds
        self.tend()

    def tend(self, *, caught_up: bool = True) -> None:
        self.housekeeping.tend_clock(self.now)
        self.housekeeping.tend(self.now, caught_up=caught_up)

    def login(self, user: str = "anna", address: str = A, ago: int = 0, **facts: object) -> str:
        login = Login(self.now - ago, address, user, "imap", "PLAIN", True, format="dovecot")
        login = replace(login, **facts)  # type: ignore[arg-type]
        grant = granted(login, self.now, self.housekeeping.limits.now)
        with self.books.writing() as writing:
            reason = writing.logins.grant(grant, self.now)
            if login.session:
                writing.sessions.open(login.session, grant, self.now)
            self.publisher.apply(writing)
        return reason

    def prove_ends(self) -> None:
        """Let the log tell of the end of a session."""
        self.login("first", "192.0.2.250", ago=800, session="first")
        with self.books.writing() as writing:
            writing.sessions.end("first", self.now - 790, self.now)

    def revoke(self, change: Callable[..., object]) -> None:
        with self.books.writing() as writing:
            change(writing, self.now)
            self.publisher.apply(writing)

    def left(self, address: str = A) -> int:
        """For how many seconds more the map lets an address relay."""
        return max(0, (published_expiry(self.publisher._map, address) or 0) - self.now)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    made = World(tmp_path, monkeypatch)
    made.start()
    yield made
    made.stop()


BEHIND = [2, 60, 2 * HOUR, 30 * DAY, 20_000 * DAY]


@pytest.mark.parametrize("behind", BEHIND)
def test_a_boot_whose_clock_is_behind_lengthens_nothing(world: World, behind: int) -> None:
    world.login(ago=100)
    world.revoke(lambda writing, now: writing.logins.grant_by_hand(B, now, now + 7 * DAY))
    world.reboot(world.now - behind)
    assert world.left() <= LIFETIME - 100
    assert world.left(B) <= 7 * DAY
    world.wait(LIFETIME - 100)
    assert world.left() == 0


@pytest.mark.parametrize("behind", BEHIND)
def test_what_was_revoked_stays_so_when_the_clock_is_behind_and_when_it_is_put_right(world: World, behind: int) -> None:
    world.login(ago=10)
    old = Login(world.now - 10, A, "anna", "imap", "PLAIN", True, format="dovecot")
    world.wait(5)
    world.revoke(lambda writing, now: writing.revocations.revoke_user("anna", now))
    world.reboot(world.now - behind)
    assert world.left() == 0
    world.wait(1)
    assert world.login() == "", "who logs in now may relay"
    assert world.left() == LIFETIME
    world.step(behind)
    with world.books.writing() as writing:
        assert writing.logins.grant(granted(old, world.now), world.now) == "revoked", "what is read of that time"
        world.publisher.apply(writing)
    assert world.left() <= LIFETIME
    assert world.login() == ""


def test_a_clock_set_back_twice_and_forth_lengthens_nothing_that_stands(world: World) -> None:
    world.login()
    left = LIFETIME
    for step in (-3600, 50, -7, 3650, -90, 40, -40 * DAY):
        world.step(step)
        assert world.left() <= left
        left = min(left, world.left())


def test_a_clock_set_back_while_stopped_is_seen_at_the_start(world: World) -> None:
    world.login(ago=100)
    world.restart(now=world.now - HOUR)
    assert world.left() == LIFETIME - 100
    world.restart(now=world.now - 50, uptime=world.uptime + 10)
    assert world.left() <= LIFETIME - 110 + 60


def test_a_login_after_the_clock_was_set_back_counts_from_its_own_time(world: World) -> None:
    """The step is seen before the login is entered, or it would be moved as if it had been there before."""
    world.login("bob", B)
    world.now -= HOUR
    world.housekeeping.tend_clock(world.now)
    world.login()
    world.tend()
    assert world.left() == LIFETIME


def test_order_between_logins_and_revocations_outlives_a_step(world: World) -> None:
    world.revoke(lambda writing, now: writing.revocations.revoke_address(A, now))
    world.wait(1)
    world.login()
    world.step(-60)
    assert world.left() == LIFETIME, "it came after the revocation"
    world.revoke(lambda writing, now: writing.revocations.revoke_address(A, now))
    assert world.left() == 0


def test_a_login_stays_newer_than_a_revocation_that_the_step_leaves_where_it_is(world: World) -> None:
    world.revoke(lambda writing, now: writing.revocations.revoke_address(A, now))
    world.wait(1)
    world.login()
    world.wait(600)
    world.step(-100)
    assert world.left() == 300
    world.revoke(lambda writing, now: writing.published.recompute(A, now))
    assert world.left() == 300


def test_a_line_from_before_the_step_does_not_open_what_was_revoked(world: World, tmp_path: Path) -> None:
    """Revoked, set back by a minute, and the books lost: the log is read again."""
    old = Login(world.now, A, "anna", "imap", "PLAIN", True, format="dovecot")
    world.login()
    world.wait(1)
    world.revoke(lambda writing, now: writing.revocations.revoke_user("anna", now))
    world.step(-60)
    world.stop()
    (tmp_path / "books.mdb").unlink()
    world.start()
    for _ in range(3):
        with world.books.writing() as writing:
            assert writing.logins.grant(granted(old, world.now), world.now) == "revoked"
        world.wait(20)


TIGHTER: list[tuple[str, dict[str, object], dict[str, object]]] = [
    ("never", {"never": (network(A),)}, {}),
    ("proxies", {"proxies": (network("192.0.2.0/24"),)}, {}),
    ("own addresses", {"own_addresses": (network(A),)}, {}),
    ("require_tls", {"require_tls": True}, {"tls": False}),
    ("protocols", {"protocols": ("pop3",)}, {}),
    ("mechanisms", {"refuse_mechanisms": ("PLAIN",)}, {}),
    ("a mechanism that is not known", {"refuse_mechanisms": ("LOGIN",)}, {"method": ""}),
    ("denied users", {"denied": parse("anna")}, {}),
    ("listed users", {"users": parse("bob")}, {}),
]


@pytest.mark.parametrize(("limits", "facts"), [row[1:] for row in TIGHTER], ids=[row[0] for row in TIGHTER])
def test_a_tighter_limit_ends_what_it_would_not_grant(
    world: World, limits: dict[str, object], facts: dict[str, object]
) -> None:
    world.prove_ends()
    world.login(session="s", **facts)  # type: ignore[arg-type]
    assert world.left() == LIFETIME
    world.restart(limits=replace(LIMITS, **limits))  # type: ignore[arg-type]
    assert world.left() == 0
    for _ in range(4):
        world.wait(LIFETIME // 2)
        assert world.left() == 0, "and its session holds nothing"


def test_a_limit_that_would_still_grant_it_leaves_it(world: World) -> None:
    world.login()
    world.restart(limits=replace(LIMITS, require_tls=True, protocols=("imap",), refuse_mechanisms=("LOGIN",)))
    assert world.left() == LIFETIME


def test_a_shorter_lifetime_shortens_what_stands_and_a_longer_one_lengthens_nothing(world: World) -> None:
    world.login(ago=100)
    world.revoke(lambda writing, now: writing.logins.grant_by_hand(B, now, now + DAY))
    world.restart(limits=replace(LIMITS, lifetime_seconds=300))
    assert world.left() == 200
    assert world.left(B) == DAY, "what an administrator granted has its own length"
    world.restart(limits=LIMITS)
    assert world.left() == 200
    world.restart(limits=replace(LIMITS, lifetime_seconds=60))
    assert world.left() == 0


def test_many_logins_are_judged_in_several_transactions_and_none_is_left_out(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("popauthd.watch.limits_in_force.JUDGED_AT_ONCE", 10)
    addresses = [f"192.0.2.{number}" for number in range(20)]
    for address in addresses:
        for user in ("anna", "bob"):
            world.login(user, address)
    limits = replace(LIMITS, denied=parse("anna"), never=(network("192.0.2.7"),))
    world.housekeeping.limits._configured = world.housekeeping.limits.now = limits
    world.housekeeping.limits.learn_own(["198.51.100.5"])
    turns = 1
    while world.housekeeping.tend(world.now, caught_up=True):
        turns += 1
    assert turns > 5, "other work comes to its turn meanwhile"
    with world.books.reading() as reading:
        standing = {(row.address, row.user) for row in reading.logins.of() if row.expires_at > world.now}
    assert standing == {(address, "bob") for address in addresses if address != "192.0.2.7"}
    assert [address for address in addresses if not world.left(address)] == ["192.0.2.7"]


@pytest.mark.parametrize("stopped", [False, True], ids=["running", "over a restart"])
def test_limits_that_come_back_before_all_was_judged_by_others_end_what_those_let_in(
    world: World, monkeypatch: pytest.MonkeyPatch, stopped: bool
) -> None:
    monkeypatch.setattr("popauthd.watch.limits_in_force.JUDGED_AT_ONCE", 10)
    strict = replace(LIMITS, denied=parse("anna"))
    world.restart(limits=strict)
    for number in range(40):
        world.login("bob", f"192.0.2.{number}")

    def go_by(limits: Limits) -> bool:
        in_force = world.housekeeping.limits
        in_force._configured = limits
        in_force._apply_own()
        in_force._judge_again()
        return world.housekeeping.tend(world.now, caught_up=True)

    assert go_by(LIMITS), "some were judged, and more are to be"
    world.login("anna", C)
    assert world.left(C)
    if stopped:
        world.restart()
    else:
        more = go_by(strict)
        while more:
            more = world.housekeeping.tend(world.now, caught_up=True)
    assert not world.left(C)


def test_logins_that_are_judged_at_a_start_are_published_when_all_have_been(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("popauthd.watch.limits_in_force.PREPARED_AT_ONCE", 10)
    for number in range(20):
        world.login("anna", f"192.0.2.{number}")
    world.stop()
    (world.directory / "relay.mdb").unlink()
    world.limits = replace(LIMITS, denied=parse("anna"))
    seen = []
    judged = LimitsInForce._judge_some

    def watched(self: LimitsInForce, writing: Writing, now: int, at_most: int) -> bytes:
        seen.append(sum(world.left(f"192.0.2.{number}") > 0 for number in range(20)))
        return judged(self, writing, now, at_most)

    monkeypatch.setattr(LimitsInForce, "_judge_some", watched)
    world.start()
    assert len(seen) > 5
    assert set(seen) == {0}
    assert not any(world.left(f"192.0.2.{number}") for number in range(20))


def test_a_shorter_lifetime_of_a_network_shortens_what_stands_in_it(world: World) -> None:
    world.login()
    world.login("bob", B)
    world.restart(limits=replace(LIMITS, lifetime_by_network=((network(A), 120),)))
    assert (world.left(), world.left(B)) == (120, LIFETIME)


@pytest.mark.parametrize("before", [6, 2], ids=["just renewed", "soon to be renewed"])
def test_an_open_session_is_renewed_by_the_shorter_lifetime(world: World, before: int) -> None:
    world.prove_ends()
    world.login(session="s")
    for _ in range(before):
        world.wait(200)
    world.restart(limits=replace(LIMITS, lifetime_seconds=300))
    for _ in range(20):
        assert 0 < world.left() <= 300
        world.wait(100)


@pytest.mark.parametrize("hold", [HOUR, 0], ids=["shorter", "not at all"])
def test_a_session_that_may_be_held_less_long_is_cut_short(world: World, hold: int) -> None:
    world.prove_ends()
    world.login(session="s")
    for _ in range(12):
        world.wait(300)  # one hour
    assert world.left() > 0
    world.restart(rules=replace(RULES, hold_seconds=hold))
    assert world.left() == 0
    world.wait(LIFETIME)
    assert world.left() == 0


def test_a_session_that_ended_while_none_was_held_is_not_held_again(world: World) -> None:
    world.prove_ends()
    world.login(session="s", ago=60)
    world.restart(rules=replace(RULES, hold_seconds=0))
    world.restart(rules=RULES)
    for left in (540, 240, 0, 0):
        world.wait(300)
        assert world.left() == left


@pytest.mark.parametrize("limit", [2, 1])
def test_fewer_shared_users_close_what_they_would_not_open_and_more_open_it(world: World, limit: int) -> None:
    for user in ("anna", "bob", "carl"):
        world.login(user)
    world.restart(rules=replace(RULES, shared_users=limit))
    assert world.left() == 0
    world.restart(rules=RULES)
    assert world.left() == LIFETIME


def test_shared_addresses_are_read_once_a_second_at_most(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for user in ("anna", "bob", "carl", "dora"):
        world.login(user)
    assert world.left() == 0
    world.tend()
    with monkeypatch.context() as patched:
        patched.setattr(SharedAddresses, "all", lambda _self: pytest.fail("read again"))
        for _ in range(3):
            world.housekeeping._tend_expiries(world.now, caught_up=True)
    world.wait(LIFETIME - 1)
    world.wait(1)
    with world.books.reading() as reading:
        assert [found.until for found in reading.shared.all()] == [0]


def test_users_of_held_and_late_logins_are_counted(world: World) -> None:
    """Many users of one address, all connected, and the watcher was away for longer than the lifetime."""
    world.prove_ends()
    with world.books.writing() as writing:
        for number in range(40):
            late = granted(Login(NOW - 2 * HOUR, A, f"u{number}", "imap", "PLAIN", True), NOW - 2 * HOUR)
            assert writing.logins.hold(late, world.now) == ""
            writing.sessions.open(f"s{number}", late, world.now)
    world.tend()
    assert world.left() == 0
    with world.books.reading() as reading:
        assert [found.until > world.now for found in reading.shared.all()] == [True]
    for number in range(37):
        with world.books.writing() as writing:
            writing.sessions.end(f"s{number}", world.now, world.now)
    world.wait(LIFETIME + 1)
    assert world.left() > 0, "the three who are left hold it"


def test_nothing_is_renewed_while_a_log_is_unread(world: World) -> None:
    world.prove_ends()
    world.login(session="s")
    world.now += LIFETIME
    world.uptime += LIFETIME
    world.tend(caught_up=False)
    assert world.left() == 0, "its closing line may lie unread"
    world.tend()
    assert world.left() == LIFETIME


def test_a_dry_run_on_books_with_grants_publishes_nothing(world: World, tmp_path: Path) -> None:
    listed = tmp_path / "relay-hosts"
    world.login()
    world.restart()
    assert listed.read_text() == f"{A}: {NOW + LIFETIME}\n", "a start writes the list"
    world.restart(dry_run=True)
    assert (world.left(), listed.read_text()) == (0, "")
    world.login("bob", B)
    world.tend()
    assert (world.left(B), listed.read_text()) == (0, "")
    world.restart(dry_run=False)
    assert world.left() == LIFETIME


def test_the_queues_become_shorter_again(world: World) -> None:
    world.prove_ends()
    for number in range(20):
        world.login(f"u{number}", f"192.0.2.{number}", session=f"s{number}")
    for number in range(20):
        with world.books.writing() as writing:
            writing.sessions.end(f"s{number}", world.now, world.now)
    world.wait(3 * HOUR)
    with world.books.reading() as reading:
        left = {
            name: len(list(reading.transaction.scan(name)))
            for name in ("renew", "gone", "sessions", "held", "old", "due")
        }
    assert left == dict.fromkeys(left, 0)


def test_this_machines_addresses_are_learnt_kept_and_not_granted(world: World) -> None:
    world.login(address=C)
    world.housekeeping.limits.learn_own([C, "127.0.0.1", "no address", "::ffff:192.0.2.11"])
    world.tend()
    assert world.left(C) == 0, "what it had is taken back"
    world.restart()
    refused = decide(Login(world.now, B, "bob", "imap"), world.housekeeping.limits.now, world.now)
    assert getattr(refused, "reason", "") == "own-address"
    assert world.login(address=A) == ""
    with world.books.reading() as reading:
        assert reading.meta.own_addresses() == (C, B)


def test_forgetting_goes_on_until_nothing_is_due(world: World) -> None:
    with world.books.writing() as writing:
        for number in range(12_000):
            writing.logins._replace(None, granted(Login(world.now, A, f"u{number}", "imap"), world.now), world.now)
            writing.sessions._remember_ended(b"s%d" % number, world.now, world.now)
    world.now += LIFETIME + 2 * HOUR
    turns = 0
    while world.housekeeping.tend(world.now, caught_up=True):
        turns += 1
    assert turns == 2, "each in a transaction of its own"
    with world.books.reading() as reading:
        assert [
            len(list(reading.transaction.scan(name))) for name in ("logins", "users", "old", "gone", "sessions")
        ] == [0] * 5


def test_renewing_and_sweeping_go_on_until_nothing_is_due(world: World) -> None:
    world.prove_ends()
    with world.books.writing() as writing:
        for number in range(5200):
            grant = granted(Login(world.now, f"10.0.{number >> 8}.{number & 255}", f"u{number}", "imap"), world.now)
            writing.logins.grant(grant, world.now)
            if number < 2100:
                writing.sessions.open(f"s{number}", grant, world.now)
    world.now += LIFETIME
    turns = 0
    while world.housekeeping.tend(world.now, caught_up=True):
        turns += 1
    assert turns == 1, "each in a transaction of its own"
    with world.books.reading() as reading:
        assert reading.published.count() == 2100


def test_full_books_forget_first_and_then_grow(world: World, tmp_path: Path) -> None:
    world.stop()
    (tmp_path / "books.mdb").unlink()
    world.start()
    world.books._env.set_mapsize(1 << 20)

    def fill(first: int, last: int) -> None:
        for begin in range(first, last, 50):
            while True:
                try:
                    with world.books.writing() as writing:
                        for number in range(begin, begin + 50):
                            login = Login(world.now, f"10.0.{number >> 8 & 255}.{number & 255}", f"u{number}", "imap")
                            writing.logins.grant(granted(login, world.now), world.now)
                    break
                except StoreFullError:
                    world.housekeeping.make_room(world.now)

    fill(0, 1500)
    assert world.books.map_bytes == 1 << 20
    world.now += LIFETIME + 2 * HOUR
    with world.books.writing() as writing:
        while writing.published.sweep(world.now):
            pass
    fill(1500, 3000)
    assert world.books.map_bytes == 1 << 20, "what had run out made room"
    fill(3000, 7000)
    assert world.books.map_bytes > 1 << 20, "nothing had run out"
    with world.books.reading() as reading:
        assert reading.published.count() == 5500
    assert any("the books were full" in note for note in world.housekeeping.notes.texts)


def test_books_that_cannot_grow_say_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.books, "grow", lambda: False)
    with pytest.raises(StoreFullError, match="a shorter `history` makes room"):
        world.housekeeping.make_room(world.now)


def test_where_no_end_is_told_that_is_said_once(world: World) -> None:
    world.login(session="s")
    for _ in range(4):
        world.wait(LIFETIME // 2)
    assert [note.partition(" ")[2][:21] for note in world.housekeeping.notes.texts] == ["sessions are not held"]


@pytest.mark.parametrize("boot", [True, False], ids=["boot", "step"])
def test_a_clock_that_is_ahead_for_a_while_makes_nobody_forget_a_revocation(
    world: World, monkeypatch: pytest.MonkeyPatch, boot: bool
) -> None:
    line = granted(Login(NOW, A, "anna", "imap", "PLAIN", True), NOW)
    world.login()
    world.wait(10)
    world.revoke(lambda writing, now: writing.revocations.revoke_user("anna", now))
    if boot:
        world.reboot(world.now + 30 * DAY)
    else:
        world.step(30 * DAY)
    for _ in range(3):
        world.wait(100)
    world.step(-30 * DAY)
    with world.books.writing() as writing:
        assert writing.logins.grant(line, world.now) == "revoked"
    world.step(30 * DAY)
    clock = time.monotonic
    monkeypatch.setattr("popauthd.watch.clock_steps.time.monotonic", lambda: clock() + 600)
    world.wait(100)
    with world.books.reading() as reading:
        assert list(reading.revocations.all()) == [], "a clock that stays so is right"


def test_no_session_is_held_over_a_boot(world: World) -> None:
    world.prove_ends()
    world.login(session="s")
    world.restart()
    with world.books.reading() as reading:
        assert reading.sessions.held_count() == 1, "a restart of the watcher is none"
    world.reboot(world.now + 60)
    with world.books.reading() as reading:
        assert reading.sessions.held_count() == 0
    assert world.left() == LIFETIME - 60


def test_what_is_counted_between_batches_is_entered_soon(world: World) -> None:
    world.housekeeping.notes.count({"push.bad": 2})
    world.tend()
    with world.books.reading() as reading:
        assert reading.counters.of() == {"push.bad": 2}


def test_a_file_of_revocations_that_others_touch_is_taken_in_and_written_again(world: World, tmp_path: Path) -> None:
    file = tmp_path / "revocations.jsonl"
    world.login()
    world.login("bob", B)
    world.wait(1)
    world.revoke(lambda writing, now: writing.revocations.revoke_user("anna", now))
    kept = file.read_bytes()
    with file.open("ab") as added:
        added.write(b'{"revoked_at": %d, "user": "bob"}\n' % world.now)
    world.tend()
    assert (world.left(), world.left(B)) == (0, 0), "a line that an administrator adds counts at once"
    file.unlink()
    world.tend()
    assert kept in file.read_bytes()
    assert b'"bob"' in file.read_bytes()
    assert [note.partition("revocations")[2].split(";")[0].split()[-1] for note in world.housekeeping.notes.texts] == [
        "process",
        "removed",
    ]
    world.tend()
    assert len(world.housekeeping.notes.texts) == 2, "it is told once"


def test_books_that_are_removed_while_the_watcher_runs_are_told(world: World, tmp_path: Path) -> None:
    world.tend()
    assert world.housekeeping.degraded == ""
    (tmp_path / "books.mdb").rename(tmp_path / "elsewhere")
    world.tend()
    assert "were removed or replaced while the watcher runs" in world.housekeeping.degraded
    (tmp_path / "elsewhere").rename(tmp_path / "books.mdb")
    world.tend()
    assert world.housekeeping.degraded == ""


def test_a_clock_set_back_while_stopped_is_seen_though_nothing_happened_for_long(world: World) -> None:
    world.revoke(lambda writing, now: writing.logins.grant_by_hand(A, now, now + DAY))
    world.restart(now=world.now + HOUR - 1800, uptime=world.uptime + HOUR)
    assert world.left() == DAY - HOUR


def test_a_restart_alone_does_not_bring_a_revocation_of_before_the_step_forward(world: World) -> None:
    world.revoke(lambda writing, now: writing.revocations.revoke_address(A, now))
    world.step(-60)
    world.wait(1)
    world.login()
    world.wait(100)
    world.restart()
    assert world.left() == LIFETIME - 100
