"""What of a [cluster] table is on this machine: its private files read, this node's name, and the way in made of them.

redis-py is imported by `open_stream` alone, so a machine without a cluster never needs it.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Collection
from typing import TYPE_CHECKING

from popauthd.cluster.connection import Tls
from popauthd.cluster.keys import Keys, read_keys, read_private
from popauthd.cluster.primary import Access
from popauthd.config import ClusterConfig
from popauthd.config.values import NODE
from popauthd.errors import ConfigError, unreadable

if TYPE_CHECKING:
    from popauthd.cluster.engine import RedisStream

PASSWORD_BYTES = 512
CLIENT_MISSING = "[cluster] needs redis-py: apt install python3-redis"


def node_name(settings: ClusterConfig) -> str:
    """This node's name. Raises ConfigError if it has none that may be one."""
    found = settings.node or os.uname().nodename
    if not NODE.fullmatch(found):
        raise ConfigError(f"[cluster] node: this machine's host name {found!r} is no node's name; name the node")
    return found


def access(settings: ClusterConfig, owners: Collection[int] | None = None) -> Access:
    """The way in. Raises ConfigError for a file that is wrong; owners: as in `read_keys`."""
    return Access(
        settings.engine,
        _password("password_file", settings.password_file, owners),
        _password("sentinel_password_file", settings.sentinel_password_file, owners),
        Tls(settings.tls_ca_file, settings.tls_cert_file, settings.tls_key_file),
    )


def open_stream(settings: ClusterConfig, owners: Collection[int] | None = None) -> RedisStream:
    """The cluster's stream, not connected yet. Raises ConfigError; owners: as in `read_keys`."""
    must_have_client()
    from popauthd.cluster.engine import RedisStream

    return RedisStream(access(settings, owners), settings.stream)


def check(settings: ClusterConfig, owners: Collection[int] | None = None) -> Keys:
    """Read all that is named, as whoever we are, and give the keys. Raises ConfigError for the first that is wrong."""
    must_have_client()
    node_name(settings)
    access(settings, owners)
    if settings.engine.tls:
        _check_tls(settings, owners)
    return read_keys(settings.key_file, owners)


def must_have_client() -> None:
    """Raises ConfigError where redis-py is not installed; it is not imported."""
    if importlib.util.find_spec("redis") is None:
        raise ConfigError(CLIENT_MISSING)


def _password(key: str, path: str, owners: Collection[int] | None) -> str:
    if not path:
        return ""
    what = f"cluster {key} {path}"
    try:
        found = read_private(what, path, PASSWORD_BYTES, owners).decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{what}: not UTF-8") from error
    if not found or not found.isprintable():
        raise ConfigError(f"{what}: must be one line with the password, and nothing else")
    return found


def _check_tls(settings: ClusterConfig, owners: Collection[int] | None) -> None:
    import ssl  # OpenSSL is slow to load

    if settings.tls_key_file:
        read_private(f"cluster tls_key_file {settings.tls_key_file}", settings.tls_key_file, 1 << 16, owners)
    context = ssl.create_default_context()
    named = settings.tls_ca_file or settings.tls_cert_file
    try:
        if settings.tls_ca_file:
            context.load_verify_locations(settings.tls_ca_file)
        if settings.tls_cert_file:
            named = f"{settings.tls_cert_file} with tls_key_file {settings.tls_key_file or settings.tls_cert_file}"
            context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file or None)
    except ssl.SSLError as error:
        raise ConfigError(f"cluster {named}: not PEM, or they do not fit each other ({error.reason})") from error
    except OSError as error:
        raise unreadable(f"cluster {named}", error) from error
