"""popauthctl check in front of a running watcher: what the user who calls must be told."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.servers.clients import imap_login, pop3_login
from tests.servers.dovecot import Dovecot
from tests.servers.place import Place, wait_for
from tests.servers.popauthd import Popauthd
from tests.support.daemons import Installation, login_line
from tests.support.helpers import eventually

pytestmark = pytest.mark.system

A, B, SIX = "192.0.2.10", "192.0.2.11", "2001:db8:1:2::7"


def failure_line(address: str, user: str = "anna", why: str = "auth failed, 1 attempts in 2 secs") -> bytes:
    stamp = time.strftime("%b %d %H:%M:%S")
    return (
        f"{stamp} imap-login: Info: Disconnected ({why}): user=<{user}>, method=PLAIN, rip={address}, "
        "lip=198.51.100.5, TLS, session=<aKTnLvhgIrN/AAAC>\n"
    ).encode()


@contextlib.contextmanager
def watching(directory: Path, settings: str = "") -> Iterator[Installation]:
    with contextlib.closing(Installation(directory, settings)) as made:
        for part in ("watch", "respond"):
            made.start(part)
        made.ready()
        yield made


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Anna logged in from two addresses, of which one was revoked, bob from one; carol and dave could not."""
    settings = 'never = ["203.0.113.0/24"]\nproxies = ["198.51.100.128/25"]'
    with watching(tmp_path_factory.mktemp("check"), settings) as made:
        made.write(
            login_line(A, user="anna"),
            login_line(B, user="anna"),
            login_line(SIX, user="bob"),
            failure_line("192.0.2.20", "carol"),
            failure_line("192.0.2.20", "carol"),
            failure_line("192.0.2.21", "dave", "tried to use disallowed plaintext auth"),
            failure_line("203.0.113.9", "eve"),
        )
        eventually(lambda: made.status()["today"].get("login.failed") == 4, "the log was read")
        assert made.ctl("revoke", B).returncode == 0
        yield made


def said(site: Installation, *words: str) -> tuple[int, str]:
    done = site.ctl("check", *words)
    return done.returncode, done.stdout.decode() + done.stderr.decode()


def test_several_are_answered_at_once_and_all_must_relay_for_yes(site: Installation) -> None:
    code, text = said(site, A, SIX)
    assert (code, text.count(": yes, for ")) == (0, 2)
    code, text = said(site, A, B)
    assert (code, text.count(": yes, for "), f"{B}: no" in text) == (1, 1, True)


def test_a_user_is_answered_with_his_addresses_in_any_case(site: Installation) -> None:
    code, text = said(site, "Anna")
    assert code == 0
    assert "Anna: yes, 1 of 2 addresses may relay" in text
    assert f"  {A}: yes, for " in text
    assert f"  {B}: no" in text
    assert "login by anna (dovecot): revoked " in text
    assert "to relay again: fetch mail" in text
    code, text = said(site, "--user", "bob", "annna")
    assert code == 1
    assert f"  {SIX}: yes" in text
    assert "annna: no; nobody of that name is known" in text


def test_a_network_is_answered_with_the_addresses_in_it(site: Installation) -> None:
    code, text = said(site, "192.0.2.0/24")
    assert code == 0
    assert "192.0.2.0/24: yes, 1 of 2 addresses may relay" in text
    assert "login failed" in text, "from others in it as well"
    assert said(site, "2001:db8::/32")[0] == 0
    assert said(site, "198.51.100.0/24")[0] == 1


def test_a_wrong_password_just_now_is_the_reason_that_is_said(site: Installation) -> None:
    code, text = said(site, "192.0.2.20")
    assert code == 1
    assert " by carol from 192.0.2.20: wrong user name or password, 2 times within the last hour" in text
    assert "correct the user name or the password" in text
    assert "no login from this address" not in text
    code, text = said(site, "carol")
    assert code == 1
    assert "login failed" in text
    code, text = said(site, "192.0.2.21")
    assert "the mail program did not use TLS" in text
    assert "switch on TLS" in text
    assert site.ask("192.0.2.20") == "no"


@pytest.mark.parametrize(
    ("client", "reason", "where"),
    [("203.0.113.9", "never", "203.0.113.0/24"), ("198.51.100.200", "proxy", "198.51.100.128/25")],
)
def test_what_is_never_granted_is_not_told_to_fetch_mail(
    site: Installation, client: str, reason: str, where: str
) -> None:
    code, text = said(site, client)
    assert code == 1
    assert f"it may never relay by address: {reason}. " in text
    assert f"({where})" in text
    assert "fetch" not in text
    assert "to relay" not in text


def test_json_has_all_of_it(site: Installation) -> None:
    done = site.ctl("check", "--json", A, "carol", "192.0.2.20")
    found: list[dict[str, Any]] = json.loads(done.stdout)
    assert done.returncode == 1
    assert [(one["kind"], one["may_relay"]) for one in found] == [
        ("address", True), ("user", False), ("address", False)
    ]  # fmt: skip
    assert 0 < found[0]["addresses"][0]["seconds_left"] <= 900
    assert found[0]["addresses"][0]["logins"][0]["user"] == "anna"
    assert found[1]["failed"][0]["why"] == found[2]["failed"][0]["why"] == "password"


@pytest.mark.parametrize("text", ["192.0.2.300", "192.0.2.1/24", "2001:db8::x", "192.0.2", "::1%lo"])
def test_what_can_only_be_an_address_and_is_none_is_no_user(site: Installation, text: str) -> None:
    code, text = said(site, text)
    assert code == 2
    assert "is not an IPv4 or IPv6 address or network" in text


def test_a_dry_run_is_said_to_be_one(tmp_path: Path) -> None:
    with watching(tmp_path, "dry_run = true") as made:
        made.write(login_line(A))
        eventually(lambda: made.status()["today"].get("login") == 1, "the log was read")
        code, text = said(made, A)
        assert code == 1
        assert f"{A}: no\n  dry run (`dry_run`): nothing is published; without it the answer is yes, for " in text
        assert "fetch" not in text
        assert "dry_run is set" in said(made, B)[1]


def test_without_the_watcher_it_says_that_nothing_new_counts(tmp_path: Path) -> None:
    with watching(tmp_path) as made:
        made.write(login_line(A))
        eventually(lambda: made.ask(A) == "yes", "granted")
        made.close()
        assert said(made, A)[0] == 0
        code, text = said(made, B)
        assert code == 1
        assert "new logins are not seen: the watcher does not answer" in text


def test_a_revocation_shows_what_it_undid_and_a_typo_that_nobody_is_known(tmp_path: Path) -> None:
    with watching(tmp_path) as made:
        made.write(login_line(A, user="anna"), login_line(A, user="bob"), login_line(B, user="anna"))
        eventually(lambda: made.ask(B) == "yes", "granted")
        assert b"nobody of that name is known" in made.ctl("revoke", "--user", "annna").stdout
        assert b"that address is not known" in made.ctl("revoke", "192.0.2.99").stdout
        text = made.ctl("revoke", "--user", "anna").stdout.decode()
        assert "revoked anna: 2 addresses may no longer relay by it" in text
        assert f"  {A}: still may, by another login, until " in text
        assert f"  {B}: would have stood for " in text
        assert b"no login of that user was in force" in made.ctl("revoke", "--user", "anna").stdout
        assert b"revoked everybody: 1 address may no longer relay" in made.ctl("revoke", "--all").stdout
        assert b"no address could relay" in made.ctl("revoke", "--all").stdout
        assert made.ctl("list").stdout == b"no address may relay now\n"
        wrong = made.ctl("revoke", "anna")
        assert (wrong.returncode, b"for a user: --user" in wrong.stderr) == (64, True)


def test_a_wrong_password_at_a_real_dovecot_is_seen() -> None:
    with Place() as place:
        dovecot = Dovecot(place)
        popauthd = Popauthd(place, dovecot.log)
        popauthd.start("run")
        assert not pop3_login("127.0.0.31", dovecot.ports["pop3"], password="wrong")
        assert not imap_login("127.0.0.32", dovecot.ports["imap"], password="wrong")
        for client in ("127.0.0.31", "127.0.0.32"):
            wait_for(lambda client=client: "login failed" in popauthd.control("check", client).stdout, client)  # type: ignore[misc]
        assert popauthd.settled("127.0.0.31", False)
