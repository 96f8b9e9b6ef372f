"""Speaks with systemd if that started us: readiness, status, watchdog, and the socket it hands over.

sd_notify(3): datagrams to the socket that NOTIFY_SOCKET names. sd_listen_fds(3): open sockets from descriptor
3 on, for the process that LISTEN_PID names. Started by anything else, all of this does nothing. The variables
are taken out of the environment, so that no child (zstd, doveadm, a probe) speaks or listens for us.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping

from popauthd.errors import ConfigError

FIRST_DESCRIPTOR = 3  # SD_LISTEN_FDS_START


class Supervisor:
    """Tells systemd how we are. Never raises: trouble with telling is no trouble of the service."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        name = environment.pop("NOTIFY_SOCKET", "")
        self._name = f"\0{name[1:]}" if name.startswith("@") else name
        microseconds = environment.pop("WATCHDOG_USEC", "")
        ours = environment.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        # Three times in each period: one that is late or lost does no harm.
        self._every_seconds = int(microseconds) / 3e6 if ours and microseconds.isdecimal() else 0.0
        self._alive_at = 0.0
        self._status = ""

    def ready(self, status: str) -> None:
        """The service is up."""
        self._status = status
        self._tell(f"READY=1\nSTATUS={status}")

    def say(self, status: str) -> None:
        """What `systemctl status` shows of the service; sent only when it has changed."""
        if status != self._status:
            self._status = status
            self._tell(f"STATUS={status}")

    def stopping(self) -> None:
        """The service is going down, as it should."""
        self._tell("STOPPING=1\nSTATUS=stopping")

    def alive(self) -> None:
        """Feed the watchdog; call it at every turn, it sends only when it is time."""
        now = time.monotonic()
        if self._every_seconds and now >= self._alive_at:
            self._alive_at = now + self._every_seconds
            self._tell("WATCHDOG=1")

    def _tell(self, message: str) -> None:
        if not self._name:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)
            sender.connect(self._name)
            sender.send(message.encode())


def handed_over(environment: MutableMapping[str, str] = os.environ) -> socket.socket | None:
    """The listening unix socket that systemd hands over, or None if it hands over none.

    Raises ConfigError if it is not exactly one, or of another kind: the socket unit was changed.
    """
    pid, count = environment.pop("LISTEN_PID", ""), environment.pop("LISTEN_FDS", "")
    environment.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or count in ("", "0"):
        return None
    if count != "1":
        raise ConfigError(f"{count} sockets were handed over; popauthd-lookup.socket must have one ListenStream= line")
    try:
        os.set_inheritable(FIRST_DESCRIPTOR, False)
        listener = socket.socket(fileno=FIRST_DESCRIPTOR)
        listens = listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise ConfigError(f"the socket that was handed over is none: {error.strerror}") from error
    if listener.family != socket.AF_UNIX or listener.type != socket.SOCK_STREAM or not listens:
        raise ConfigError("the socket that was handed over is not a listening unix stream socket (ListenStream=/path)")
    return listener
