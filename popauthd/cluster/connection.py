"""One connection to Redis or Valkey by redis-py, with its errors as our own.

Of redis-py only its connections are used, which are the same from 4.3.4 (Debian 12) to 8: they write commands and read
answers. Its clients, pools and pipelines try again by themselves, each version in its own way, and what a time-out
then comes to nobody can tell. An answer is taken as it comes, in RESP 2 or 3.

LIMIT: the system looks up a host's name without a time-out of ours. Who sends a byte now and then holds a call longer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from popauthd.cluster.stream import EngineError
from popauthd.config.engine_url import EngineUrl, Host
from popauthd.errors import ConfigError
from popauthd.text import safe

# redis-py takes the first word off some errors and leaves it to others, and each version knows more classes: so both
# the class and the words are looked at. The first row that fits counts.
_ERRORS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), word)
    for pattern, word in (
        (r"^(?:Authentication|NoPermission)|\b(?:NOAUTH|NOPERM|WRONGPASS|DENIED)\b", "auth"),
        (r"(?i)certificate", "auth"),
        (r"^ReadOnly|\b(?:READONLY|UNBLOCKED|NOREPLICAS|MASTERDOWN)\b", "readonly"),
        (r"^OutOfMemory|\b(?:OOM|MISCONF)\b|max number of clients|MAXCLIENTS", "full"),
        (r"^BusyLoading|\b(?:LOADING|BUSY)\b", "loading"),
        (r"\bWRONGTYPE\b", "wrong-type"),
        (r"^Timeout", "timeout"),
        (r"\bSSL\b|^Response|^InvalidResponse", "protocol"),
    )
)
Word = str | bytes | int
NO_SUCH_KEY = "no such key"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each kind of waiting may last, in seconds. A Sentinel is asked with its own, as there are others."""

    connect: float = 3.0
    command: float = 5.0
    sentinel: float = 1.0


@dataclass(frozen=True, slots=True)
class Tls:
    """Files for TLS; "" for none. ca_file: who signed the server's certificate; without it the system's own list."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class Connection:
    """A connection that is made when it is first used. After an error it is closed, and made anew when used again."""

    def __init__(
        self, where: Host | str, url: EngineUrl, *, user: str, password: str, tls: Tls, connect: float, command: float
    ) -> None:
        """where: host and port, or the path of a unix socket. Raises ConfigError where redis-py is missing."""
        self.where = where if isinstance(where, str) else f"{where[0]}:{where[1]}"
        self._command = command
        self._connected = False
        self._made = _connection(where, url, user, password, tls, connect, command)

    def ask(self, *words: Word, wait: float = 0.0) -> Any:
        """The answer to one command, which the server may hold back for `wait` seconds. Raises EngineError."""
        return self.ask_all([words], wait=wait)[0]

    def ask_all(self, commands: Sequence[Sequence[Word]], wait: float = 0.0) -> list[Any]:
        """The answers to commands that are sent together. Raises EngineError for the first that fails."""
        try:
            self._made.connect()
            self._connected = True
            self._made.send_packed_command(self._made.pack_commands(commands))
            if wait:
                self._await(wait + self._command)
            return [self._made.read_response(disable_decoding=True) for _command in commands]
        except EngineError:
            self.close()
            raise
        except Exception as error:
            stage = "lost" if self._connected else "refused"
            self.close()
            raise engine_error(self.where, error, stage) from error

    def _await(self, seconds: float) -> None:
        if not self._made.can_read(timeout=seconds):
            raise EngineError("timeout", f"{self.where}: no answer within {seconds:g} s")

    def close(self) -> None:
        """End it. Never raises."""
        self._connected = False
        self._made.disconnect()


def engine_error(where: str, error: Exception, otherwise: str) -> EngineError:
    """The error of ours that one of redis-py is. Raises one that is neither redis-py's nor the system's again."""
    from redis.exceptions import RedisError

    if not isinstance(error, RedisError | OSError):
        raise error
    said = " ".join(str(error).split())
    name = f"{type(error).__name__}: {said}"
    word = next((word for pattern, word in _ERRORS if pattern.search(name)), otherwise)
    return EngineError(word, f"{where}: {safe(said, 200)}")


def _connection(
    where: Host | str, url: EngineUrl, user: str, password: str, tls: Tls, connect: float, command: float
) -> Any:
    try:
        from redis import connection
    except ImportError as error:
        raise ConfigError("[cluster] needs redis-py: install python3-redis") from error
    options: dict[str, Any] = {
        "db": url.db,
        "username": user or None,
        "password": password or None,
        "socket_timeout": command,
        **_of_version(connection, url.protocol),
    }
    if isinstance(where, str):
        return connection.UnixDomainSocketConnection(path=where, **options)
    options |= {"host": where[0], "port": where[1], "socket_connect_timeout": connect, "socket_keepalive": True}
    if not url.tls:
        return connection.Connection(**options)
    files = {"ssl_ca_certs": tls.ca_file, "ssl_certfile": tls.cert_file, "ssl_keyfile": tls.key_file}
    options |= {key: value for key, value in files.items() if value}
    return connection.SSLConnection(ssl_check_hostname=True, **options)


def _of_version(connection: Any, protocol: int) -> dict[str, Any]:
    """Options that only some versions of redis-py have.

    None of them tells the server of itself by CLIENT SETINFO, which Redis 7.0 does not know and an ACL need not allow.
    """
    import inspect  # slow to load, and this is only called where there is a cluster

    known = inspect.signature(getattr(connection, "AbstractConnection", connection.Connection).__init__).parameters
    wanted: dict[str, Any] = {"protocol": protocol}
    wanted |= {"driver_info": None} if "driver_info" in known else {"lib_name": None, "lib_version": None}
    return {key: value for key, value in wanted.items() if key in known}
