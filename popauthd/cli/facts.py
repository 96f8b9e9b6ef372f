"""What is known of an address, a network or a user, for `popauthctl check`: from the books, and from the watcher."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from popauthd import address
from popauthd.control_client import ask_watcher, refusal
from popauthd.errors import ForbiddenError, PopauthdError, UnavailableError
from popauthd.reasons import FAILED

if TYPE_CHECKING:
    from popauthd.config import Config
    from popauthd.store.books import Books, LoginRow, Reading

ADDRESSES_AT_MOST = 20  # of a network or a user
LOGINS_AT_MOST = 10  # of an address


class Asked(NamedTuple):
    """What is asked for. kind: "address", "network" or "user". text: canonical; a user's name as it was given."""

    kind: str
    text: str

    @property
    def network(self) -> address.Network | None:
        """The address, or the network; None for a user."""
        return None if self.kind == "user" else address.network(self.text)


class LoginFact(NamedTuple):
    """One remembered login. user: "" for a grant by hand. revoked_at: 0 if it is not revoked.

    held: its session is open. through: the /64 that was granted with it, "" if it was the address itself.
    """

    user: str
    login_at: int
    expires_at: int
    format: str
    revoked_at: int
    held: bool
    through: str


class KnownAddress(NamedTuple):
    """What the books know of an address. published: until when it may relay by the books; 0 if it may not.

    shared: since when it is shared, and how many users it has; () if it is not. refused: time, user and reason of
    the last login that was refused; () if none is known.
    """

    address: str
    published: int
    logins: tuple[LoginFact, ...]
    shared: tuple[int, ...]
    refused: tuple[Any, ...]


class KnownOf(NamedTuple):
    """What the books know of one thing that is asked for. known: how many addresses they know of it."""

    known: int
    addresses: tuple[KnownAddress, ...]


class FailedFact(NamedTuple):
    """The last failed login from an address."""

    address: str
    user: str
    at: int
    why: str
    times: int


def tell(books: Books, asked: Sequence[Asked]) -> Iterator[str]:
    """The facts as JSON, to be read by `read`; the first item is this server's own addresses."""
    with books.reading() as reading:
        found = [_of(reading, one) for one in asked]
        yield json.dumps([reading.meta.own_addresses(), found])


def read(said: str) -> tuple[tuple[address.Network, ...], list[KnownOf]]:
    """This server's own addresses, and the facts of each thing that was asked for."""
    own, found = json.loads(said)
    return tuple(map(address.network, own)), [
        KnownOf(
            known,
            tuple(
                KnownAddress(text, published, tuple(LoginFact(*row) for row in logins), tuple(shared), tuple(refused))
                for text, published, logins, shared, refused in addresses
            ),
        )
        for known, addresses in found
    ]


def _of(reading: Reading, asked: Asked) -> KnownOf:
    if asked.kind == "address":
        texts = [asked.text]
        known = sum(1 for key in address.keys(asked.text) for _row in islice(reading.logins.of(key), 1))
    else:
        latest = _latest(_rows(reading, asked))
        known = len(latest)
        texts = sorted(latest, key=lambda text: -latest[text])[:ADDRESSES_AT_MOST]
    return KnownOf(known, tuple(_address(reading, text, asked) for text in texts))


def _rows(reading: Reading, asked: Asked) -> Iterable[LoginRow]:
    if asked.kind == "user":
        return reading.logins.of_user(asked.text)
    net = address.network(asked.text)
    return (row for row in reading.logins.of() if _inside(row.address, net))


def _inside(text: str, net: address.Network) -> bool:
    """Whether a key of the map, an address or a /64, lies in a network."""
    client = address.parse(text.partition("/")[0])
    return client is not None and client in net


def _latest(rows: Iterable[LoginRow]) -> dict[str, int]:
    """The time of the latest login of each address."""
    found: dict[str, int] = {}
    for row in rows:
        found[row.address] = max(found.get(row.address, 0), row.login_at)
    return found


def _address(reading: Reading, text: str, asked: Asked) -> KnownAddress:
    keys = (text,) if "/" in text else address.keys(text)
    rows = sorted((row for key in keys for row in reading.logins.of(key)), key=lambda row: -row.login_at)
    if asked.kind == "user":
        his = {(row.address, row.user) for row in reading.logins.of_user(asked.text)}
        rows = [row for row in rows if (row.address, row.user) in his]
    held = {(key, user) for found in keys for key, user, _at in reading.sessions.all(found)}
    logins = []
    for row in rows[:LOGINS_AT_MOST]:
        revoked_at = reading.revocations.latest_at(row.address, row.user)
        logins.append(
            LoginFact(
                row.user,
                row.login_at,
                row.expires_at,
                row.format,
                revoked_at if row.login_at <= revoked_at else 0,
                (row.address, row.user) in held,
                row.address if row.address != text else "",
            )
        )
    shared = [(found.since, found.users) for key in keys if (found := reading.shared.of(key)) and found.until]
    refused = [last for key in keys if (last := reading.refusals.of(key)) is not None and last.at is not None]
    last = max(refused, key=lambda one: one.at or 0, default=None)
    return KnownAddress(
        text,
        max(reading.published.expiry(key) or 0 for key in keys),
        tuple(logins),
        shared[0] if shared else (),
        () if last is None else (last.at, last.user, last.reason),
    )


def failed_logins(loaded: Config, asked: Sequence[Asked]) -> tuple[list[FailedFact], str]:
    """The failed logins that the watcher remembers, the newest first, and why they cannot be told, or ""."""
    networks = [one.text for one in asked if one.kind != "user"]
    users = [one.text for one in asked if one.kind == "user"]
    try:
        reply = ask_watcher(loaded.control_path, command="failed", networks=networks, users=users)
        if "error" in reply:
            raise refusal(reply)
    except ForbiddenError:
        return [], ""
    except UnavailableError as error:
        return [], f"new logins are not seen: {error}"
    except PopauthdError as error:
        return [], f"failed logins cannot be told: {error}"
    return [fact for row in reply["failed"] if (fact := _failed(row)) is not None], ""


def _failed(row: object) -> FailedFact | None:
    """A row of the watcher's reply, if it is one."""
    if not isinstance(row, dict):
        return None
    client, user, at, why, times = (row.get(key) for key in ("address", "user", "at", "why", "times"))
    if not isinstance(client, str) or not isinstance(user, str) or why not in FAILED:
        return None
    if not isinstance(at, int) or not isinstance(times, int):
        return None
    return FailedFact(client, user, at, str(why), times)
