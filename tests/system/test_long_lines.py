"""What Dovecot itself does to lines that are long: it cuts names, and sends what is too long in pieces."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator

import pytest

from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.model import Login, Refusal
from popauthd.policy.cut_names import may_be_cut
from tests.servers.dovecot import Dovecot, branch
from tests.servers.place import Place, wait_for

pytestmark = pytest.mark.system

FORGED = "Login: user=<joe>, method=PLAIN, rip=192.0.2.66, lip=127.0.0.1, mpid=1"
PAIR_BYTES = len("k000=") + 75 + len(", ")


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Dovecot]:
    with Place() as place:
        yield Dovecot(place, "imap_id_log = *\nauth_failure_delay = 0\n")


def say(dovecot: Dovecot, protocol: str, *commands: bytes) -> None:
    """Send commands, each after the answer to the one before, and leave."""
    with socket.create_connection(("127.0.0.1", dovecot.ports[protocol]), timeout=20) as client:
        for command in (b"", *commands):
            client.sendall(command)
            assert client.recv(4096)


def send_id(dovecot: Dovecot, values: list[tuple[str, str]]) -> None:
    text = " ".join(f'"{key}" "{value}"' for key, value in values)
    say(dovecot, "imap", f"a ID ({text})\r\n".encode())


def test_a_piece_of_a_clients_id_is_no_login(dovecot: Dovecot) -> None:
    """The client sees to it that a piece begins with a login and goes on with elements of it."""
    filler = [(f"k{number:03}", "v" * 75) for number in range(150)]
    send_id(dovecot, filler)
    pieces: list[bytes] = []
    if branch() == "2.3":  # 2.4 cuts the whole line, and writes it for debugging only
        wait_for(lambda: any(b"ID sent: k000" in line for line in dovecot.lines()), "the ID in the log")
        first = next(line for line in dovecot.lines() if b"ID sent: k000" in line)
        room = len(first) - first.index(b"ID sent: ")  # of a piece, behind its head
        whole = (room - len("ID sent: ") - 200) // PAIR_BYTES
        left = room - len("ID sent: ") - whole * PAIR_BYTES  # up to where the forged text is to begin
        padding = 80 - len(FORGED)
        lengths = [left - len("z=") - padding]
        while lengths[-1] > 80:
            lengths[-1:] = [40, lengths[-1] - 40]
        fitted = [(f"f{number}", "w" * (length - len("f0=, "))) for number, length in enumerate(lengths)]
        send_id(dovecot, [*filler[:whole], *fitted, ("z", "y" * padding + FORGED), *filler[whole:]])
        wait_for(lambda: any(b"Info: Login: user=<joe>" in line for line in dovecot.lines()), "the piece in the log")
        pieces = [line for line in dovecot.lines() if b"Info: Login: user=<joe>" in line]
    reader = Recogniser(Options("dovecot-file"))
    events = [reader.line(line, int(time.time())) for line in dovecot.lines()]
    assert not [event for event in events if isinstance(event, Login)]
    torn = [event for event in events if isinstance(event, Refusal) and event.reason == "torn"]
    assert len(torn) == len(pieces)


NAMES = [
    ("80 bytes", "a" * 80, False),
    ("81 bytes", "a" * 81, True),
    ("the domain beyond 80 bytes", "a" * 70 + "@example.org", True),
]


@pytest.mark.parametrize(("name", "cut"), [row[1:] for row in NAMES], ids=[row[0] for row in NAMES])
def test_a_long_name_is_cut_and_noticed(dovecot: Dovecot, name: str, cut: bool) -> None:
    beginning = f"user=<{name[:60]}".encode()
    before = sum(beginning in line for line in dovecot.lines())
    say(dovecot, "pop3", b"USER " + name.encode() + b"\r\n", b"PASS wrong\r\n")
    wait_for(lambda: sum(beginning in line for line in dovecot.lines()) > before, "the failure in the log")
    line = [line for line in dovecot.lines() if beginning in line][-1]
    logged = line.partition(b"user=<")[2].partition(b">")[0].decode()
    assert may_be_cut(logged) is cut
    assert (logged == name) is not cut
