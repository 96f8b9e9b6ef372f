"""What the control socket can ask of the watcher: grants by hand, revocations, and who is refused them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from popauthd import __version__
from popauthd.address import parse
from popauthd.errors import UsageError
from popauthd.model import Failure, Login
from popauthd.policy.address_facts import never_reason
from popauthd.reasons import LOGINS
from popauthd.store.books import Books, Rules
from popauthd.store.host_list import HostList
from popauthd.store.publisher import Publisher
from popauthd.store.relay_map import MapWriter
from popauthd.watch.commands import LONGEST_GRANT_SECONDS, TOLD_AT_MOST, handle
from popauthd.watch.watcher import Watcher
from tests.support.helpers import published_expiry
from tests.support.policy import default_limits
from tests.support.watching import housekeeping_of
from tests.support.watching import told as tell

A, SIX = "192.0.2.10", "2001:db8:1:2::7"
NOW = 1_795_467_600


class World:
    """A watcher without a log, to which logins are told."""

    def __init__(self, directory: Path, *, dry_run: bool = False) -> None:
        self.now = NOW
        self.map = str(directory / "relay.mdb")
        books = Books(str(directory / "books.mdb"), Rules(hold_seconds=3600))
        self.listed = directory / "relay-hosts"
        self.offset = NOW - 1000
        self.publisher = Publisher(MapWriter(self.map), HostList(str(self.listed)), dry_run=dry_run)
        ledger, housekeeping = housekeeping_of(books, self.publisher, default_limits(), lambda: self.offset)
        self.watcher = Watcher(ledger, housekeeping, [], pushed=True, clock=lambda: self.now)
        self.watcher.start()

    def login(self, address: str, user: str = "anna", server: str = "198.51.100.5") -> bool:
        return tell(self.watcher, Login(self.now, address, user, "imap", "PLAIN", True, "", server), "push")

    def ask(self, command: str, **request: Any) -> dict[str, Any]:
        return handle(self.watcher, {"command": command, **request})

    def may_relay(self, address: str) -> bool:
        expires_at = published_expiry(self.publisher._map, address)
        return expires_at is not None and expires_at > self.now


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.watcher.close()


def test_an_address_of_this_machine_is_not_granted(world: World) -> None:
    with pytest.raises(UsageError, match="own-address"):
        world.ask("grant", address=A, own_addresses=["127.0.0.1", A])
    with pytest.raises(UsageError, match="own-address"):
        world.ask("grant", address=A)
    assert not world.login(A), "and it is remembered"
    assert not world.may_relay(A)


def test_nor_is_one_that_a_login_came_in_on(world: World) -> None:
    assert world.login("192.0.2.20", server=A)
    with pytest.raises(UsageError, match="own-address"):
        world.ask("grant", address=A)
    with pytest.raises(UsageError, match="own-address"):
        world.ask("grant", address=f"::ffff:{A}")
    assert not world.login(A, server="")


def test_a_list_of_addresses_that_is_none_is_passed_over(world: World) -> None:
    hostile: list[Any] = [None, "192.0.2.10", 7, [7, None, "no address", {}], {A: 1}]
    for told in hostile:
        assert world.ask("grant", address=A, own_addresses=told)["address"] == A


def test_revoking_within_the_same_second_takes_the_grant_back(world: World) -> None:
    for _ in range(20):
        world.ask("grant", address=A, seconds=7 * 86400)
        assert world.may_relay(A)
        assert world.ask("revoke", address=A)["addresses"] == 1
        assert not world.may_relay(A)


def test_everybody_is_revoked_at_once_in_the_map_too(world: World) -> None:
    for number in range(50):
        world.login(f"192.0.2.{100 + number}", f"u{number}")
    reply = world.ask("revoke", what="all")
    assert (reply["revoked_at"], reply["addresses"], reply["warning"]) == (NOW, 50, "")
    assert len(reply["closed"]) == 50
    assert not any(world.may_relay(f"192.0.2.{100 + number}") for number in range(50))
    world.now += 1
    assert world.login(A)
    assert world.may_relay(A)


def test_a_64_is_revoked_with_every_address_in_it_and_no_other(world: World) -> None:
    inside = [SIX, "2001:db8:1:2::", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2:0:1::"]
    outside = ["2001:db8:1:20::7", "2001:db8:1:3::7", "2001:db8:1::2", "192.0.2.10"]
    for number, address in enumerate([*inside, *outside]):
        assert world.login(address, f"u{number}")
    assert world.ask("revoke", address="2001:db8:1:2::/64")["addresses"] == len(inside)
    assert [world.may_relay(address) for address in inside] == [False] * len(inside)
    assert all(world.may_relay(address) for address in outside)


@pytest.mark.parametrize("net", ["2001:db8::/64", "2001:0:0:1::/64", "::/64", "2001:db8:0:1::/64"])
def test_a_64_with_zeros_is_revoked_as_well(world: World, net: str) -> None:
    head = net.removesuffix("/64").removesuffix("::")
    first = f"{head}:0:0:0:5" if head.count(":") == 3 else f"{head}::5"
    second = f"{head}:1:2:3:4" if head.count(":") == 3 else f"{head}::1:2:3:4"
    granted = [address for address in (first, second) if world.login(address, address)]
    assert granted or net == "::/64", "IPv4-compatible addresses are never granted"
    assert world.ask("revoke", address=net)["addresses"] == len(granted)
    assert not any(world.may_relay(address) for address in granted)


def test_a_line_of_a_revoked_64_that_is_read_later_opens_nothing(world: World) -> None:
    """No login of these addresses was known when it was revoked: their lines lay unread, or the books were lost."""

    def told(address: str) -> bool:
        return tell(world.watcher, Login(NOW - 5, address, address, "imap", "PLAIN", True), "push")

    world.ask("revoke", address="2001:db8:1:2::/64")
    inside, outside = [SIX, "2001:db8:1:2::"], ["2001:db8:1:3::7", "2001:db8:1:20::7", A]
    assert [told(address) for address in inside] == [False, False]
    assert all(told(address) for address in outside)
    world.now += 1
    assert all(world.login(address) for address in inside), "a login made after it counts"


def test_revoking_an_address_revokes_no_other_of_its_64(world: World) -> None:
    world.ask("revoke", address=SIX)
    assert tell(world.watcher, Login(NOW - 5, SIX + "8", "bob", "imap", "PLAIN", True), "push")
    assert not tell(world.watcher, Login(NOW - 5, SIX, "anna", "imap", "PLAIN", True), "push")


def test_a_revocation_that_cannot_be_kept_says_so_and_counts(world: World, tmp_path: Path) -> None:
    world.login(A)
    (tmp_path / "revocations.jsonl").mkdir()
    assert "cannot be written" in world.ask("revoke", address=A)["warning"]
    assert not world.may_relay(A)
    world.watcher.turn()
    assert "cannot be written" in world.watcher.status().degraded
    (tmp_path / "revocations.jsonl").rmdir()
    world.watcher.turn()
    world.watcher.turn()
    assert world.watcher.status().degraded == ""


def test_what_is_granted_right_after_the_clock_was_set_back_stays(world: World) -> None:
    world.now -= 3600
    world.offset = NOW - 1000 - 3600
    world.ask("grant", address=A)
    world.watcher.turn()
    assert world.may_relay(A)


@pytest.mark.parametrize("whom", [{"address": A}, {"user": "anna"}, {"what": "all"}], ids=["address", "user", "all"])
def test_a_revocation_is_answered_when_the_host_list_names_nobody_who_was_revoked(
    world: World, whom: dict[str, str]
) -> None:
    assert world.login(A)
    world.ask("grant", address="192.0.2.11")
    assert world.watcher.ledger.publish_now() == []
    assert f"{A}: " in world.listed.read_text()
    assert world.ask("revoke", **whom)["warning"] == ""
    assert f"{A}: " not in world.listed.read_text()
    assert ("192.0.2.11: " in world.listed.read_text()) is ("what" not in whom)


@pytest.mark.parametrize("whom", [{"address": A}, {"user": "anna"}, {"what": "all"}], ids=["address", "user", "all"])
@pytest.mark.parametrize("lost", ["relay.mdb", "relay.mdb-lock"])
def test_a_revocation_is_answered_when_it_is_in_a_map_that_was_lost_just_before(
    world: World, whom: dict[str, str], lost: str
) -> None:
    assert world.login(A)
    world.ask("grant", address="192.0.2.11")
    Path(world.map).with_name(lost).unlink()
    assert world.ask("revoke", **whom)["warning"] == ""
    world.publisher.close()
    left = MapWriter(world.map)
    found = {address for address in (A, "192.0.2.11") if published_expiry(left, address)}
    left.close()
    assert found == (set() if "what" in whom else {"192.0.2.11"})


def test_a_map_that_cannot_be_made_again_is_told(world: World) -> None:
    assert world.login(A)
    Path(world.map).unlink()
    Path(world.map).mkdir()
    assert "relay map" in world.ask("revoke", address=A)["warning"]


def test_a_host_list_that_cannot_be_written_is_told(world: World) -> None:
    assert world.login(A)
    world.listed.with_name("relay-hosts.new").mkdir()
    assert "host list" in world.ask("revoke", address=A)["warning"]
    assert not world.may_relay(A)


def test_a_domain_is_no_user_to_revoke(world: World) -> None:
    with pytest.raises(UsageError, match="is a domain"):
        world.ask("revoke", user="@example.org")


def test_a_grant_by_hand_lasts_as_long_as_was_asked_and_is_counted(world: World) -> None:
    for seconds in (1, 3600, LONGEST_GRANT_SECONDS):
        assert world.ask("grant", address=A, seconds=seconds) == {"address": A, "expires_at": NOW + seconds}
        assert published_expiry(world.publisher._map, A) == NOW + seconds
    assert world.ask("status")["today"]["granted.by-hand"] == 3


def test_a_grant_by_hand_without_a_length_lasts_a_lifetime(world: World) -> None:
    assert world.ask("grant", address=f"::ffff:{A}") == {"address": A, "expires_at": NOW + 900}
    assert world.may_relay(A)


def test_a_shorter_grant_by_hand_leaves_a_login_that_lasts_longer(world: World) -> None:
    world.login(A)
    assert world.ask("grant", address=A, seconds=60) == {"address": A, "expires_at": NOW + 900}
    assert published_expiry(world.publisher._map, A) == NOW + 900


def test_a_users_logins_are_revoked_and_nobody_elses(world: World) -> None:
    world.login(A, "anna")
    world.login("192.0.2.11", "anna")
    world.login("192.0.2.12", "bob")
    reply = world.ask("revoke", user="anna")
    assert (reply["revoked_at"], reply["addresses"], reply["warning"]) == (NOW, 2, "")
    assert [world.may_relay(address) for address in (A, "192.0.2.11", "192.0.2.12")] == [False, False, True]


def test_the_status_tells_version_process_and_what_stands(world: World) -> None:
    world.login(A)
    world.ask("grant", address=SIX)
    status = world.ask("status")
    shown = {name: status[name] for name in ("version", "pid", "now", "degraded", "dry_run", "addresses", "sources")}
    assert shown == {
        "version": __version__,
        "pid": os.getpid(),
        "now": NOW,
        "degraded": "",
        "dry_run": False,
        "addresses": 2,
        "sources": [],
    }


LENGTH = "a grant lasts between 1 second and 7 days"
NO_ADDRESS = "is not an IPv4 or IPv6 address"
NO_KEY = f"{NO_ADDRESS}, nor an IPv6 /64"
UNKNOWN = "unknown command; known are status, grant, revoke, reload, failed"
WRONG: list[tuple[str, dict[str, Any], str]] = [
    ("an unknown command", {"command": "stop"}, UNKNOWN),
    ("a command that is no text", {"command": ["status"]}, UNKNOWN),
    ("no command", {}, UNKNOWN),
    ("a grant of nothing", {"command": "grant", "address": A, "seconds": 0}, LENGTH),
    ("a grant backwards", {"command": "grant", "address": A, "seconds": -1}, LENGTH),
    ("too long a grant", {"command": "grant", "address": A, "seconds": LONGEST_GRANT_SECONDS + 1}, LENGTH),
    ("a length that is a truth", {"command": "grant", "address": A, "seconds": True}, LENGTH),
    ("a length that is a text", {"command": "grant", "address": A, "seconds": "60"}, LENGTH),
    ("a length that is not whole", {"command": "grant", "address": A, "seconds": 1.5}, LENGTH),
    ("a grant to nobody", {"command": "grant"}, f"None {NO_ADDRESS}"),
    ("a grant to a name", {"command": "grant", "address": "mail\n.example.org"}, f"mail\\n.example.org {NO_ADDRESS}"),
    ("a grant to a /64", {"command": "grant", "address": "2001:db8::/64"}, f"2001:db8::/64 {NO_ADDRESS}"),
    ("a grant to a number", {"command": "grant", "address": 7}, f"7 {NO_ADDRESS}"),
    ("a revocation of nobody", {"command": "revoke"}, f"None {NO_KEY}"),
    ("a revocation of an empty user", {"command": "revoke", "user": ""}, f"None {NO_KEY}"),
    ("a revocation of a name", {"command": "revoke", "address": "anna"}, f"anna {NO_KEY}"),
    ("a revocation of a /48", {"command": "revoke", "address": "2001:db8::/48"}, f"2001:db8::/48 {NO_KEY}"),
    ("a revocation of a number", {"command": "revoke", "address": 7}, f"7 {NO_KEY}"),
    (
        "a revocation of a domain",
        {"command": "revoke", "user": "@example.org"},
        "@example.org is a domain; revoke its users one by one, and list it in deny_users",
    ),
]


@pytest.mark.parametrize(("request_", "message"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_what_cannot_be_done_is_refused_with_its_reason(world: World, request_: dict[str, Any], message: str) -> None:
    world.login(A)
    with pytest.raises(UsageError) as raised:
        handle(world.watcher, request_)
    assert str(raised.value) == message
    assert published_expiry(world.publisher._map, A) == NOW + 900, "and nothing has changed"


@pytest.mark.parametrize("given", ["127.0.0.1", "::1", "0.0.0.0", "224.0.0.1"])
def test_an_address_that_may_never_relay_is_refused_with_its_reason(world: World, given: str) -> None:
    client = parse(given)
    assert client is not None
    reason = never_reason(client, default_limits())
    with pytest.raises(UsageError) as raised:
        world.ask("grant", address=given)
    assert str(raised.value) == f"{given} may never relay by address ({reason}): {LOGINS[reason]}"
    assert not world.may_relay(given)


def test_with_dry_run_nothing_is_granted_by_hand(tmp_path: Path) -> None:
    world = World(tmp_path, dry_run=True)
    with pytest.raises(UsageError) as raised:
        world.ask("grant", address=A)
    message = "dry_run is set in the configuration: nothing is published, not even a grant by hand"
    assert str(raised.value) == message
    assert world.ask("status")["dry_run"]
    assert world.ask("status")["addresses"] == 0
    world.watcher.close()


def test_failed_logins_are_told_by_network_and_user(world: World) -> None:
    world.watcher.intake.failed.remember([Failure(NOW, A, "anna"), Failure(NOW - 5, SIX, "bob", "no-tls")], NOW)
    told = {"at": NOW, "address": A, "user": "anna", "why": "password", "times": 1}
    assert world.ask("failed", networks=["192.0.2.0/24"]) == {"failed": [told]}
    assert world.ask("failed", users=["Anna"]) == {"failed": [told]}
    assert [one["address"] for one in world.ask("failed", networks=["::/0", A])["failed"]] == [A, SIX]
    assert world.ask("failed") == {"failed": []}


@pytest.mark.parametrize("request_", [{"networks": ["x"]}, {"networks": A}, {"users": "anna"}, {"networks": [7]}])
def test_a_question_for_failed_logins_in_bad_form_is_an_error(world: World, request_: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        world.ask("failed", **request_)


def test_a_revocation_says_what_it_undid(world: World) -> None:
    until = NOW + 900
    world.login(A, "anna")
    world.login("192.0.2.11", "anna")
    world.login("192.0.2.11", "bob")
    closed = {"address": A, "until": until, "still_until": None}
    shared = {"address": "192.0.2.11", "until": until, "still_until": until}
    assert world.ask("revoke", user="anna")["closed"] == [closed, shared]
    assert world.ask("revoke", user="anna")["closed"] == [shared], "it still stands, by others"
    reply = world.ask("revoke", address="192.0.2.11")
    assert (reply["known"], reply["closed"]) == (True, [{**shared, "still_until": None}])
    world.login(SIX, "carol")
    assert world.ask("revoke", address="2001:db8:1:2::/64")["closed"] == [{**closed, "address": SIX}]


@pytest.mark.parametrize("whom", [{"user": "annna"}, {"address": "192.0.2.99"}, {"address": "2001:db8:9::/64"}])
def test_a_revocation_of_whom_nobody_knows_says_so_and_stands(world: World, whom: dict[str, str]) -> None:
    world.login(A, "anna")
    reply = world.ask("revoke", **whom)
    assert (reply["known"], reply["addresses"], reply["closed"]) == (False, 0, [])
    assert world.may_relay(A)


def test_no_more_than_some_of_what_was_undone_is_listed(world: World) -> None:
    for number in range(TOLD_AT_MOST + 10):
        world.login(f"192.0.2.{100 + number}", "anna")
    reply = world.ask("revoke", user="anna")
    assert (reply["addresses"], len(reply["closed"])) == (TOLD_AT_MOST + 10, TOLD_AT_MOST)
