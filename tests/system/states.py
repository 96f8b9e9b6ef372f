"""States that a run directory can be in, good and broken, each for one way of asking."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from tests.servers.exim import USER
from tests.servers.fakes import answering, never_accepting, open_to
from tests.support.helpers import write_map

CLIENT = {4: "127.0.0.5", 6: "::1"}
FAR = 4_000_000_000
NOISE = bytes((i * 197 + (i >> 7)) & 255 for i in range(40_000))

State = Callable[[Path], AbstractContextManager[None]]


def socket_says(reply: bytes | None, close: bool = True) -> State:
    """A responder that says the same to everybody; None: it never says anything."""
    return lambda run_dir: answering(run_dir / "lookup.sock", reply, USER, close)


@contextlib.contextmanager
def dead_socket(run_dir: Path) -> Iterator[None]:
    """The socket file of a responder that was killed."""
    path = run_dir / "lookup.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
    open_to(path, USER)
    try:
        yield
    finally:
        path.unlink()


@contextlib.contextmanager
def nothing(run_dir: Path) -> Iterator[None]:
    """An empty run directory, as after boot."""
    assert not list(run_dir.iterdir())
    yield


@contextlib.contextmanager
def no_directory(run_dir: Path) -> Iterator[None]:
    """No run directory at all."""
    aside = run_dir.rename(run_dir.with_name(f"{run_dir.name}.aside"))
    try:
        yield
    finally:
        aside.rename(run_dir)


def file(name: str, content: bytes, group: str = USER) -> State:
    """A file with this content, readable by a group."""

    @contextlib.contextmanager
    def state(run_dir: Path) -> Iterator[None]:
        path = run_dir / name
        path.write_bytes(content)
        open_to(path, group)
        try:
            yield
        finally:
            path.unlink()

    return state


@contextlib.contextmanager
def directory_in_place(run_dir: Path, name: str) -> Iterator[None]:
    """A directory where a file should be."""
    (run_dir / name).mkdir()
    try:
        yield
    finally:
        (run_dir / name).rmdir()


def map_of(expires_in: int, spoil: Callable[[bytes], bytes] = bytes) -> State:
    """A relay map with both clients, their expiry that many seconds from now; then spoilt."""

    @contextlib.contextmanager
    def state(run_dir: Path) -> Iterator[None]:
        path = run_dir / "relay.mdb"
        expiry = int(time.time()) + expires_in
        write_map(path, dict.fromkeys(CLIENT.values(), expiry))
        content = spoil(path.read_bytes())
        path.unlink()
        path.write_bytes(content)
        open_to(path, USER)
        try:
            yield
        finally:
            path.unlink()
            (run_dir / "relay.mdb-lock").unlink()

    return state


def list_of(expires_in: int) -> State:
    """A host list with both clients, their expiry that many seconds from when it is put there."""

    def state(run_dir: Path) -> AbstractContextManager[None]:
        expiry = int(time.time()) + expires_in
        return file("relay-hosts", b'127.0.0.5: %d\n"::1": %d\n' % (expiry, expiry))(run_dir)

    return state


PAGE = 4096
GOOD: dict[str, State] = {
    "socket": socket_says(b"yes"),
    "readlookup": map_of(900),
    "hostlist": list_of(900),
}
NOT_YET: dict[str, State] = {
    "socket": socket_says(b"no"),
    "readlookup": map_of(-1),
    "hostlist": list_of(-1),
}
BROKEN: dict[str, dict[str, State]] = {
    "socket": {
        "no run directory": no_directory,
        "no socket": nothing,
        "responder dead": dead_socket,
        "responder stopped, its queue full": lambda run_dir: never_accepting(run_dir / "lookup.sock", USER),
        "socket silent": socket_says(None),
        "socket closes at once": socket_says(b""),
        "socket says yes and hangs": socket_says(b"yes", close=False),
        "socket says no": socket_says(b"no"),
        "socket says yes and more": socket_says(b"yes, but"),
        "socket says yes twice": socket_says(b"yes\nyes\n"),
        "socket says YES": socket_says(b"YES"),
        "socket says a condition": socket_says(b"${if eq{1}{1}{yes}}"),
        "socket says NULs": socket_says(b"\0\0yes"),
        "socket says noise": socket_says(NOISE[:4000]),
        "a file where the socket should be": file("lookup.sock", b"yes"),
    },
    "readlookup": {
        "no run directory": no_directory,
        "no map": nothing,
        "map empty": file("relay.mdb", b""),
        "map garbage": file("relay.mdb", NOISE),
        "map expired": map_of(-1),
        "map truncated to its meta pages": map_of(900, lambda whole: whole[: 2 * PAGE]),
        "map truncated to one page": map_of(900, lambda whole: whole[:PAGE]),
        "map with garbled pages": map_of(900, lambda whole: whole[: 2 * PAGE] + NOISE),
        "map unreadable": file("relay.mdb", NOISE, "root"),
        "a directory where the map should be": lambda run_dir: directory_in_place(run_dir, "relay.mdb"),
    },
    "hostlist": {
        "no run directory": no_directory,
        "no list": nothing,
        "list empty": file("relay-hosts", b""),
        "list stale": list_of(-1),
        "list garbage": file("relay-hosts", NOISE),
        "list unreadable": file("relay-hosts", b"127.0.0.5: %d\n" % FAR, "root"),
        "list cut in the middle of a line": file("relay-hosts", b"127.0.0.5: 1"),
        "list without an expiry": file("relay-hosts", b'127.0.0.5\n"::1":\n'),
        "list with words for an expiry": file("relay-hosts", b'127.0.0.5: yes\n"::1": ${tod_epoch}9\n'),
        "list with a negative expiry": file("relay-hosts", b'127.0.0.5: -%d\n"::1": -1\n' % FAR),
        "list of others": file("relay-hosts", b'127.0.0.50: %d\n"::2": %d\n' % (FAR, FAR)),
        "a directory where the list should be": lambda run_dir: directory_in_place(run_dir, "relay-hosts"),
    },
}
