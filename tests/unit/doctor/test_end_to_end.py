"""The proof in parts: what is made of each answer, before the grant, while it stands and after it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from popauthd.as_user import LookError
from popauthd.config import load
from popauthd.doctor import end_to_end
from popauthd.doctor.end_to_end import Granted, Refused, ToRevoke
from popauthd.doctor.verdicts import FAIL, OK, SKIP, Verdict, at_once, learn
from popauthd.eximsetup.commands import Envelope, Exim
from popauthd.status import Status

GRANTED = Granted("192.0.2.7", 1795467600)
WAS = Refused("192.0.2.7", Envelope("client.example.net", "anna@example.org", "ben@example.com"))


def status(*, dry_run: bool = False) -> Status:
    """The status of a watcher that has nothing to do."""
    return Status(
        version="1.0", pid=7, now=1795467600, degraded="", dry_run=dry_run, addresses=0, held=0,
        shared=(), sources=(), pushed=(), today={}, notes=(),
    )  # fmt: skip


@pytest.fixture
def exim(tmp_path: Path) -> Callable[[str], Exim]:
    """An Exim that replies this to RCPT."""

    def make(reply: str) -> Exim:
        path = tmp_path / "exim4"
        path.write_text(f"#!/bin/sh\nprintf '220 mx\\n250 mx\\n250 OK\\n%s\\n' '{reply}'\n")
        path.chmod(0o755)
        return Exim(path)

    return make


def always(answer: str) -> end_to_end.Ask:
    return lambda _address: answer


def hindered(_address: str) -> str:
    raise LookError("Connection refused")


def test_a_way_that_says_yes_is_asked_again_later() -> None:
    yes = always("yes")
    outcome = at_once(learn("grant-socket", lambda: end_to_end.says_yes(yes, GRANTED)))
    assert (outcome.well, outcome.learned) == (True, yes)


@pytest.mark.parametrize(("ask", "said"), [(always("no"), "no"), (hindered, "Connection refused")], ids=["no", "error"])
def test_a_way_that_does_not_say_yes_fails_and_is_not_asked_again(ask: end_to_end.Ask, said: str) -> None:
    outcome = at_once(learn("grant-socket", lambda: end_to_end.says_yes(ask, GRANTED)))
    assert outcome.learned is None
    assert outcome.results[0].seen == f"says {said!r}, not yes"


REPLIES = [
    ("250 Accepted", OK, ""),
    ("550 relay not permitted", FAIL, ", though it is granted"),
    ("451 try again", FAIL, "451 try again"),
]


@pytest.mark.parametrize(("reply", "state", "said"), REPLIES, ids=[row[0] for row in REPLIES])
def test_exim_must_let_the_granted_address_relay(
    exim: Callable[[str], Exim], reply: str, state: str, said: str
) -> None:
    mta = exim(reply)
    outcome = at_once(learn("relay", lambda: end_to_end.relay(mta, GRANTED, WAS, "socket", {"socket": True})))
    (found,) = outcome.results
    assert (found.state, said in found.seen) == (state, True)
    assert (outcome.learned is not None) == (state == OK)


def test_no_session_is_played_where_the_way_that_exim_asks_is_not_well() -> None:
    (found,) = end_to_end.relay(Exim("/nonexistent"), GRANTED, WAS, "hostlist", {"socket": True, "hostlist": False})
    assert found == Verdict(SKIP, "Exim asks by hostlist, and grant-hostlist is not well")


def test_after_the_revocation_each_way_that_said_yes_must_say_no(exim: Callable[[str], Exim]) -> None:
    def refused(ways: dict[str, end_to_end.Ask | None], session: Callable[[], Verdict] | None = None) -> Verdict:
        (found,) = end_to_end.refused(GRANTED.address, ways, None, session)
        return found

    assert refused({"socket": None, "readlookup": None}).seen == "no way says yes any more; no session was played"
    assert refused({"socket": always("no"), "readlookup": None}).state == OK
    found = refused({"socket": always("no"), "readlookup": always("yes")})
    assert (found.state, found.seen) == (FAIL, "after the revocation readlookup says 'yes', not no")
    relayed = at_once(
        learn("relay", lambda: end_to_end.relay(exim("250 yes"), GRANTED, WAS, "socket", {"socket": True}))
    )
    assert "WITHOUT a grant" in refused({}, relayed.learned).seen
    exim("550 no")
    assert refused({}, relayed.learned).state == OK


def test_what_was_never_granted_is_not_revoked() -> None:
    nothing = Verdict(SKIP, "nothing was granted")
    assert list(end_to_end.revoke(None, ToRevoke())) == [nothing]
    assert list(end_to_end.revoke(load(os.devnull), ToRevoke())) == [nothing]


def test_an_address_is_to_be_revoked_though_the_watcher_never_answered(tmp_path: Path) -> None:
    path = tmp_path / "popauthd.toml"
    path.write_text(f'run_dir = "{tmp_path}"\n')
    config, to_revoke = load(str(path)), ToRevoke()
    granted = at_once(learn("grant", lambda: end_to_end.grant(config, status(), "192.0.2.7", to_revoke)))
    assert (granted.well, granted.learned, to_revoke.address) == (False, None, "192.0.2.7")
    (found,) = end_to_end.revoke(config, to_revoke)
    assert (found.state, found.advice) == (FAIL, "popauthctl revoke 192.0.2.7; it ends within a minute")


def test_nothing_is_granted_in_a_dry_run() -> None:
    to_revoke = ToRevoke()
    outcome = at_once(
        learn("grant", lambda: end_to_end.grant(load(os.devnull), status(dry_run=True), "192.0.2.7", to_revoke))
    )
    assert (outcome.well, to_revoke.address) == (False, "")
