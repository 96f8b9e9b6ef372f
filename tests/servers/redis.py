"""Redis, Valkey and Sentinel on loopback, from Debian's packages unpacked by packaging/setup.sh."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Sequence

from tests.servers.mailservers import tree
from tests.servers.place import Place, free_port, wait_for

ENGINES = [name for name in ("redis", "valkey") if (tree(name) / f"usr/bin/{name}-server").exists()]
"""The engines that this Debian release has."""

STREAM = "popauthd:{grants}"
MAIN = """
bind 127.0.0.1
port {port}
{tls_port}
dir {directory}
daemonize no
save ""
repl-diskless-sync-delay 0
"""
TLS = """
tls-port {port}
tls-cert-file {directory}/server.crt
tls-key-file {directory}/server.key
tls-ca-cert-file {directory}/ca.crt
tls-auth-clients no
"""
CERTIFICATES = """
curve='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
openssl req -x509 $curve -keyout ca.key -out ca.crt -days 2 -subj /CN=ca -addext keyUsage=critical,keyCertSign
openssl req $curve -keyout server.key -out server.csr -subj /CN=localhost
printf 'subjectAltName=DNS:localhost\\nauthorityKeyIdentifier=keyid\\n' >names
openssl x509 -req -in server.csr -CA ca.crt -CAkey ca.key -days 2 -extfile names -out server.crt
"""
SENTINEL = """
bind 127.0.0.1
port {port}
dir {directory}
sentinel monitor mymaster 127.0.0.1 {watched} {quorum}
sentinel down-after-milliseconds mymaster 500
sentinel failover-timeout mymaster 2000
"""


def environment(engine: str) -> dict[str, str]:
    """What its programs need to find their libraries."""
    libraries = [str(path) for path in (tree(engine) / "usr/lib").glob("*-linux-gnu*")]
    return {**os.environ, "LD_LIBRARY_PATH": ":".join(libraries)}


def _asked(engine: str, words: Sequence[str | int]) -> str:
    """What a server answers to redis-cli, an error too."""
    program = str(tree(engine) / f"usr/bin/{engine}-cli")
    command = [program, *map(str, words)]
    return subprocess.run(command, env=environment(engine), capture_output=True, text=True, timeout=60).stdout.strip()


class Redis:
    """One server with a directory, a port and a unix socket of its own. Nothing is saved unless `more` says so.

    more: lines of its configuration. password: that of the user `default`. tls: its port speaks TLS alone; `ca` is who
    signed its certificate, for localhost.
    """

    def __init__(
        self, place: Place, name: str, *more: str, engine: str = ENGINES[0], password: str = "", tls: bool = False
    ) -> None:
        self._place, self._name, self._engine = place, name, engine
        self.directory = place.directory(name)
        self.port = free_port()
        self.socket = self.directory / "redis.sock"
        self.ca = self.directory / "ca.crt"
        self._password = password
        if tls:
            subprocess.run(["sh", "-ec", CERTIFICATES], cwd=self.directory, check=True, capture_output=True)
        port, encrypted = (0, TLS.format(port=self.port, directory=self.directory)) if tls else (self.port, "")
        text = MAIN.format(port=port, tls_port=encrypted, directory=self.directory)
        own = [
            f"unixsocket {self.socket}",
            *([f"requirepass {password}", f"masterauth {password}"] if password else []),
        ]
        self.config = self.directory / "redis.conf"
        self.config.write_text("\n".join([text, *own, *more, ""]))
        self.start()

    def start(self, answer: str = "PONG") -> None:
        """Start it, again after an end, and wait until it answers so to PING."""
        self.socket.unlink(missing_ok=True)
        program = tree(self._engine) / f"usr/bin/{self._engine}-server"
        self.server = self._place.start(f"{self._name}.server", [program, self.config], environment(self._engine))
        self.server.wait_until(lambda: answer in self.ask("PING"), "answer")

    def stop(self) -> None:
        """End it as a system does that goes down."""
        self.server.stop()

    def kill(self) -> None:
        """Let it die."""
        self.server.signal_group(signal.SIGKILL)
        self.server.process.wait(60)

    def hang(self) -> None:
        """Let it stand still: its connections stay, and new ones are taken, and nothing is answered."""
        self.server.signal_group(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self.server.signal_group(signal.SIGCONT)

    def ask(self, *words: str | int) -> str:
        """What it answers to redis-cli, by its unix socket."""
        password = ("--no-auth-warning", "-a", self._password) if self._password else ()
        return _asked(self._engine, ["-s", str(self.socket), *password, *words])

    def follow(self, primary: Redis) -> None:
        """Become a replica of another one, with all that it has."""
        self.ask("REPLICAOF", "127.0.0.1", primary.port)
        wait_for(lambda: "master_link_status:up" in self.ask("INFO", "replication"), "the replica to be up to date")


class Sentinel:
    """One Sentinel, which watches a primary under the name mymaster."""

    def __init__(self, place: Place, name: str, primary: Redis, quorum: int = 1, engine: str = ENGINES[0]) -> None:
        self.directory = place.directory(name)
        self.port = free_port()
        self._engine = engine
        config = self.directory / "sentinel.conf"
        config.write_text(
            SENTINEL.format(port=self.port, directory=self.directory, watched=primary.port, quorum=quorum)
        )
        program = tree(engine) / f"usr/bin/{engine}-server"
        self.server = place.start(f"{name}.server", [program, config, "--sentinel"], environment(engine))
        self.server.wait_until(lambda: self.ask("PING") == "PONG", "answer")

    def ask(self, *words: str | int) -> str:
        """What it answers."""
        return _asked(self._engine, ["-p", self.port, *words])

    def named(self) -> int:
        """The port of the server that it takes for the primary."""
        return int(self.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster").split()[-1])

    def is_ready(self, others: int) -> bool:
        """Whether it knows a replica and so many other Sentinels, so that a failover is possible."""
        said = self.ask("INFO", "sentinel").partition("name=mymaster")[2]
        return "slaves=0" not in said and f"sentinels={others + 1}" in said


class Deaf:
    """A port that takes connections, which nobody ever answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]

    def __enter__(self) -> Deaf:
        return self

    def __exit__(self, *_error: object) -> None:
        self._socket.close()
