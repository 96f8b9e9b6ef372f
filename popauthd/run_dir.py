"""A start in the run directory: made if it is missing, taken for this process alone, and left to whoever has it.

Nothing in it is touched before the lock is ours: the other process goes on, with its map, its list and its sockets.
"""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from popauthd.accounts import give_to_group
from popauthd.config import Config
from popauthd.errors import ConfigError, ForbiddenError, StoreError, in_the_way
from popauthd.locks import Places, hold, listens
from popauthd.serving.unix_socket import listen
from popauthd.systemd import handed_over


def prepare(settings: Config) -> None:
    """Make run_dir (2750, group as configured, so what is made in it is Exim's to read) if it is missing."""
    directory = Path(settings.run_dir)
    try:
        if directory.is_dir():
            return
        # Made aside and renamed: the other part, started at the same moment, never sees it half made.
        directory.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f"{directory.name}.", dir=directory.parent))
        with contextlib.suppress(PermissionError):
            give_to_group(fresh, settings.group)
        fresh.chmod(0o2750)
        try:
            fresh.rename(directory)
        except OSError:
            fresh.rmdir()
            if not directory.is_dir():  # else the other part was faster
                raise
    except OSError as error:
        raise in_the_way(f"run_dir {directory}: cannot be made", error) from error


def hand_over(settings: Config) -> None:
    """Give run_dir, and what Exim reads in it, to a group that has come since it was made.

    Raises StoreError if this user may not: systemd makes run_dir as root before a new start.
    """
    paths = (
        settings.run_dir,
        settings.map_path,
        settings.host_list_path,
        settings.lookup_path,
        settings.configured_path,
    )
    try:
        for path in filter(os.path.exists, paths):
            give_to_group(path, settings.group)
        Path(settings.run_dir).chmod(0o2750)
    except OSError as error:
        raise StoreError(
            f"there is a group {settings.group} now; ending, so that a new start gives it run_dir ({error.strerror})"
        ) from error


@contextlib.contextmanager
def starting(settings: Config) -> Iterator[None]:
    """Turn what the system refuses at a start into an error with words and an exit code."""
    try:
        yield
    except OSError as error:
        where = f", {error.filename}" if error.filename else ""
        raise in_the_way(f"cannot start with run_dir {settings.run_dir}{where}", error) from error


def only_writer(settings: Config, stopped: Callable[[], bool]) -> Iterator[int]:
    """Take the locks that make this process the one writer, and give their descriptors.

    Raises StoreError, before anything is touched, if another process is.
    """
    yield hold(
        Path(settings.watch_lock_path),
        f"run_dir {settings.run_dir}: another watcher is running in it; two would spoil each other's relay map. "
        "Give each a run_dir of its own, or stop the other",
        stopped,
    )
    directory = Path(settings.state_dir)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise in_the_way(f"state_dir {directory}: cannot be used", error) from error
    yield hold(directory / "lock", f"{directory}: another watcher is running on these books", stopped)


def end_if_lost(places: Places) -> None:
    """Raise StoreError if a lock or socket of ours was taken away: only a new start puts all of them back."""
    if lost := places.lost():
        raise StoreError(
            f"{lost} was removed or replaced; ending, so that a new start makes it again (if the socket is systemd's: "
            "systemctl restart popauthd-lookup.socket popauthd)"
        )


def lookup_listener(
    settings: Config, places: Places, stopped: Callable[[], bool], stack: contextlib.ExitStack
) -> socket.socket:
    """The one socket for Exim: systemd's, or our own. Raises StoreError, before anything is touched, if another
    process serves it.
    """
    handed = handed_over()
    refusal = f"run_dir {settings.run_dir}: another responder is running in it; stop that first"
    try:
        prepare(settings)
        stack.callback(os.close, hold(Path(settings.respond_lock_path), refusal, stopped))
        places.add(settings.respond_lock_path)
    except (ForbiddenError, ConfigError):
        if handed is None:
            raise  # else the unit's sandbox lets us make nothing here, and systemd starts no second one
    if handed is not None:
        return handed
    if listens(settings.lookup_path):
        raise StoreError(
            f"{settings.lookup_path}: another process listens there; stop that first, and popauthd-lookup.socket if "
            "systemd does"
        )
    listener = listen(settings.lookup_path, 0o660)
    places.add(settings.lookup_path)
    return listener
