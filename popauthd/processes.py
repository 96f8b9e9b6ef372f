"""The processes of this machine, as /proc shows them: which program runs, since when, and where it listens.

Only what listens in our own network is seen: the mail server of a container is not this machine's. A process that ends
while it is looked at is as one that is not there.

LIMIT: who is not root sees the programs and the sockets of the own processes alone.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_LISTENING = "0A"  # TCP_LISTEN, /proc/net/tcp
_ACCEPTS = 0x10000  # __SO_ACCEPTCON, the flag of a listening socket in /proc/net/unix
_GONE = " (deleted)"


class Port(NamedTuple):
    """An address and a port where connections are taken; port first, so that they sort by it."""

    port: int
    address: str

    @property
    def loopback(self) -> bool:
        """Whether only this machine itself reaches it."""
        found = ip_address(self.address)
        inner = getattr(found, "ipv4_mapped", None)
        return (inner or found).is_loopback

    def __str__(self) -> str:
        """As Exim's manual and `ss` write it."""
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"


Ports = Mapping[int, Port]  # by the inode of the socket


class Program(NamedTuple):
    """What a process runs. gone: its file was removed or replaced since it was started."""

    path: Path
    gone: bool


def pids() -> Iterator[int]:
    """Every process."""
    for place in PROC.iterdir():
        if place.name.isdigit():
            yield int(place.name)


def program(pid: int) -> Program | None:
    """The program of a process, None if it is not there or we may not see it."""
    try:
        link = str((PROC / str(pid) / "exe").readlink())
    except OSError:
        return None
    return Program(Path(link.removesuffix(_GONE)), link.endswith(_GONE))


def words(pid: int) -> list[str]:
    """How a process was called, which it can change itself; [] if it is not there."""
    try:
        said = (PROC / str(pid) / "cmdline").read_bytes()
    except OSError:
        return []
    return [word.decode("utf-8", "backslashreplace") for word in said.split(b"\0")[:-1]]


def parent(pid: int) -> int:
    """The process that started another, 0 if that one is not there."""
    try:
        return int((PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except OSError:
        return 0


def started_at(pid: int) -> float:
    """When a process was started, in epoch seconds. SIGHUP does not change it. Raises OSError."""
    fields = (PROC / str(pid) / "stat").read_text(errors="replace").rpartition(")")[2].split()
    after_boot = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.time() - (time.clock_gettime(time.CLOCK_BOOTTIME) - after_boot)


def ports() -> Ports:
    """Where connections are taken in our network."""
    found = {}
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
            for row in (PROC / "net" / name).read_text().splitlines()[1:]:
                _number, local, _remote, state, *rest = row.split()
                if state == _LISTENING:
                    address, port = local.split(":")
                    found[int(rest[5])] = Port(int(port, 16), _address(address))
    return found


def _address(text: str) -> str:
    """An address as the kernel prints it: words of 32 bits in the machine's own order."""
    count = len(text) // 8
    packed = struct.pack(f"={count}I", *(int(text[8 * i : 8 * i + 8], 16) for i in range(count)))
    return socket.inet_ntop(socket.AF_INET if count == 1 else socket.AF_INET6, packed)


def listeners(*paths: str) -> set[int]:
    """The inodes of the listening sockets that were bound to one of these paths."""
    found = set()
    for row in (PROC / "net/unix").read_text(errors="replace").splitlines()[1:]:
        fields = row.split(maxsplit=7)
        if len(fields) == 8 and fields[7] in paths and int(fields[3], 16) & _ACCEPTS:
            found.add(int(fields[6]))
    return found


def sockets(pid: int) -> set[int]:
    """The inodes of the sockets that a process holds; none if we may not see them."""
    held = set()
    with contextlib.suppress(OSError):
        for descriptor in (PROC / str(pid) / "fd").iterdir():
            with contextlib.suppress(OSError):  # closed meanwhile
                link = str(descriptor.readlink())
                if link.startswith("socket:["):
                    held.add(int(link[len("socket:[") : -1]))
    return held
