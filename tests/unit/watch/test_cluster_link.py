"""popauthd.watch.cluster_link: whatever becomes of the link's process, the watcher goes on and starts another."""

from __future__ import annotations

import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from popauthd.cluster.keys import make_key, read_keys
from popauthd.cluster.pseudonym import Pseudonyms
from popauthd.cluster.traffic import Sender
from popauthd.config import ClusterConfig
from popauthd.serving.turns import call_ready
from popauthd.watch.cluster_link import ClusterLink
from tests.support.helpers import eventually
from tests.support.nodes import Clock, Node
from tests.support.streams import Engine

A = "192.0.2.10"


class Linked:
    """A node whose link is a real process. Nothing listens where its engine should be."""

    def __init__(self, directory: Path, selector: selectors.BaseSelector) -> None:
        clock = Clock(time.time())
        self.node = Node(directory, Engine(clock), clock, "a")
        self.key = directory / "key"
        self.key.write_text(make_key())
        self.key.chmod(0o600)
        settings = ClusterConfig(url=f"unix://{directory}/none.sock", node="a", key_file=str(self.key))
        keys = read_keys(str(self.key))
        me = Sender("a", "a" * 16, settings.stream, keys)
        self.link = ClusterLink(self.node.member, settings, me, Pseudonyms(keys))
        self._selector = selector
        self.link.listen(selector)

    def turn(self) -> None:
        call_ready(self._selector, 0.01)
        self.link.tend(time.time())

    def until(self, true: Callable[[], bool], what: str) -> None:
        def turned() -> bool:
            self.turn()
            return true()

        eventually(turned, what, pause=0)

    @property
    def told(self) -> str:
        """What is wrong with sending."""
        return self.link.status(0).sending

    @property
    def pid(self) -> int:
        """The link's process, 0 if there is none."""
        process = self.link._process
        return 0 if process is None else process.pid


@pytest.fixture
def linked(tmp_path: Path) -> Iterator[Linked]:
    with selectors.DefaultSelector() as selector:
        made = Linked(tmp_path, selector)
        yield made
        made.link.close()
        made.node.stop()


def test_an_engine_that_is_not_there_is_told_and_nothing_waits_for_it(linked: Linked) -> None:
    linked.node.login(A)
    linked.until(lambda: "none.sock" in linked.told, "what is wrong is told")
    assert linked.link.status(1).unsent == 1
    assert linked.node.relays == {A}


def test_a_link_that_was_killed_is_told_and_started_again(linked: Linked) -> None:
    linked.until(lambda: "none.sock" in linked.told, "the link works")
    first = linked.pid
    os.kill(first, signal.SIGKILL)
    linked.until(lambda: "was killed by signal 9" in linked.told, "its death is told")
    linked.until(lambda: linked.pid not in (0, first), "another link")
    linked.until(lambda: "none.sock" in linked.told, "which works")
    assert linked.pid != first


def test_a_link_that_stands_still_is_killed_and_started_again(linked: Linked, monkeypatch: pytest.MonkeyPatch) -> None:
    linked.until(lambda: "none.sock" in linked.told, "the link works")
    first = linked.pid
    os.kill(first, signal.SIGSTOP)
    monkeypatch.setattr("popauthd.watch.cluster_link.SILENT_SECONDS", 0.1)
    linked.until(lambda: "has said nothing" in linked.told, "it is told")
    monkeypatch.undo()
    linked.until(lambda: linked.pid not in (0, first), "another link")
    assert not Path(f"/proc/{first}").exists()


def test_a_link_that_cannot_have_the_key_any_more_says_so(linked: Linked) -> None:
    linked.key.chmod(0o644)
    linked.until(lambda: "its mode 0644" in linked.told, "it is told")
    linked.key.chmod(0o600)
    linked.until(lambda: "none.sock" in linked.told, "the link works")
    assert "mode" not in linked.told


def test_a_link_ends_with_its_watcher(linked: Linked) -> None:
    linked.until(lambda: "none.sock" in linked.told, "the link works")
    pid = linked.pid
    linked.link.close()
    assert not Path(f"/proc/{pid}").exists()
