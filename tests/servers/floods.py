"""Processes that flood a socket, as another user: each says "flooding" once it has begun."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# Arguments: uid and gid to become, the address (a path or a port), how, and the bytes to send in hexadecimal.
CODE = """
import os, socket, sys
uid, gid, where, how, text = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4], bytes.fromhex(sys.argv[5])
if os.getuid() == 0:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
kept = []
first = True
while True:
    connection = socket.socket(socket.AF_INET if where.isdigit() else socket.AF_UNIX)
    try:
        connection.settimeout(5)
        connection.connect(("127.0.0.1", int(where)) if where.isdigit() else where)
        if how == "trickle":
            for byte in text:
                connection.send(bytes([byte]))
        elif text:
            connection.sendall(text)
        if how == "ask":
            connection.recv(4096)
    except PermissionError:
        print("kept out", flush=True)
        break
    except OSError:
        pass
    if how == "hold":
        kept.append(connection)
        if len(kept) > 400:
            kept.pop(0).close()
    else:
        connection.close()
    if first:
        first = False
        print("flooding", flush=True)
"""


@contextlib.contextmanager
def flood(
    where: Path | int, how: str, text: bytes = b"", *, uid: int = 65534, gid: int = 65534, processes: int = 2
) -> Iterator[list[str]]:
    """Flood a unix socket, or a TCP port of loopback, meanwhile. Gives what each process said at its beginning.

    how: `send` (and close), `ask` (and wait for an answer), `hold` (400 connections open), `trickle` (byte by byte).
    """
    command = [sys.executable, "-c", CODE, str(uid), str(gid), str(where), how, text.hex()]
    with contextlib.ExitStack() as stack:
        said = []
        for _ in range(processes):
            child = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(child.kill)
            assert child.stdout is not None
            said.append(child.stdout.readline().strip())
        yield said
