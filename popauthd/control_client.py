"""What popauthctl and the doctor ask: the relay map, the responder, and the running watcher.

Neither is trusted to be what it should: run_dir belongs to the watcher's user, and whatever stands there answers in
time, in good form, or is an error.
"""

from __future__ import annotations

import os
import socket
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from popauthd.accounts import Account, user_name
from popauthd.as_user import LookError, ask_socket, look, look_in, plain_name
from popauthd.errors import ForbiddenError, PopauthdError, StoreError, UnavailableError
from popauthd.protocol import CONTROL_BYTES, read_control, write_control
from popauthd.text import safe

if TYPE_CHECKING:
    from popauthd.status import Status

# What must be in a reply, beside whatever else is; that to "status" is read by popauthd.status.
REPLIES: Mapping[str, Mapping[str, type]] = {
    "grant": {"address": str, "expires_at": int},
    "revoke": {"addresses": int, "known": bool, "closed": list},
    "reload": {"path": str, "changed": list, "warning": str},
    "failed": {"failed": list},
}
NOBODY = "192.0.2.1"  # RFC 5737: no client has it
WATCHER_SECONDS = 10.0
RELOAD_SECONDS = 120.0  # all logins that stand may have to be judged again
REPLY_BYTES = 16 << 20
LATEST = 253_402_300_799  # the year 9999; a later time cannot be printed


def map_expiry(path: str, wanted: str) -> int | None:
    """What the relay map has for a canonical address, asked as the owner of its directory. Raises LookError."""
    return map_expiries(path, [wanted])[0]


def map_expiries(path: str, wanted: Sequence[str]) -> list[int | None]:
    """The same for several addresses."""
    directory, name = os.path.split(path)

    def asked() -> Iterator[str]:
        for expires_at in plain_map_expiries(name, wanted):
            yield "-\n" if expires_at is None else f"{expires_at}\n"

    return [None if line == "-" else int(line) for line in look_in(directory, asked).splitlines()]


def plain_map_expiries(path: str, wanted: Sequence[str]) -> list[int | None]:
    """The same, asked as ourselves, in a process that lives no longer; a link or a pipe is no map.

    Raises OSError or StoreError.
    """
    from popauthd.store.relay_map import MapReader  # whoever asks the watcher alone needs no map

    name = plain_name(path)
    try:
        reader = MapReader(name)
        return [reader.expiry(one) for one in wanted]
    except StoreError as error:
        raise StoreError(str(error).replace(name, path, 1)) from error


def ask_responder(run_dir: str, path: str) -> str:
    """What the responder says of an address that nobody has: "yes" or "no". Raises LookError if it does not answer.

    Asked as run_dir's owner and in its group: systemd's socket in it is root's, and its group's.
    """
    return look(_owner(run_dir), lambda: ask_socket(path, NOBODY))


def _owner(directory: str) -> Account | None:
    """Who a directory belongs to, in its group. None: ourselves."""
    try:
        found = Path(directory).stat()
    except OSError as error:
        raise LookError(f"{directory}: {error.strerror}") from error
    if os.geteuid() != 0 or found.st_uid == 0:
        return None
    return Account(user_name(found.st_uid), found.st_uid, found.st_gid)


def ask_watcher(path: str, **request: object) -> dict[str, Any]:
    """The running watcher's reply to what REPLIES names, in good form: its own error, or what REPLIES says.

    Raises UnavailableError.
    """
    slow = request["command"] == "reload"
    reply = _reply(path, request, RELOAD_SECONDS if slow else WATCHER_SECONDS)
    if "error" not in reply and not _fits(reply, REPLIES[str(request["command"])]):
        raise _strange(path)
    return reply


def ask_status(path: str, timeout_seconds: float = WATCHER_SECONDS) -> Status:
    """How the running watcher is. Raises UnavailableError, or the watcher's own error."""
    from popauthd.status import from_json  # most commands need no status

    reply = _reply(path, {"command": "status"}, timeout_seconds)
    if "error" in reply:
        raise refusal(reply)
    try:
        return from_json(reply)
    except ValueError as error:
        raise _strange(path) from error


def refusal(reply: Mapping[str, Any]) -> PopauthdError:
    """The error that a reply tells."""
    error = PopauthdError(safe(reply["error"], 400))
    code = reply.get("exit_code")
    error.exit_code = code if isinstance(code, int) and 0 < code < 126 else UnavailableError.exit_code
    return error


def _reply(path: str, request: Mapping[str, object], timeout_seconds: float) -> dict[str, Any]:
    """What the watcher replies; an error in it is text. Raises UnavailableError."""
    try:
        if not stat.S_ISSOCK(Path(path).lstat().st_mode):
            raise UnavailableError(f"{path} is not a socket; restart the watcher: systemctl restart popauthd")
    except OSError:
        pass  # what is in the way is told by who connects
    reply = ask(path, request, timeout_seconds)
    if not isinstance(reply.get("error", ""), str):
        raise _strange(path)
    return reply


def _strange(path: str) -> UnavailableError:
    return UnavailableError(f"what answers on {path} is not this version of the watcher; restart popauthd")


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
    except PermissionError as error:
        raise ForbiddenError(f"needs root (sudo popauthctl ...): {path} is private") from error
    except OSError as error:
        raise UnavailableError(
            f"the watcher does not answer on {path} ({error.strerror or error}); is it running? "
            "Start it with: systemctl start popauthd"
        ) from error
    reply = read_control(data)
    if not isinstance(reply, dict):
        if os.geteuid() != 0:
            raise ForbiddenError(f"needs root (sudo popauthctl ...): the watcher on {path} hears nobody else")
        raise UnavailableError(f"the watcher gave no answer on {path}; try again, or restart it")
    return reply


def _fits(reply: Mapping[str, Any], form: Mapping[str, type]) -> bool:
    values = [(reply.get(key), kind) for key, kind in form.items()]
    return all(
        isinstance(value, kind) and not (isinstance(value, int) and not -1 <= value <= LATEST) for value, kind in values
    )
