"""What the documents show, played with real servers: the demo's commands as they are printed, and README's session."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

import pytest

from tests.servers.clients import LOGIN, USER, ask_rcpt
from tests.servers.dovecot import Dovecot
from tests.servers.exim import REMOTE, Exim
from tests.servers.fakes import Sink
from tests.servers.place import Place, wait_for
from tests.servers.popauthd import Popauthd
from tests.support.helpers import ROOT

pytestmark = pytest.mark.system

CLIENT, SHOWN = "127.0.0.77", "203.0.113.7"  # the client here, and as README shows it
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class World:
    """A mail server on loopback."""

    dovecot: Dovecot
    popauthd: Popauthd
    exim: Exim

    def run(self, command: str) -> tuple[int, str]:
        """What somebody types in a second terminal, in the source tree; the exit status and all that is printed."""
        words = ["timeout", "20", "sh", "-c", command]
        done = subprocess.run(
            words, cwd=ROOT, env={**os.environ, "PATH": PATH}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout


@pytest.fixture
def world() -> Iterator[World]:
    with contextlib.closing(Sink()) as sink, Place() as place:
        dovecot = Dovecot(place)
        popauthd = Popauthd(place, dovecot.log)
        popauthd.start("run")
        yield World(dovecot, popauthd, Exim(place, "light", "socket", popauthd.run_dir, sink.port))


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    """packaging/demo/demo.py, which is no part of any package."""
    place = importlib.util.spec_from_file_location("demo", ROOT / "packaging/demo/demo.py")
    assert place is not None
    assert place.loader is not None
    module = importlib.util.module_from_spec(place)
    place.loader.exec_module(module)
    return module


def test_every_command_that_the_demo_prints_works_as_printed(world: World, demo: ModuleType) -> None:
    printed = demo.to_try(world.dovecot, world.popauthd, world.exim)
    said = {}
    for command in printed:
        # The log is followed until Ctrl-C.
        status, said[command] = world.run(command.replace("tail -f", "tail"))
        assert status == 0, f"{command}\n{said[command]}"
    assert len(printed) == 6
    listed = next(text for command, text in said.items() if command.endswith(" list"))
    assert CLIENT in listed


def session() -> list[str]:
    """The lines of README's sample session: prompts with commands, and what they print."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## What it looks like\n")[2]
    blocks = re.findall(r"(?:^ {4}.*\n)+", section.partition("\n## ")[0], re.MULTILINE)
    return [line[4:] for block in blocks for line in block.splitlines()]


def like(line: str) -> str:
    """A line without what differs each time: numbers, and the widths that they make."""
    return re.sub(r" +", " ", re.sub(r"\d+", "N", line.replace(SHOWN, CLIENT))).replace("just now", "Ns ago")


def test_the_sample_session_is_what_a_user_and_an_administrator_see(world: World) -> None:
    user_reads, *rest = session()
    assert str(ask_rcpt(CLIENT, world.exim.port, REMOTE)) == user_reads
    shown = re.split(r"^# popauthctl (.*)\n", "\n".join(rest) + "\n", flags=re.MULTILINE)[1:]
    commands, outputs = shown[::2], shown[1::2]
    assert [command.split()[0] for command in commands] == ["check", "check", "list", "revoke", "check"]
    user = next(word for word in re.split(r"\s", outputs[2]) if word.isalpha())
    for number, (command, output) in enumerate(zip(commands, outputs, strict=True)):
        if number == 1:
            fetch_mail(world)
            assert str(ask_rcpt(CLIENT, world.exim.port, REMOTE)) == "250 Accepted"
        here = command.replace(SHOWN, CLIENT).replace(f"--user {user}", f"--user {USER}")
        printed = world.run(f"{sys.executable} -m popauthd.cli --config {world.popauthd.config} {here}")[1]
        seen = [like(line) for line in printed.replace(USER, user).splitlines()]
        assert seen == [like(line) for line in output.splitlines()], command


def fetch_mail(world: World) -> None:
    """Log in, and then a second later: a revocation is of whole seconds."""
    assert LOGIN["pop3"](CLIENT, world.dovecot.ports["pop3"])
    wait_for(lambda: world.popauthd.settled(CLIENT, True), "the grant")
    now = time.time()
    wait_for(lambda: int(time.time()) > int(now), "the next second")
