"""Unix sockets: one that listens at a path, and the user at the other end of a connection."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

QUEUE = 512  # connections that may wait to be accepted
_CREDENTIALS = struct.Struct("3i")  # struct ucred of unix(7): process, user, group


def listen(path: str, mode: int) -> socket.socket:
    """A listening unix socket at `path`, put there by rename: it replaces an old one without a gap."""
    _there, fresh = bound_names(path)
    Path(fresh).unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o777)  # nobody may connect before the mode is right
    try:
        listener.bind(fresh)
    finally:
        os.umask(before)
    listener.listen(QUEUE)
    Path(fresh).chmod(mode)
    Path(fresh).rename(path)
    return listener


def bound_names(path: str) -> tuple[str, str]:
    """How the kernel may call a socket at a path, by what it was bound to: by systemd, and by `listen`."""
    return path, f"{path}.new"


def peer_uid(connection: socket.socket) -> int:
    """The user of the process that connected, as the kernel noted it then (SO_PEERCRED)."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _process, uid, _group = _CREDENTIALS.unpack(credentials)
    return int(uid)
