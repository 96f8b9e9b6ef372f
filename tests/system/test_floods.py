"""Real watchers whose sockets are flooded by another user: honest logins are granted all the same."""

from __future__ import annotations

import contextlib
import grp
import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from popauthd.store.relay_map import MapReader
from tests.servers.exim import TREE, USER
from tests.servers.floods import flood
from tests.servers.place import Place, free_port, listens, wait_for
from tests.servers.popauthd import Popauthd
from tests.servers.pushes import SECRET, secret_file
from tests.support.daemons import login_line
from tests.support.push_messages import REPORT

pytestmark = pytest.mark.system

LOGINS = 30
ROUNDS = 6  # the script waits half a second for its turn; where the machine has no time for that, they log in again
VALID = b"popauthd-login-1\0at=%d\0address=192.0.2.9\0user=x\0protocol=imap\0\0"


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as made:
        yield made


def granted(popauthd: Popauthd, *addresses: str) -> int:
    """How many of the addresses are granted within the bound of a wait."""
    reader = MapReader(str(popauthd.map))
    number = 0
    for address in addresses:
        wait_for(lambda address=address: reader.expiry(address) is not None, f"{address} to be granted")  # type: ignore[misc]
        number += 1
    reader.close()
    return number


def tell(socket: Path, addresses: list[str]) -> None:
    """Let the post-login script tell of a login from each."""
    script: list[str | Path] = [TREE / "dovecot/post-login", "--socket", socket, "imap", "/bin/true"]
    for address in addresses:
        subprocess.run(script, env={"IP": address, "USER": "joe"}, check=True)


def missing(popauthd: Popauthd, addresses: list[str]) -> list[str]:
    """The addresses that are not granted, when all are or a while has passed."""
    reader = MapReader(str(popauthd.map))
    until = time.monotonic() + 2
    while (left := [one for one in addresses if reader.expiry(one) is None]) and time.monotonic() < until:
        time.sleep(0.05)
    reader.close()
    return left


# Who floods, how and with what. `nobody` is in Exim's group; where he is one of push_users, he may tell of logins.
PUSHES = [
    ("not allowed, and in a hurry", "root", "send", b""),
    ("not allowed, 400 connections open", "root", "hold", b""),
    ("allowed, silent", "nobody", "hold", b""),
    ("allowed, garbage", "nobody", "send", b"x" * 100),
    ("allowed, logins", "nobody", "send", VALID),
    ("allowed, byte by byte", "nobody", "trickle", VALID),
]


@pytest.mark.parametrize(("allowed", "how", "text"), [row[1:] for row in PUSHES], ids=[row[0] for row in PUSHES])
def test_every_login_told_beside_a_flood_is_granted(place: Place, allowed: str, how: str, text: bytes) -> None:
    popauthd = Popauthd(place, None, settings=f'post_login = true\npush_users = ["{allowed}"]\n')
    watcher = popauthd.start("watch")["watch"]
    socket = popauthd.run_dir / "push.sock"
    wait_for(socket.exists, "the socket")
    text = text.replace(b"%d", b"%d" % time.time())
    late = [f"198.51.100.{number + 1}" for number in range(LOGINS)]
    with flood(socket, how, text, gid=grp.getgrnam(USER).gr_gid) as said:
        assert said == ["flooding"] * 2
        for _ in range(ROUNDS):
            tell(socket, late)
            late = missing(popauthd, late)
        assert not late
    assert watcher.alive()


# One such request took the parser a minute, when it looked for the end of a header in every way there is.
HOSTILE = b"POST /?command=report HTTP/1.1\r\nX-API-Key:" + b" " * 8000 + b"\x01\r\n\r\n"
REQUESTS = [
    ("blanks without an end", "ask", HOSTILE),
    ("blanks between commas", "ask", HOSTILE[:32] + b"Connection:" + b" " * 8000 + b"x\r\n\r\n"),
    ("byte by byte", "trickle", HOSTILE),
    ("400 connections open", "hold", HOSTILE[:100]),
    ("no secret", "send", b"POST /?command=report HTTP/1.1\r\nContent-Length: 0\r\n\r\n"),
]


@pytest.mark.parametrize(("how", "text"), [row[1:] for row in REQUESTS], ids=[row[0] for row in REQUESTS])
def test_logins_beside_a_flood_of_requests_are_granted(place: Place, tmp_path: Path, how: str, text: bytes) -> None:
    log, port = tmp_path / "mail.log", free_port()
    log.write_text("")
    settings = f'auth_policy_listen = "127.0.0.1:{port}"\nauth_policy_secret_file = "{secret_file(place)}"\n'
    popauthd = Popauthd(place, log, settings=settings)
    popauthd.start("watch")
    wait_for(lambda: listens("127.0.0.1", port), "the policy server")
    dovecot = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def reported(report: str) -> bytes:
        """The answer to a report. Who has not shown the secret yet may be put off: he tries again, a few times."""
        for _ in range(5):
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                dovecot.request("POST", "/?command=report", report, {"X-API-Key": SECRET})
                return dovecot.getresponse().read()
            dovecot.close()
        return b""

    with contextlib.closing(dovecot), flood(port, how, text) as said:
        assert said == ["flooding"] * 2
        for number in range(20):
            logged, told = f"192.0.2.{number + 1}", f"203.0.113.{number + 1}"
            with log.open("ab") as file:
                file.write(login_line(logged, at=time.time()))
            report = json.dumps({**REPORT, "remote": told})
            assert reported(report) == b'{"status": 0, "msg": "granted"}'
            assert granted(popauthd, logged, told) == 2
