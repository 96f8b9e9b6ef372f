"""Finds the server that takes writes: the one of the URL, or the one that Sentinels name.

A Sentinel may name a primary that is one no more, so whoever is named is asked for its own ROLE. All Sentinels are
asked, each with a time-out of its own, and the server that most of them name is tried first.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from popauthd.cluster.connection import Connection, Timeouts, Tls
from popauthd.cluster.stream import EngineError
from popauthd.config.engine_url import EngineUrl, Host


@dataclass(frozen=True, slots=True)
class Access:
    """All that is needed to get in. The passwords are "" where there is none; they are in no repr."""

    url: EngineUrl
    password: str = field(default="", repr=False)
    sentinel_password: str = field(default="", repr=False)
    tls: Tls = field(default_factory=Tls)
    timeouts: Timeouts = field(default_factory=Timeouts)


def find_primary(access: Access) -> Connection:
    """A connection to the primary, which has just said that it is one. Raises EngineError."""
    candidates = _named_by_sentinels(access) if access.url.service else [access.url.path or access.url.hosts[0]]
    failed: EngineError | None = None
    for where in candidates:
        connection = _to_server(where, access)
        try:
            must_be_primary(connection)
        except EngineError as error:
            connection.close()
            failed = failed or error
        else:
            return connection
    assert failed is not None
    raise failed


def must_be_primary(connection: Connection) -> None:
    """Raises EngineError "readonly" if a server is a replica, which is behind and takes nothing."""
    role = connection.ask("ROLE")
    first = role[0] if isinstance(role, list) and role else role
    if first not in (b"master", b"primary"):
        connection.close()
        said = first.decode("ascii", "replace") if isinstance(first, bytes) else str(first)[:80]
        raise EngineError("readonly", f"{connection.where}: it is no primary, its role is {said}")


def _to_server(where: Host | str, access: Access) -> Connection:
    times = access.timeouts
    return Connection(
        where,
        access.url,
        user=access.url.user,
        password=access.password,
        tls=access.tls,
        connect=times.connect,
        command=times.command,
    )


def _named_by_sentinels(access: Access) -> list[Host | str]:
    """Who the Sentinels say is the primary, the one that most of them name first. Raises EngineError if none does."""
    named: Counter[Host | str] = Counter()
    failed: list[EngineError] = []
    for sentinel in access.url.hosts:
        try:
            named[_named_by(sentinel, access)] += 1
        except EngineError as error:
            failed.append(error)
    if not named:
        words = "; ".join(error.text for error in failed)
        raise EngineError(failed[0].word, f"no Sentinel names a primary for {access.url.service}: {words}")
    return [where for where, _votes in named.most_common()]


def _named_by(sentinel: Host, access: Access) -> Host:
    connection = Connection(
        sentinel,
        replace(access.url, db=0),
        user="",
        password=access.sentinel_password,
        tls=access.tls,
        connect=access.timeouts.sentinel,
        command=access.timeouts.sentinel,
    )
    try:
        found = connection.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", access.url.service)
    finally:
        connection.close()
    if not (isinstance(found, list) and len(found) == 2 and bytes(found[1]).isdigit()):
        raise EngineError("protocol", f"{connection.where}: it does not know {access.url.service}")
    return bytes(found[0]).decode("ascii", "replace"), int(found[1])
