"""A mail server in a jail: its files, the libraries it needs, its own /dev/log, and nothing of the machine's.

Made of a tree of unpacked packages (packaging/setup.sh) and, for what is not in it, of the machine's
libraries. What the server says to syslog(3) arrives in `lines` as rsyslog would write it into a file.

Limits: Linux, root (chroot, device files).
"""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.servers.place import Place, Server

HOST = "mx1"
DEVICES = {"null": 3, "zero": 5, "random": 8, "urandom": 9}
USERS = "root:x:0:0:root:/:/bin/sh\nmail:x:8:8:mail:/mail:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n"
GROUPS = "root:x:0:\nmail:x:8:\nsasl:x:45:\nnogroup:x:65534:\n"


class Jail:
    """A directory to chroot into. tree: the unpacked packages."""

    def __init__(self, place: Place, name: str, tree: Path) -> None:
        self.place, self.name, self.tree = place, name, tree
        self.root = place.directory(name)
        for directory in ("dev", "etc", "tmp", "run", "var", "proc", "bin"):
            (self.root / directory).mkdir()
        for device, minor in DEVICES.items():
            os.mknod(self.root / "dev" / device, stat.S_IFCHR | 0o666, os.makedev(1, minor))
            (self.root / "dev" / device).chmod(0o666)
        self.write("etc/passwd", USERS)
        self.write("etc/group", GROUPS)
        self.write("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n")
        self.write("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\nservices: files\n")
        shutil.copy("/etc/services", self.root / "etc/services")
        self.add("/usr/bin/env")
        self._log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._log.bind(str(self.root / "dev/log"))
        (self.root / "dev/log").chmod(0o666)
        self.lines: list[bytes] = []
        self._reader = threading.Thread(target=self._collect, daemon=True)
        self._reader.start()

    def write(self, path: str, text: str, mode: int = 0o644) -> Path:
        """A file in the jail."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)
        return file

    def add(self, *paths: str) -> None:
        """Programs and libraries, by their place in the tree or on the machine, with all they are linked to."""
        for path in paths:
            source = self._find(path)
            self._copy(source, path)
            for library in self._libraries(source):
                self._copy(library, str(library.relative_to(self.tree) if self._in_tree(library) else library))

    def _find(self, path: str) -> Path:
        inside = self.tree / path.lstrip("/")
        return inside if inside.exists() else Path(path)

    def _in_tree(self, path: Path) -> bool:
        return self.tree in path.parents

    def _copy(self, source: Path, path: str) -> None:
        target = self.root / path.lstrip("/")
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target)

    def _library_path(self, root: Path) -> str:
        found = {str(file.parent) for top in ("usr/lib", "lib") for file in (self.tree / top).rglob("*.so*")}
        return ":".join(sorted(name.replace(str(self.tree), str(root).rstrip("/")) for name in found))

    def _libraries(self, binary: Path) -> list[Path]:
        environment = {**os.environ, "LD_LIBRARY_PATH": self._library_path(self.tree)}
        done = subprocess.run(["ldd", binary], capture_output=True, text=True, env=environment, check=True)
        words = [word for line in done.stdout.splitlines() for word in line.split() if word.startswith("/")]
        assert "not found" not in done.stdout, f"{binary}: {done.stdout}"
        return [Path(os.path.normpath(word)) for word in words]

    def command(self, argv: Sequence[str], environment: dict[str, str] | None = None) -> list[str | Path]:
        """What runs a program in the jail."""
        pairs = {
            "PATH": "/usr/sbin:/usr/bin:/bin",
            "LD_LIBRARY_PATH": self._library_path(Path("/")),
            **(environment or {}),
        }
        return [
            "/usr/sbin/chroot",
            str(self.root),
            "/usr/bin/env",
            "-i",
            *(f"{k}={v}" for k, v in pairs.items()),
            *argv,
        ]

    def run(self, *argv: str, text: bytes = b"") -> bytes:
        """Run a program in the jail to its end; its output."""
        return subprocess.run(self.command(argv), input=text, capture_output=True, check=True).stdout

    def start(self, *argv: str, environment: dict[str, str] | None = None) -> Server:
        """Start a server that stays in the foreground."""
        return self.place.start(f"{self.name}.{Path(argv[0]).name}", self.command(argv, environment))

    def _collect(self) -> None:
        """Take every datagram at once: the kernel queues ten, and then the servers wait."""
        while data := self._log.recv(65536):
            text = data.rstrip(b"\n\0").partition(b">")[2]
            self.lines.append(text[:15] + b" " + HOST.encode() + text[15:])

    def logged(self) -> list[bytes]:
        """Every line so far, as rsyslog writes it: without priority, with the host's name."""
        return list(self.lines)

    def close(self) -> None:
        """Close the log; the place ends the servers and removes the files."""
        self._log.shutdown(socket.SHUT_RDWR)
        self._reader.join()
        self._log.close()
