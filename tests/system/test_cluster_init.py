"""`popauthctl cluster init`: what it prints, played word for word on two nodes with a real Redis."""

from __future__ import annotations

import os
import pwd
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from popauthd import config
from popauthd.cluster.access import open_stream
from popauthd.cluster.events import PeerRevocation
from popauthd.cluster.keys import read_keys
from popauthd.cluster.stream import BEGIN, EngineError, id_ms
from popauthd.cluster.wire import Received, decode, encode
from popauthd.config import ClusterConfig
from tests.servers.place import Place
from tests.servers.redis import Redis
from tests.support.helpers import ROOT

NOBODY = pwd.getpwnam("nobody")
OWNERS = [NOBODY.pw_uid]
EXAMPLES = Path("packaging/systemd/examples")
# What a node's own programs are here. The other node is the directory $OTHER_ROOT.
PROGRAMS = {
    "apt": 'echo "apt $*" >>"$PLAYED"',
    "systemctl": 'echo "systemctl $*" >>"$PLAYED"',
    "popauthctl": f'exec {sys.executable} -m popauthd.cli --config "$CONFIG" "$@"',
    "scp": 'shift; for last; do :; done; exec cp -p "$1" "$2" "$OTHER_ROOT${last#root@OTHER:}"',
    "ssh": 'shift; command="$1 $2"; shift 2; for f; do set -- "$@" "$OTHER_ROOT$f"; shift; done; exec $command "$@"',
    "install": '[ "$2" = -m ] && shift 3; mkdir -p "$ETC" && exec cp "$1" "$ETC"',
}


class Node:
    """One machine: its directory, and what is played there. Its service runs as nobody."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.file = root / "popauthd.toml"
        self.log = root / "log"
        self.log.touch()
        (root / "state").mkdir()
        os.chown(root / "state", NOBODY.pw_uid, NOBODY.pw_gid)
        self.file.write_text(f'state_dir = "{root}/state"\nrun_dir = "{root}/run"\n[[source]]\npath = "{self.log}"\n')

    def add(self, table: str) -> None:
        """Write at the end of its configuration, as it is told to."""
        with self.file.open("a") as file:
            file.write(table)

    @property
    def cluster(self) -> ClusterConfig:
        """Its [cluster] table."""
        found = config.load(str(self.file)).cluster
        assert found is not None
        return found


class Played:
    """Two nodes, and what `cluster init` prints on the first, in its numbered parts."""

    def __init__(self, place: Place, url: str) -> None:
        self.place = place
        self.one, self.other = (Node(place.directory(name)) for name in ("one", "other"))
        for node in (self.one, self.other):
            place.directory(f"{node.root.name}/etc")
        # The files are below /etc/popauthd where nothing is configured; here a table that is incomplete names others.
        etc = self.one.root / "etc"
        table = f'[cluster]\nurl = "{url}"\nnode = "one"\nkey_file = "{etc}/key"\npassword_file = "{etc}/password"\n'
        before = self.one.file.read_text()
        self.one.add(table)
        self.said = self.init()
        self.one.file.write_text(before)
        self.parts = re.split(r"^\d\. ", self.said, flags=re.MULTILINE)
        bin_dir = place.directory("bin")
        for name, text in PROGRAMS.items():
            (bin_dir / name).write_text(f"#!/bin/sh\n{text}\n")
            (bin_dir / name).chmod(0o755)

    def init(self) -> str:
        """What it prints on the first node."""
        words = [sys.executable, "-m", "popauthd.cli", "cluster", "init", "--config", str(self.one.file)]
        return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    def lines(self, part: int) -> list[str]:
        """What is to be typed or written in one part."""
        return [line[4:] for line in self.parts[part].splitlines() if line.startswith("    ")]

    def table(self) -> str:
        """The [cluster] table that is to be written."""
        lines = self.lines(2)
        return "".join(f"{line}\n" for line in lines[: lines.index("apt install python3-redis")])

    def play(self, lines: list[str], node: Node) -> str:
        """Run commands on a node; returns what they print."""
        environment = {
            **os.environ,
            "PATH": f"{self.place.root}/bin:/usr/bin:/bin",
            "PLAYED": str(node.root / "played"),
            "CONFIG": str(node.file),
            "OTHER_ROOT": str(self.other.root),
            "ETC": str(node.root / "drop-ins"),
        }
        done = subprocess.run(
            ["sh", "-ec", "\n".join(lines).replace("/usr/share/doc/popauthd/examples", str(ROOT / EXAMPLES))],
            cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with Place() as made:
        yield made


@pytest.fixture(scope="module")
def redis(place: Place) -> Redis:
    return Redis(place, "redis", password="of-the-administrator")


@pytest.fixture(scope="module")
def played(place: Place, redis: Redis) -> Played:
    return Played(place, f"redis://127.0.0.1:{redis.port}/2")


def test_the_key_and_the_password_are_the_services_alone_and_are_made_once(played: Played) -> None:
    files = [played.one.root / "etc" / name for name in ("key", "password")]
    assert [(path.stat().st_mode & 0o777, path.stat().st_uid) for path in files] == [(0o600, NOBODY.pw_uid)] * 2
    before = [path.read_text() for path in files]
    assert all(text.strip().rpartition(" ")[2] not in played.said for text in before)
    played.one.add(played.table())
    again = played.init()
    assert [path.read_text() for path in files] == before
    assert again.count("is there already, and stays as it is") == 2
    assert "[cluster] is in" in again


def user_of(redis: Redis) -> set[str]:
    """The rule of the user popauthd; the server tells it in an order of its own."""
    (rule,) = [line for line in redis.ask("ACL", "LIST").splitlines() if line.startswith("user popauthd ")]
    return set(rule.split()) - {"sanitize-payload"}  # the default, which only some versions tell


def test_what_is_printed_makes_two_nodes_that_hear_each_other(played: Played, redis: Redis) -> None:
    one, other = played.one, played.other
    if "[cluster]" not in one.file.read_text():
        one.add(played.table())
    with pytest.raises(EngineError, match=r"WRONGPASS|invalid"):
        open_stream(one.cluster, OWNERS).time_ms()
    command, for_good = played.lines(1)
    assert redis.ask(*shlex.split(command)[1:]) == "OK"
    configured = Redis(played.place, "configured", for_good)
    assert user_of(configured) == user_of(redis)
    assert user_of(redis) >= set(for_good.split())

    commands = played.lines(2)[played.lines(2).index("apt install python3-redis") :]
    assert "the configuration is right" in played.play(commands, one)
    assert (one.root / "drop-ins/cluster.conf").read_bytes() == (ROOT / EXAMPLES / "cluster.conf").read_bytes()
    assert "systemctl restart popauthd" in (one.root / "played").read_text()

    place_of_other = Path(f"{other.root}{one.root}/etc")
    place_of_other.mkdir(parents=True)
    played.play([line.replace("popauthd:", "nobody:") for line in played.lines(3)], one)
    table = played.table().replace(f'"{one.root}/', f'"{other.root}{one.root}/').replace('node = "one"', 'node = "two"')
    other.add(table)
    os.chown(place_of_other, NOBODY.pw_uid, NOBODY.pw_gid)
    assert "the configuration is right" in played.play(commands, other)

    event = PeerRevocation(1_795_469_400, "192.0.2.7")
    with closing(open_stream(one.cluster, OWNERS)) as ours, closing(open_stream(other.cluster, OWNERS)) as theirs:
        keys = read_keys(one.cluster.key_file, OWNERS)
        sent_ms = ours.time_ms()
        fields = encode(
            event, node="one", run="0" * 16, number=1, sent_ms=sent_ms, stream=one.cluster.stream, keys=keys
        )
        ours.append([fields], 0)
        ((where, read),) = theirs.read(BEGIN, 10, 0)
        known = read_keys(other.cluster.key_file, OWNERS)
        found = decode(read, stream=other.cluster.stream, keys=known, id_ms=id_ms(where))
        assert isinstance(found, Received)
        assert (found.event, found.node) == (event, "one")
