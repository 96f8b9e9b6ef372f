"""Three nodes with one real Redis: a login on one lets its address relay through all, and what breaks heals."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from popauthd.cluster.events import PeerLogin
from popauthd.cluster.keys import make_key, read_keys
from popauthd.cluster.pseudonym import pseudonym
from popauthd.cluster.wire import encode
from popauthd.processes import parent, pids
from tests.faults.clocks import Clocks
from tests.servers.clients import LOGIN, ask_rcpt
from tests.servers.dovecot import Dovecot
from tests.servers.exim import REMOTE, Exim
from tests.servers.fakes import Sink
from tests.servers.place import Place, wait_for
from tests.servers.popauthd import Popauthd
from tests.servers.redis import STREAM, Redis
from tests.support.daemons import Installation
from tests.support.helpers import eventually

pytestmark = pytest.mark.system

TABLE = '[cluster]\nurl = "{url}"\nnode = "{node}"\nkey_file = "{key}"\n'
AHEAD = 300


class Node(Installation):
    """A node. ahead: of its clock, seconds."""

    def __init__(self, directory: Path, url: str, key: Path, name: str, ahead: float = 0.0) -> None:
        directory.mkdir()
        table = TABLE.format(url=url, node=name, key=key)
        super().__init__(directory, f"hold_sessions = true\n{table}")
        self.name, self.ahead = name, ahead
        if ahead:
            clocks = Clocks(directory, mounting=False)
            clocks.step(ahead)
            self.environment = clocks.environment
        self.watcher = self.start("watch")
        self.start("respond")

    def log_in(self, address: str, user: str = "anna@example.org", session: str = "") -> None:
        """A login in the log of its Dovecot."""
        stamp = time.strftime("%b %d %H:%M:%S", time.localtime(time.time() + self.ahead))
        more = f", session=<{session}>" if session else ""
        self.write(
            f"{stamp} imap-login: Info: Login: user=<{user}>, method=PLAIN, rip={address}, lip=198.51.100.5, mpid=7, "
            f"TLS{more}\n".encode()
        )

    def log_out(self, session: str) -> None:
        """The end of a session in the log of its Dovecot."""
        stamp = time.strftime("%b %d %H:%M:%S", time.localtime(time.time() + self.ahead))
        self.write(f"{stamp} imap(anna)<7><{session}>: Info: Disconnected: Logged out in=8 out=9\n".encode())

    def kill(self) -> None:
        """The watcher dies."""
        self.watcher.send_signal(signal.SIGKILL)
        self.watcher.wait(60)

    def again(self) -> None:
        """The watcher is started again."""
        self.watcher = self.start("watch")

    @property
    def cluster(self) -> Mapping[str, Any]:
        """What `status` says of the cluster."""
        found: dict[str, Any] = self.status()["cluster"]
        return found

    @property
    def conditions(self) -> set[str]:
        """The words of those that hold and are the cluster's."""
        return {one["word"] for one in self.status()["conditions"] if one["word"].startswith("cluster-")}

    def times(self, name: str) -> int:
        """How often something was counted today."""
        return int(self.status()["today"].get(name, 0))


class Cluster:
    """Redis and its nodes."""

    def __init__(self, place: Place, directory: Path, *more: str) -> None:
        self.directory = directory
        self.redis = Redis(place, f"redis-{directory.name}", *more)
        self.url = f"redis://127.0.0.1:{self.redis.port}"
        self.key = directory / "cluster.key"
        self.key.write_text(make_key())
        self.key.chmod(0o600)
        self.nodes: list[Node] = []
        for name in "abc":
            self.add(name)
        for node in self.nodes:
            node.ready()

    def add(self, name: str, **more: Any) -> Node:
        """One more node."""
        more.setdefault("key", self.key)
        node = Node(self.directory / f"{len(self.nodes)}-{name}", self.url, name=name, **more)
        self.nodes.append(node)
        return node

    @contextlib.contextmanager
    def another(self, name: str, **more: Any) -> Iterator[Node]:
        """One more node, for a while."""
        node = self.add(name, **more)
        try:
            node.ready()
            yield node
        finally:
            self.nodes.remove(node)
            node.close()

    def relays(self, address: str, nodes: Sequence[Node] = ()) -> None:
        """Wait until an address may relay through all nodes."""
        for node in nodes or self.nodes:
            eventually(lambda node=node: node.ask(address) == "yes", f"{address} on {node.name}")  # type: ignore[misc]

    def ends(self, address: str, nodes: Sequence[Node] = ()) -> None:
        """Wait until an address may relay through none."""
        for node in nodes or self.nodes:
            eventually(lambda node=node: node.ask(address) == "no", f"no {address} on {node.name}")  # type: ignore[misc]

    def equal(self) -> None:
        """Wait until all maps hold the same addresses, and no node is in trouble."""
        maps = [node.published for node in self.nodes]
        eventually(lambda: len({frozenset(published()) for published in maps}) == 1, "all maps are equal")

    def close(self) -> None:
        for node in self.nodes:
            node.close()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with Place() as place, contextlib.closing(Cluster(place, tmp_path_factory.mktemp("nodes"))) as made:
        yield made


def next_second() -> None:
    """A revocation wins over a login of the same second."""
    second = int(time.time())
    wait_for(lambda: int(time.time()) > second, "the next second")


def test_a_login_on_real_dovecot_relays_through_real_exim_on_another_node_and_not_before(cluster: Cluster) -> None:
    with contextlib.closing(Sink()) as sink, Place() as logins, Place() as relay:
        dovecot = Dovecot(logins)
        dovecot.logged_in()
        made = []
        for place, log, name in ((logins, dovecot.log, "logins"), (relay, None, "relay")):
            popauthd = Popauthd(place, log)
            table = TABLE.format(url=cluster.url, node=name, key=cluster.key)
            popauthd.config.write_text(popauthd.config.read_text() + table)
            popauthd.start("run")
            made.append(popauthd)
        exim = Exim(relay, "light", "socket", made[1].run_dir, sink.port)
        assert ask_rcpt("127.0.7.1", exim.port, REMOTE).refused
        assert LOGIN["pop3"]("127.0.7.1", dovecot.ports["pop3"])
        wait_for(lambda: made[1].may_relay("127.0.7.1"), "the grant on the relay")
        assert ask_rcpt("127.0.7.1", exim.port, REMOTE).accepted
        assert ask_rcpt("127.0.7.2", exim.port, REMOTE).refused
        for popauthd in made:
            told = json.loads(popauthd.control("status", "--json").stdout)
            assert not [one for one in told["conditions"] if one["word"].startswith(("cluster", "no-", "dovecot"))]


def test_a_login_on_one_node_counts_on_all_and_a_revocation_on_another_ends_it(cluster: Cluster) -> None:
    a, b, _c = cluster.nodes
    a.log_in("192.0.2.10")
    cluster.relays("192.0.2.10")
    assert b.ctl("revoke", "--user", "anna@example.org").returncode == 0
    cluster.ends("192.0.2.10")
    next_second()
    a.log_in("192.0.2.10")
    cluster.relays("192.0.2.10")
    assert b.ctl("revoke", "192.0.2.10").returncode == 0
    cluster.ends("192.0.2.10")


def test_no_user_name_travels_in_clear(cluster: Cluster) -> None:
    cluster.nodes[0].log_in("192.0.2.11", "secret.name@example.org")
    cluster.relays("192.0.2.11")
    stream = cluster.redis.ask("XRANGE", STREAM, "-", "+")
    assert "192.0.2.11" in stream
    assert "secret" not in stream
    assert "example.org" not in stream


def test_a_held_session_ends_by_a_revocation_while_its_node_was_down_for_longer_than_the_stream_is_kept(
    cluster: Cluster,
) -> None:
    a, b, c = cluster.nodes
    a.log_in("192.0.2.12", "held@example.org", "OLD")
    cluster.relays("192.0.2.12")
    a.log_out("OLD")
    a.log_in("192.0.2.12", "held@example.org", "NEW")
    eventually(lambda: a.status()["held"] == 1, "the session is held")
    a.kill()
    assert b.ctl("revoke", "--user", "held@example.org").returncode == 0
    cluster.ends("192.0.2.12", [b, c])
    assert cluster.redis.ask("XTRIM", STREAM, "MAXLEN", 0).isdecimal()
    a.again()
    cluster.ends("192.0.2.12")
    cluster.equal()


def test_flushall_heals_by_itself(cluster: Cluster) -> None:
    a, b, c = cluster.nodes
    before = [node.cluster["gaps"] for node in cluster.nodes]
    c.kill()
    a.log_in("192.0.2.13")
    cluster.relays("192.0.2.13", [a, b])
    assert cluster.redis.ask("FLUSHALL") == "OK"
    b.log_in("192.0.2.14")
    c.again()
    cluster.relays("192.0.2.13")
    cluster.relays("192.0.2.14")
    cluster.equal()
    eventually(lambda: a.cluster["gaps"] > before[0], "the gap is counted")
    eventually(lambda: not any(node.conditions for node in cluster.nodes), "it is over")


def test_a_redis_that_hangs_delays_no_answer_and_no_log_and_what_waited_is_told_afterwards(cluster: Cluster) -> None:
    a, _b, c = cluster.nodes
    cluster.redis.hang()
    try:
        a.log_in("192.0.2.15")
        cluster.relays("192.0.2.15", [a])
        assert c.ctl("revoke", "192.0.2.99").returncode == 0
        eventually(lambda: "cluster-unreachable" in a.conditions, "it is told")
        assert c.ask("192.0.2.15") == "no"
        assert a.cluster["unsent"] >= 1
    finally:
        cluster.redis.resume()
    cluster.relays("192.0.2.15")
    cluster.equal()
    eventually(lambda: not any(node.conditions for node in cluster.nodes), "it is over")


def send(cluster: Cluster, event: PeerLogin, *, key: Path | None = None, age: float = 0.0, **forged: str) -> None:
    """What somebody who may write to Redis sends. age: seconds since it was signed."""
    fields = encode(
        event,
        node="evil",
        run="e" * 16,
        number=1,
        sent_ms=round((time.time() - age) * 1000),
        stream=STREAM,
        keys=read_keys(str(key or cluster.key)),
    )
    words = [part for name, value in fields.items() for part in (name.decode(), value.decode())]
    words += [part for pair in forged.items() for part in pair]
    assert "-" in cluster.redis.ask("XADD", STREAM, "*", *words)


def user_of(cluster: Cluster) -> str:
    return pseudonym(read_keys(str(cluster.key)).signing.secret, "anna@example.org")


def test_a_forged_and_a_replayed_event_open_nothing_and_are_counted(cluster: Cluster) -> None:
    a = cluster.nodes[0]
    before = a.times("cluster.forged"), a.times("cluster.replayed")
    now = int(time.time())
    event = PeerLogin("192.0.2.16", user_of(cluster), now, now, "imap", "PLAIN", True)
    send(cluster, event, more="than was signed")
    send(cluster, event, age=700)
    other = cluster.directory / "other.key"
    other.write_text(make_key())
    other.chmod(0o600)
    send(cluster, event, key=other)
    a.log_in("192.0.2.17")
    cluster.relays("192.0.2.17")
    eventually(lambda: a.times("cluster.forged") == before[0] + 2, "the forged ones are counted")
    assert a.times("cluster.replayed") == before[1] + 1
    assert [node.ask("192.0.2.16") for node in cluster.nodes] == ["no"] * 3


def test_an_event_that_is_sent_again_after_a_revocation_opens_nothing(cluster: Cluster) -> None:
    a, b, _c = cluster.nodes
    now = int(time.time())
    event = PeerLogin("192.0.2.18", user_of(cluster), now, now, "imap", "PLAIN", True)
    send(cluster, event)
    cluster.relays("192.0.2.18")
    assert b.ctl("revoke", "192.0.2.18").returncode == 0
    cluster.ends("192.0.2.18")
    send(cluster, event)
    next_second()
    a.log_in("192.0.2.19")
    cluster.relays("192.0.2.19")
    assert [node.ask("192.0.2.18") for node in cluster.nodes] == ["no"] * 3


def test_a_node_with_another_key_opens_nothing_and_hears_nothing(cluster: Cluster) -> None:
    key = cluster.directory / "wrong.key"
    key.write_text(make_key())
    key.chmod(0o600)
    rest = list(cluster.nodes)
    with cluster.another("wrong", key=key) as wrong:
        for number in range(20, 24):
            wrong.log_in(f"192.0.2.{number}")
            cluster.relays(f"192.0.2.{number}", [wrong])
        rest[0].log_in("192.0.2.24")
        cluster.relays("192.0.2.24", rest)
        eventually(lambda: "cluster-key-wrong" in rest[0].conditions, "it is told")
        assert [node.ask("192.0.2.20") for node in rest] == ["no"] * 3
        assert wrong.ask("192.0.2.24") == "no"


def test_a_node_name_used_twice_is_told_by_both_and_neither_loses_anything(cluster: Cluster) -> None:
    a = cluster.nodes[0]
    numbers = iter(range(1, 250))
    with cluster.another("a") as twin:

        def both_tell() -> bool:
            number = next(numbers)
            twin.log_in(f"192.0.3.{number}")
            a.log_in(f"192.0.4.{number}")
            return all("cluster-node-name-twice" in node.conditions for node in (a, twin))

        eventually(both_tell, "both tell it", pause=0.5)
        last = next(numbers) - 1
        cluster.relays(f"192.0.3.{last}")
        cluster.relays(f"192.0.4.{last}")


def test_a_node_whose_clock_is_five_minutes_off_works_and_is_told(cluster: Cluster) -> None:
    a = cluster.nodes[0]
    with cluster.another("fast", ahead=AHEAD) as fast:
        fast.log_in("192.0.2.80", "eve@example.org")
        a.log_in("192.0.2.81", "bob@example.org")
        cluster.relays("192.0.2.80")
        cluster.relays("192.0.2.81")
        eventually(lambda: "cluster-clock-skew" in fast.conditions, "it tells of itself")
        eventually(lambda: "cluster-clock-skew" in a.conditions, "others tell of it")
        next_second()
        assert a.ctl("revoke", "--user", "eve@example.org").returncode == 0
        assert fast.ctl("revoke", "--user", "bob@example.org").returncode == 0
        cluster.ends("192.0.2.80")
        cluster.ends("192.0.2.81")


def test_a_node_that_is_reloaded_out_of_dry_run_tells_what_it_has_learnt_meanwhile(cluster: Cluster) -> None:
    a, b, c = cluster.nodes
    text = c.config.read_text()
    c.config.write_text(f"dry_run = true\n{text}")
    assert c.ctl("reload").returncode == 0
    c.log_in("192.0.2.91", "bob@example.org")
    c.log_in("192.0.2.92", "carl@example.org")
    eventually(lambda: "would be granted (dry run)" in c.errors("watch"), "c has read it")
    a.log_in("192.0.2.93", "dora@example.org")
    cluster.relays("192.0.2.93", [a, b])
    assert [a.ask("192.0.2.91"), c.ask("192.0.2.91")] == ["no", "no"]
    c.config.write_text(text)
    assert c.ctl("reload").returncode == 0
    for number in (91, 92, 93):
        cluster.relays(f"192.0.2.{number}")


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    return [one for one in pids() if parent(one) == pid]


def test_a_link_that_dies_is_started_again(cluster: Cluster) -> None:
    a = cluster.nodes[0]
    (link,) = children(a.watcher.pid)
    os.kill(link, signal.SIGKILL)
    a.log_in("192.0.2.90")
    cluster.relays("192.0.2.90")
    assert a.watcher.poll() is None


def test_a_redis_that_was_killed_and_lost_the_end_of_its_file_heals(tmp_path: Path) -> None:
    with Place() as place, contextlib.closing(Cluster(place, tmp_path, "appendonly yes", "appendfsync no")) as cluster:
        a, b, c = cluster.nodes
        a.log_in("192.0.2.10")
        cluster.relays("192.0.2.10")
        c.kill()
        a.log_in("192.0.2.11")
        assert b.ctl("revoke", "192.0.2.10").returncode == 0
        cluster.relays("192.0.2.11", [a, b])
        cluster.ends("192.0.2.10", [a, b])
        cluster.redis.kill()
        for file in (cluster.redis.directory / "appendonlydir").glob("*.incr.aof"):
            os.truncate(file, file.stat().st_size // 3)
        a.log_in("192.0.2.12")
        cluster.redis.start()
        c.again()
        cluster.relays("192.0.2.11")
        cluster.relays("192.0.2.12")
        cluster.ends("192.0.2.10")
        cluster.equal()
        eventually(lambda: not any(node.conditions for node in cluster.nodes), "it is over")
