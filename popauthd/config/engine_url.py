"""Where a cluster's engine is, Redis or Valkey: a URL read into its parts. Pure.

    redis://mq.example.org:6379/0                  plain TCP; rediss:// with TLS
    unix:///run/redis/redis.sock?db=0              a socket of this machine
    redis+sentinel://s1,s2:26379,s3/mymaster?db=0  Sentinels that name the primary; rediss+sentinel:// with TLS

A user stands before the host: redis://popauthd@mq.example.org. A password never stands in a URL, which is shown in many
places: it has a file of its own.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

PORT, SENTINEL_PORT = 6379, 26379
SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_URL = re.compile(r"([a-z+]+)://(?:([^/?#@]*)@)?([^/?#@]*)(/[^?#]*)?(?:\?([^#]*))?")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9_.-]+))(?::([0-9]{1,5}))?")
_SERVICE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_NUMBER = re.compile(r"[0-9]{1,4}")

Host = tuple[str, int]


@dataclass(frozen=True, slots=True)
class EngineUrl:
    """The parts of a URL. hosts: of the engine, or of the Sentinels if `service` names what they watch.

    path: the unix socket, "" for TCP. protocol: of RESP, 2 or 3.
    """

    hosts: tuple[Host, ...]
    service: str = ""
    path: str = ""
    user: str = ""
    db: int = 0
    tls: bool = False
    protocol: int = 2

    @property
    def in_clear(self) -> bool:
        """Whether what is said may cross a network that others can read: TCP without TLS beyond loopback."""
        return not self.tls and not all(_is_loopback(host) for host, _port in self.hosts)


def read_url(text: str) -> EngineUrl:
    """Read a URL. Raises ValueError saying what would be right."""
    found = _URL.fullmatch(text)
    if found is None or found[1] not in SCHEMES:
        raise ValueError(f"must be a URL that begins with one of {', '.join(f'{scheme}://' for scheme in SCHEMES)}")
    scheme, user, hosts, path, query = found.groups(default="")
    if ":" in user:
        raise ValueError("has a password in it; put the password into a file, and name that with password_file")
    name = _unquoted(user)
    options = _options(query)
    db, protocol = options.get("db", 0), options.get("protocol", 2)
    tls = scheme.startswith("rediss")
    if protocol not in (2, 3):
        raise ValueError("must have 2 or 3 for the protocol")
    if scheme == "unix":
        if hosts or len(path) < 2:
            raise ValueError("must name the socket like unix:///run/redis/redis.sock")
        return EngineUrl((), path=_unquoted(path), user=name, db=db, protocol=protocol)
    if scheme.endswith("+sentinel"):
        service = path.removeprefix("/")
        if not _SERVICE.fullmatch(service):
            raise ValueError("must name behind the Sentinels what they watch, like redis+sentinel://s1,s2,s3/mymaster")
        listed = tuple(_host(host, SENTINEL_PORT) for host in hosts.split(","))
        return EngineUrl(listed, service, user=name, db=db, tls=tls, protocol=protocol)
    if path not in ("", "/"):
        db = _small_number(path[1:], "the number of the database")
    return EngineUrl((_host(hosts, PORT),), user=name, db=db, tls=tls, protocol=protocol)


def _host(text: str, port: int) -> Host:
    found = _HOST.fullmatch(text)
    if found is None or not 1 <= int(found[3] or port) <= 65535:
        raise ValueError(f"has {text!r}, which is no host; write it like mq.example.org:{port} or [2001:db8::1]:{port}")
    return found[1] or found[2], int(found[3] or port)


def _options(query: str) -> dict[str, int]:
    options: dict[str, int] = {}
    for part in filter(None, query.split("&")):
        key, _, value = part.partition("=")
        if key not in ("db", "protocol") or key in options:
            raise ValueError(f"has {part!r}; known are ?db=NUMBER and ?protocol=2 or 3")
        options[key] = _small_number(value, key)
    return options


def _small_number(text: str, what: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise ValueError(f"has {text!r} for {what}, which is no number")
    return int(text)


def _unquoted(text: str) -> str:
    from urllib.parse import unquote  # where there is a cluster alone

    return unquote(text)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
