"""The responder dies while Exim waits for its answer, as by a map that is cut short under it: that is a no."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.clients import ask_rcpt
from tests.servers.exim import LOCAL, REFUSAL, REMOTE, USER
from tests.servers.fakes import open_to
from tests.support.daemons import Installation
from tests.support.helpers import eventually, write_map
from tests.system.conftest import KINDS, Asking
from tests.system.states import CLIENT, FAR

pytestmark = pytest.mark.system

BY_SOCKET = [kind for kind in KINDS if kind[1] == "socket"]
STRANGER = "127.0.0.6"


@pytest.fixture
def listener(asking: Asking) -> Iterator[socket.socket]:
    """The lookup socket as systemd holds it: it stays while the responder behind it dies."""
    path = asking.run_dir / "lookup.sock"
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))
        made.listen(64)
        open_to(path, USER)
        yield made
    for left in asking.run_dir.iterdir():
        left.unlink()


@pytest.mark.parametrize("number", [signal.SIGBUS, signal.SIGSEGV, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize("asking", BY_SOCKET, indirect=True, ids=["-".join(kind) for kind in BY_SOCKET])
def test_a_client_whose_responder_dies_is_refused_and_the_next_one_answers(
    asking: Asking, listener: socket.socket, tmp_path: Path, number: signal.Signals
) -> None:
    installation = Installation(tmp_path, 'hold_no = "1500ms"')
    text = installation.config.read_text().replace(str(installation.run_dir), str(asking.run_dir))
    installation.config.write_text(text)
    write_map(asking.run_dir / "relay.mdb", {CLIENT[4]: FAR})
    replies: list[str] = []
    waiting = threading.Thread(target=lambda: replies.append(str(ask_rcpt(STRANGER, asking.exim.port, REMOTE))))
    with contextlib.closing(installation):
        responder = installation.respond_on(listener)
        eventually(lambda: "answering on" in installation.errors("respond"), "it answers")
        files = Path(f"/proc/{responder.pid}/fd")
        before = len(list(files.iterdir()))
        waiting.start()
        eventually(lambda: len(list(files.iterdir())) > before, "Exim has asked, and its no is held")
        responder.send_signal(number)
        responder.wait()
        waiting.join()
        assert replies == [f"550 {REFUSAL}"]
        installation.respond_on(listener)
        eventually(lambda: installation.errors("respond").count("answering on") == 2, "the next one answers")
        assert ask_rcpt(CLIENT[4], asking.exim.port, REMOTE).accepted
        assert str(ask_rcpt(STRANGER, asking.exim.port, REMOTE)) == f"550 {REFUSAL}"
        assert ask_rcpt(STRANGER, asking.exim.port, LOCAL).accepted
    assert asking.exim.faults() == ""
