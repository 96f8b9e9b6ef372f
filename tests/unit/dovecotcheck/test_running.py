"""Where Dovecot takes logins by its configuration, and whether anybody does."""

from __future__ import annotations

import socket

import pytest

from popauthd.dovecotcheck.running import login_ports, master
from tests.support.doveconf_texts import NEW, OLD, configuration

OWN = """service imap-login {
  inet_listener imap {
    port = 0
  }
  inet_listener imaps {
    port = 10993
  }
  inet_listener inner {
    address = 127.0.0.1
    port = 10143
  }
}
service managesieve-login {
  inet_listener sieve {
    port = 4190
  }
}
service lmtp {
  inet_listener lmtp {
    port = 24
  }
}
"""
PORTS = [
    ("by default", OLD, {110, 143, 993, 995}),
    ("imap alone", OLD + 'protocols = " imap sieve"\n', {143, 993}),
    ("imap alone, in 2.4", NEW + "protocols {\n  imap = yes\n}\n", {143, 993}),
    ("ports of its own", OLD + "protocols = imap pop3\n" + OWN, {110, 995, 10993, 10143}),
]


@pytest.mark.parametrize(("text", "ports"), [row[1:] for row in PORTS], ids=[row[0] for row in PORTS])
def test_the_ports_are_those_of_the_configuration(text: str, ports: set[int]) -> None:
    assert login_ports(configuration(text)) == ports


def test_a_port_that_another_program_has_is_none_of_dovecots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only root sees who it is; who is not takes the port for a sign."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        asked = configuration(OLD + f"protocols = imap\n{OWN}".replace("10993", str(port)).replace("10143", "0"))
        assert master(asked) is None
        listener.listen()
        for user, found in ((0, None), (1000, (None, (port,)))):
            monkeypatch.setattr("os.geteuid", lambda user=user: user)
            assert master(asked) == found
