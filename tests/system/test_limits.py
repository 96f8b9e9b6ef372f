"""The limits of policy in the running daemon: lists that change, networks that change over a restart, a dry run."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.daemons import Installation, login_line
from tests.support.helpers import eventually

A, B = "192.0.2.10", "192.0.2.11"
Start = Callable[[str], Installation]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    opened: list[Installation] = []

    def started(settings: str) -> Installation:
        installation = Installation(tmp_path, settings)
        opened.append(installation)
        for part in ("watch", "respond"):
            installation.start(part)
        installation.ready()
        return installation

    yield started
    for installation in opened:
        installation.close()


def says(installation: Installation, address: str, answer: str) -> None:
    eventually(lambda: installation.ask(address) == answer, f"{answer} for {address}")


def restart(installation: Installation, settings: str) -> None:
    """Stop the watcher and start it again with more settings."""
    watcher = next(process for process in installation.processes if process.poll() is None)
    watcher.send_signal(signal.SIGTERM)
    watcher.wait()
    installation.config.write_text(f"{settings}\n{installation.config.read_text()}")
    installation.start("watch")
    installation.ready()


def test_a_list_of_users_is_read_again_when_it_changes(start: Start, tmp_path: Path) -> None:
    users = tmp_path / "users"
    users.write_text("anna\n")
    installation = start(f'users_file = "{users}"')
    installation.write(login_line(A, user="anna"), login_line(B, user="bob"))
    says(installation, A, "yes")
    says(installation, B, "no")
    eventually(lambda: b"user-not-listed" in installation.ctl("check", B).stdout, "the second line to be read")
    users.write_text("bob\n")
    says(installation, A, "no")
    installation.write(login_line(B, user="bob"))
    says(installation, B, "yes")
    users.write_text("bob smith\n")
    eventually(lambda: any("line 1" in note for note in installation.status()["notes"]), "the note on the bad list")
    assert installation.ask(B) == "yes", "the last good list stays in force"
    assert [one["word"] for one in installation.status()["conditions"]] == ["user-list-wrong"]
    users.write_text("bob\n")
    eventually(lambda: not installation.status()["conditions"], "it is over with a good list")
    assert installation.status()["today"]["refused.user-not-listed"] == 1


def test_a_list_that_cannot_be_read_at_the_start_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    installation = Installation(tmp_path, f'deny_users = "{tmp_path}/none"')
    assert installation.start("watch").wait(20) == 78
    assert f"deny_users {tmp_path}/none: cannot be read" in installation.errors("watch")


def test_a_list_with_nobody_in_it_is_told_at_the_start(start: Start, tmp_path: Path) -> None:
    (tmp_path / "users").write_text("!anna\n")
    installation = start(f'users_file = "{tmp_path}/users"')
    assert any("nobody is in the list" in note for note in installation.status()["notes"])


def test_a_network_excluded_over_a_restart_loses_what_stood(start: Start) -> None:
    installation = start("")
    installation.write(login_line(A), login_line(B))
    says(installation, B, "yes")
    restart(installation, f'proxies = ["{A}/32"]')
    says(installation, B, "yes")
    says(installation, A, "no")
    assert set(installation.listed()) == {B}


def test_a_dry_run_counts_everything_and_publishes_nothing(start: Start) -> None:
    installation = start("dry_run = true")
    installation.write(login_line(A))
    eventually(lambda: installation.status()["today"].get("login") == 1, "the login to be counted")
    assert installation.ask(A) == "no"
    assert (installation.run_dir / "relay-hosts").read_text() == ""
    assert "would be granted" in installation.errors("watch")
    assert b"dry_run" in installation.ctl("status").stdout
    done = installation.ctl("grant", B)
    assert done.returncode != 0
    assert b"dry_run" in done.stderr


def test_what_was_published_before_a_dry_run_is_taken_back(start: Start) -> None:
    installation = start("")
    installation.write(login_line(A))
    says(installation, A, "yes")
    restart(installation, "dry_run = true")
    says(installation, A, "no")


def test_a_shared_address_is_closed_told_once_and_shown(start: Start) -> None:
    installation = start("shared_users = 3")
    installation.write(*(login_line(A, user=f"u{number}") for number in range(3)), login_line(B))
    says(installation, A, "yes")
    installation.status()  # the turn is over in which the server's own address was learnt, and all users counted again
    installation.write(*(login_line(A, user=f"u{number}") for number in range(10)))
    says(installation, A, "no")
    says(installation, B, "yes")
    status = installation.status()
    assert [(found["address"], found["users"]) for found in status["shared"]] == [(A, 4)]
    assert sum("shared address" in note for note in status["notes"]) == 1
    shown = installation.ctl("status").stdout.decode()
    assert f"shared address, not granted: {A}" in shown
    assert b"shared-address" in installation.ctl("check", A).stdout


def test_networks_protocols_and_tls_decide_as_configured(start: Start) -> None:
    installation = start(
        'protocols = ["imap"]\nrequire_tls = true\nalways = ["192.0.2.99/32"]\n'
        'lifetime_by_network = { "192.0.2.10/32" = "1h" }'
    )
    plain = login_line("192.0.2.12").replace(b", TLS,", b",")
    pop3 = login_line(B).replace(b"imap-login", b"pop3-login")
    spared = login_line("192.0.2.99").replace(b", TLS,", b",").replace(b"imap-login", b"pop3-login")
    now = int(time.time())
    installation.write(login_line(A, at=now), pop3, plain, spared)
    says(installation, "192.0.2.99", "yes")
    assert installation.listed()[A] == now + 3600
    assert set(installation.listed()) == {A, "192.0.2.99"}
    today = installation.status()["today"]
    assert (today["refused.protocol"], today["refused.no-tls"]) == (1, 1)
