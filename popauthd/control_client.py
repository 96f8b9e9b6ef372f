"""What popauthctl and the doctor ask: the relay map, and the running watcher.

Neither is trusted to be what it should: run_dir belongs to the watcher's user, and whatever stands there answers in
time, in good form, or is an error.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from popauthd.as_user import look_in, plain_name
from popauthd.errors import StoreError, UnavailableError
from popauthd.protocol import CONTROL_BYTES, read_control, write_control

# What must be in a reply, beside whatever else is: a type, or [the form of each item].
SHARED = {"address": str, "users": int, "since": int}
SOURCE = {"name": str, "status": str, "last_login_at": int | None}
REPLIES: Mapping[str, dict[str, Any]] = {
    "grant": {"address": str, "expires_at": int},
    "revoke": {"addresses": int},
    "status": {
        "version": str,
        "pid": int,
        "degraded": str,
        "dry_run": bool,
        "addresses": int,
        "held": int,
        "now": int,
        "shared": [SHARED],
        "sources": [SOURCE],
        "notes": [str],
        "today": dict,
    },
}
WATCHER_SECONDS = 10.0
REPLY_BYTES = 16 << 20
LATEST = 253_402_300_799  # the year 9999; a later time cannot be printed


def map_expiry(path: str, wanted: str) -> int | None:
    """What the relay map has for a canonical address, asked as the owner of its directory. Raises LookError."""
    directory, name = os.path.split(path)

    def asked() -> Iterator[str]:
        expires_at = plain_map_expiry(name, wanted)
        yield "" if expires_at is None else str(expires_at)

    said = look_in(directory, asked)
    return int(said) if said else None


def plain_map_expiry(path: str, wanted: str) -> int | None:
    """The same, asked as ourselves, in a process that lives no longer; a link or a pipe is no map.

    Raises OSError or StoreError.
    """
    from popauthd.store.relay_map import MapReader  # whoever asks the watcher alone needs no map

    name = plain_name(path)
    try:
        return MapReader(name).expiry(wanted)
    except StoreError as error:
        raise StoreError(str(error).replace(name, path, 1)) from error


def ask_watcher(path: str, **request: object) -> dict[str, Any]:
    """The running watcher's reply, which is in good form: its own error, or what REPLIES says.

    Raises UnavailableError.
    """
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            raise UnavailableError(f"{path} is not a socket; restart the watcher: systemctl restart popauthd")
    except OSError:
        pass  # what is in the way is told by who connects
    reply = ask(path, request)
    form = {"error": str} if "error" in reply else REPLIES[str(request["command"])]
    if not _fits(reply, form):
        raise UnavailableError(f"what answers on {path} is not this version of the watcher; restart popauthd")
    return reply


def ask(path: str, request: Mapping[str, Any], timeout_seconds: float = WATCHER_SECONDS) -> dict[str, Any]:
    """Ask the running watcher and return its reply. Raises UnavailableError if it does not answer."""
    data = b""
    until = time.monotonic() + timeout_seconds
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_seconds)
            connection.connect(path)
            connection.sendall(write_control(request))
            # in all no longer and no more, whoever it is that answers there
            while len(data) <= REPLY_BYTES and (more := connection.recv(CONTROL_BYTES)):
                data += more
                connection.settimeout(max(0.001, until - time.monotonic()))
    except TimeoutError as error:
        raise UnavailableError(
            f"the watcher on {path} is busy and has not answered within {timeout_seconds:g} s; what was asked may "
            "still be done. Look with: popauthctl status"
        ) from error
    except OSError as error:
        raise UnavailableError(
            f"the watcher does not answer on {path} ({error.strerror or error}); is it running? "
            "Start it with: systemctl start popauthd"
        ) from error
    reply = read_control(data)
    if not isinstance(reply, dict):
        raise UnavailableError(f"the watcher gave no answer on {path}; only root and its own user are heard")
    return reply


def _fits(value: object, form: Any) -> bool:
    if isinstance(form, dict):
        return isinstance(value, dict) and all(_fits(value.get(key), inner) for key, inner in form.items())
    if isinstance(form, list):
        return isinstance(value, list) and all(_fits(item, form[0]) for item in value)
    if isinstance(value, int) and not -1 <= value <= LATEST:
        return False
    return isinstance(value, form)
