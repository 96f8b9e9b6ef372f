"""Every way for Exim to ask, light and heavy: what it lets through, and that every fault closes the relay only."""

from __future__ import annotations

import pytest

from tests.servers.clients import ask_rcpt, rcpt, smtp
from tests.servers.exim import AUTH, BACKUP, LOCAL, LOCAL_USER, REFUSAL, RELAY_HOST, REMOTE
from tests.system.conftest import KINDS, Asking
from tests.system.states import BROKEN, CLIENT, GOOD, NOT_YET

pytestmark = pytest.mark.system

STRANGER = "127.0.0.6"
GO_ON = [
    ("mail for postmaster here", STRANGER, LOCAL, None),
    ("mail for a user here", STRANGER, LOCAL_USER, None),
    ("mail for a user here over IPv6", CLIENT[6], LOCAL_USER, None),
    ("mail for a domain we are a backup for", STRANGER, BACKUP, None),
    ("a relay host of the administrator", RELAY_HOST, REMOTE, None),
    ("somebody who authenticated", STRANGER, REMOTE, AUTH),
    ("somebody who authenticated over IPv6", CLIENT[6], REMOTE, AUTH),
]


@pytest.mark.parametrize("version", [4, 6])
def test_a_granted_address_may_relay_and_no_other(asking: Asking, version: int) -> None:
    with GOOD[asking.way](asking.run_dir):
        assert ask_rcpt(CLIENT[version], asking.exim.port, REMOTE).accepted
        if asking.way != "socket":  # this socket says yes to everybody
            assert str(ask_rcpt(STRANGER, asking.exim.port, REMOTE)) == f"550 {REFUSAL}"


FAULTS = [(kind, fault) for kind in KINDS for fault in BROKEN[kind[1]]]


@pytest.mark.parametrize(
    ("asking", "fault"),
    FAULTS,
    indirect=["asking"],
    ids=[f"{'-'.join(kind)}-{fault}" for kind, fault in FAULTS],
)
def test_a_fault_refuses_relaying_and_hinders_nobody_else(asking: Asking, fault: str) -> None:
    with BROKEN[asking.way][fault](asking.run_dir):
        for client in CLIENT.values():
            assert str(ask_rcpt(client, asking.exim.port, REMOTE)) == f"550 {REFUSAL}"
        for who, source, to, login in GO_ON:
            assert ask_rcpt(source, asking.exim.port, to, login).accepted, who
        session = smtp(CLIENT[4], asking.exim.port)
        replies = [rcpt(session, to).code for to in (REMOTE, LOCAL, REMOTE, REMOTE, BACKUP, REMOTE)]
        session.close()
        assert replies == [550, 250, 550, 550, 250, 550], "the same within one connection"
    assert asking.exim.faults() == ""


# Not the host list, and that is its LIMIT: Exim keeps the file open for a connection.
AT_ONCE = [kind for kind in KINDS if kind[1] != "hostlist"]


@pytest.mark.parametrize("asking", AT_ONCE, indirect=True, ids=["-".join(kind) for kind in AT_ONCE])
def test_a_login_during_the_smtp_connection_counts(asking: Asking) -> None:
    answers = []
    session = smtp(CLIENT[4], asking.exim.port)
    for state in (NOT_YET, GOOD, NOT_YET):
        with state[asking.way](asking.run_dir):
            answers.append(rcpt(session, REMOTE).accepted)
    session.close()
    assert answers == [False, True, False]


BAD_NAMES = [
    "/etc/passwd@example.com",
    ".hidden@example.com",
    "a%b@example.com",
    "a/../b@example.com",
    "|x@example.com",
]


@pytest.mark.parametrize("recipient", BAD_NAMES)
def test_a_granted_address_is_bound_by_debians_rules_on_local_parts(asking: Asking, recipient: str) -> None:
    with GOOD[asking.way](asking.run_dir):
        reply = ask_rcpt(CLIENT[4], asking.exim.port, recipient)
    assert str(reply) == "550 restricted characters in address"


def test_a_grant_does_not_make_an_unknown_user_here_known(asking: Asking) -> None:
    with GOOD[asking.way](asking.run_dir):
        assert ask_rcpt(CLIENT[4], asking.exim.port, "nobody@example.org").refused
