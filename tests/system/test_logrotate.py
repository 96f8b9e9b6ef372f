"""Real logrotate on the log of a real Dovecot: whatever way it rotates, every login is granted, and none twice."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.clients import LOGIN
from tests.servers.dovecot import Dovecot
from tests.servers.place import Place, wait_for
from tests.servers.popauthd import Popauthd

pytestmark = pytest.mark.system

# Debian's logrotate file for Dovecot reopens; the others are what administrators write.
WAYS = {
    "reopen, compressed at the next turn": "delaycompress\ncompress\npostrotate\n{reopen}\nendscript",
    "reopen, compressed at once": "compress\npostrotate\n{reopen}\nendscript",
    "reopen, with dates": "dateext\ndateformat -%Y%m%d-%s\npostrotate\n{reopen}\nendscript",
    "copytruncate": "copytruncate",
    "copytruncate, compressed": "copytruncate\ncompress",
}
ROTATE = """
{log} {{
    rotate 50
    missingok
    su root root
{how}
}}
"""


@pytest.fixture
def place() -> Iterator[Place]:
    with Place() as own:
        yield own


def rotate(place: Place, dovecot: Dovecot, how: str) -> None:
    reopen = f"doveadm -c {dovecot.config} log reopen"
    config = place.root / "logrotate.conf"
    config.write_text(ROTATE.format(log=dovecot.log, how=how.format(reopen=reopen)))
    config.chmod(0o644)
    command = ["logrotate", "--force", "--state", str(place.root / "logrotate.state"), str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("how", WAYS.values(), ids=WAYS.keys())
def test_logins_before_between_and_after_rotations_are_granted(place: Place, how: str) -> None:
    dovecot = Dovecot(place)
    popauthd = Popauthd(place, dovecot.log)
    parts = popauthd.start("watch", "respond")
    clients = [f"127.0.4.{number}" for number in range(1, 9)]
    for number, client in enumerate(clients):
        if number == 3:  # rotated while nobody follows, and again
            parts["watch"].stop()
        if number == 6:
            parts["watch"] = popauthd.start("watch")["watch"]
        assert LOGIN["imap"](client, dovecot.ports["imap"])
        # LIMIT: what Dovecot writes between copy and truncation is lost, and so is what it writes late into a file that
        # was packed and removed before the watcher had it open.
        if "copytruncate" in how or "delaycompress" not in how:
            wait_for(lambda client=client: client.encode() in dovecot.log.read_bytes(), "the login's line")  # type: ignore[misc]
        if "dateext" in how:  # logrotate skips a rotation whose name is there already
            begun = int(time.time())  # its clock is a coarse one, some milliseconds behind
            wait_for(lambda begun=begun: time.time() > begun + 1.1, "the next second")  # type: ignore[misc]
        rotate(place, dovecot, how)
    for client in clients:
        wait_for(lambda client=client: popauthd.may_relay(client), f"the grant of {client}")  # type: ignore[misc]
    assert not popauthd.may_relay("127.0.4.99")
    rotated = [path for path in Path(dovecot.log.parent).iterdir() if path.name.startswith(dovecot.log.name)]
    assert len(rotated) >= len(clients)
