"""popauthd.watch.push_sources: the push sources as configured, in a running daemon."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd import run_dir
from popauthd.config import from_mapping
from popauthd.control_client import ask_watcher
from popauthd.errors import ConfigError
from popauthd.watch.assembly import build
from popauthd.watch.push_sources import Pushing, check, names
from tests.servers.place import free_port
from tests.support.daemons import LIFETIME, Installation, login_line
from tests.support.helpers import eventually
from tests.support.push_messages import CLOSE, REPORT, push, request, status


def test_what_is_configured_is_named_and_right(secret: Path) -> None:
    both = {"post_login": True, "auth_policy_listen": "127.0.0.1:4001", "auth_policy_secret_file": str(secret)}
    assert names(from_mapping({}, "test")) == []
    assert names(from_mapping(both, "test")) == ["post-login", "auth-policy"]
    check(from_mapping({}, "test"))
    check(from_mapping(both, "test"))


WRONG = [
    ("no secret", {"auth_policy_listen": "127.0.0.1:4001"}, "needs auth_policy_secret_file"),
    ("to the world", {"auth_policy_listen": "0.0.0.0:4001", "auth_policy_secret_file": "/x"}, "no loopback address"),
    (
        "a secret that is not there",
        {"auth_policy_listen": "[::1]:1", "auth_policy_secret_file": "/x/y"},
        "/x/y: cannot",
    ),
    ("nobody of that name", {"post_login": True, "push_users": ["no-such-user"]}, "no user 'no-such-user'"),
]


@pytest.mark.parametrize(("settings", "why"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_check_says_what_is_wrong(settings: dict[str, object], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        check(from_mapping(settings, "test"))


def test_a_socket_that_was_spoilt_keeps_no_other_configuration_from_being_served(tmp_path: Path) -> None:
    """What a reload changes beside is in force by then, so nothing may fail any more."""
    places: dict[str, object] = {"run_dir": str(tmp_path / "run"), "state_dir": str(tmp_path / "state")}
    with_script = from_mapping({**places, "post_login": True}, "test")
    (tmp_path / "state").mkdir()
    run_dir.prepare(with_script)
    watcher = build(with_script, [], lambda: False)
    watcher.start()
    with contextlib.closing(watcher), selectors.DefaultSelector() as selector:
        pushing = Pushing(with_script, watcher, selector)
        socket_path = Path(with_script.push_path)
        socket_path.unlink()
        socket_path.mkdir()
        with pushing.changing(from_mapping(places, "test")):
            pass
        assert pushing.names == []
        assert watcher.hearing == []
        pushing.close()


class Told(Installation):
    """A watcher that is told of logins in both ways, and follows its log as well."""

    def __init__(self, directory: Path, secret: Path) -> None:
        self.port = free_port()
        super().__init__(
            directory,
            f'post_login = true\nauth_policy_listen = "127.0.0.1:{self.port}"\nauth_policy_secret_file = "{secret}"\n',
        )

    def tell(self, message: bytes) -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(self.run_dir / "push.sock"))
            client.sendall(message)
            return client.recv(100)

    def report(self, message: bytes) -> bytes:
        with socket.create_connection(("127.0.0.1", self.port), 20) as client:
            client.sendall(message)
            return client.recv(4096)

    def today(self) -> dict[str, int]:
        counted: dict[str, int] = self.status()["today"]
        return counted


@pytest.fixture
def told(tmp_path: Path, secret: Path) -> Iterator[Told]:
    installation = Told(tmp_path, secret)
    installation.start("run")
    installation.ready()
    assert len(installation.status()["pushed"]) == 2  # answered when both are listened for, not before
    yield installation
    installation.close()


def message(at: int, user: str = "alice@example.org", address: str = "192.0.2.10") -> bytes:
    return push(b"at=%d" % at, f"address={address}".encode(), f"user={user}".encode(), b"protocol=imap")


def now(told: Told) -> int:
    at: int = told.status()["now"]
    return at


def test_the_answer_comes_when_the_address_may_relay(told: Told) -> None:
    at = now(told)
    assert told.tell(message(at)) == b"granted\n"
    assert told.ask("192.0.2.10") == "yes"
    assert told.listed() == {"192.0.2.10": at + LIFETIME}


def test_what_waited_too_long_grants_nothing(told: Told) -> None:
    at = now(told)
    assert told.tell(message(at - LIFETIME)) == b"refused\n"
    assert told.tell(message(at - LIFETIME + 60)) == b"granted\n"
    assert told.listed() == {"192.0.2.10": at + 60}


def test_policy_judges_what_is_told_as_it_judges_a_log(told: Told) -> None:
    for address in ("127.0.0.1", "::1", "fe80::1", "not an address", "::ffff:127.0.0.1"):
        assert told.tell(message(now(told), address=address)) == b"refused\n"
    assert told.tell(message(now(told), address="::ffff:192.0.2.11")) == b"granted\n"
    assert [*told.listed()] == ["192.0.2.11"]


def test_status_says_what_is_followed_and_where_logins_are_heard(told: Told) -> None:
    shown = told.ctl("status").stdout.decode().splitlines()
    at = next(number for number, line in enumerate(shown) if line.startswith("following "))
    assert shown[at + 1] == "  read to its end"
    policy = f"127.0.0.1:{told.port}"
    assert shown[at + 2 : at + 4] == [
        f"hearing post-login on {told.run_dir}/push.sock",
        f"hearing auth-policy on {policy}",
    ]
    assert told.status()["pushed"][1] == {"name": "auth-policy", "where": policy}


def test_a_login_told_in_every_way_counts_once(told: Told) -> None:
    told.write(login_line("192.0.2.7", user="anna"))
    eventually(lambda: told.today().get("login") == 1, "the log to be read")
    assert told.tell(message(now(told), "anna", "192.0.2.7")) == b"granted\n"
    report = json.dumps({**REPORT, "session": "aKTnLvhgIrN/AAAB"}).encode()
    assert status(told.report(request(report, more=CLOSE))) == 200
    today = told.today()
    assert (today["login"], today["login.twice"]) == (1, 2)


def test_what_leads_to_no_login_is_counted_all_the_same(told: Told) -> None:
    assert told.tell(b"hello\n") == b"refused\n"
    assert status(told.report(request(secret=b"no"))) == 403
    eventually(lambda: told.today().get("push.bad") == told.today().get("auth-policy.403") == 1, "both to be counted")


def test_a_failed_login_that_dovecot_reports_is_remembered_and_grants_nothing(told: Told) -> None:
    assert status(told.report(request(json.dumps({**REPORT, "success": False}).encode(), more=CLOSE))) == 200
    reply = ask_watcher(str(told.run_dir / "control.sock"), command="failed", users=["anna"])
    assert [(one["address"], one["why"]) for one in reply["failed"]] == [("192.0.2.7", "password")]
    assert told.listed() == {}


def test_only_the_owner_can_reach_the_socket_where_nobody_is_named(told: Told) -> None:
    assert (told.run_dir / "push.sock").stat().st_mode & 0o777 == 0o600


def test_strangers_who_hold_every_place_do_not_stop_the_watcher(told: Told) -> None:
    flood = []
    for _ in range(300):
        client = socket.create_connection(("127.0.0.1", told.port), 20)
        client.sendall(os.urandom(16))
        flood.append(client)
    told.write(login_line("192.0.2.12"))
    eventually(lambda: told.ask("192.0.2.12") == "yes", "the log to be read")
    assert told.tell(message(now(told))) == b"granted\n"
    for client in flood:
        client.close()
