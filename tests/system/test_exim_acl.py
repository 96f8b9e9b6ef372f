"""What popauthd's ACL does around a site's own: every verdict of that passes through, word for word."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.clients import Reply, ask_rcpt
from tests.servers.exim import LOCAL, REFUSAL, REMOTE, Exim
from tests.servers.place import Place, wait_for

pytestmark = pytest.mark.system

# An ACL of a site's own in place of Debian's, choosing its verdict by the recipient.
OWN_ACL = r"""
acl_check_rcpt:
  accept
    local_parts = welcome
  discard
    local_parts = discard
  defer
    local_parts = defer
    message = come back later
  deny
    local_parts = deny
    message = not you
  deny
    local_parts = silent
  deny
    local_parts = coded
    message = 551 5.7.1 relay not permitted
  deny
    local_parts = wordy
    message = Relaying denied by example.org
  deny
    local_parts = similar
    message = we do not like relay not permitted
  require
    message = relay not permitted
    domains = +local_domains
  accept
"""
VERDICTS = [
    ("accept", "welcome@example.com", "250 Accepted"),
    ("accept for us", LOCAL, "250 Accepted"),
    ("discard", "discard@example.com", "250 Accepted"),
    ("defer", "defer@example.com", "451 come back later"),
    ("deny", "deny@example.com", "550 not you"),
    ("deny without a word", "silent@example.com", "550 Administrative prohibition"),
    ("relay not permitted", REMOTE, f"550 {REFUSAL}"),
    ("relaying denied", "wordy@example.com", f"550 {REFUSAL}"),
    ("words in the middle", "similar@example.com", "550 we do not like relay not permitted"),
]


@pytest.fixture(scope="module")
def exim() -> Iterator[Exim]:
    with Place() as place:
        yield Exim(place, "light", "socket", place.root / "none", acl=OWN_ACL)


@pytest.mark.parametrize(("to", "reply"), [row[1:] for row in VERDICTS], ids=[row[0] for row in VERDICTS])
def test_every_verdict_passes_through(exim: Exim, to: str, reply: str) -> None:
    assert str(ask_rcpt("127.0.0.5", exim.port, to)) == reply


def test_a_status_code_is_read_over(exim: Exim) -> None:
    seen: Reply = ask_rcpt("127.0.0.5", exim.port, "coded@example.com")
    assert seen.text == REFUSAL


def test_the_log_keeps_the_sites_own_words(exim: Exim) -> None:
    ask_rcpt("127.0.0.7", exim.port, REMOTE)
    words = "[127.0.0.7] F=<joe@example.org> rejected RCPT <friend@example.com>: relay not permitted"
    wait_for(lambda: words in exim.log(), "the line in Exim's log")  # which it writes after its reply
