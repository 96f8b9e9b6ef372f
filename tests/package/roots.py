"""A clean Debian in a directory, made by mmdebstrap from the machine's mirror, kept below .cache/ as a tarball.

What apt fetches for it is kept as well, so only the first run needs the network. It has Debian's Exim and Dovecot
as an administrator would have installed them, and a policy-rc.d that starts nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from tests.support.helpers import ROOT

SUITES = ("bookworm", "trixie")
# Only what a mail server has before popauthd comes: a dependency that is missing must show.
INCLUDE = ("exim4-daemon-light", "dovecot-imapd", "dovecot-pop3d", "ca-certificates")
SERVER = "198.51.100.5"
CLIENTS = ("192.0.2.10", "192.0.2.11", "192.0.2.12", "192.0.2.13", "2001:db8::7")
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"}
TERMINALS = "mkdir -p {0}/pts; mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts {0}/pts; "
NETWORK = "ip link set lo up; for a in {}; do ip address add $a dev lo; done; echo up; exec sleep infinity"
# Mirrors keep another architecture's updates less well; nothing of such a system faces anybody.
RELEASE_ALONE = '--setup-hook=sed -i "/-updates\\|-security/d" "$1"/etc/apt/sources.list'
# Not compared: the package manager's own records, caches, logs and what is running.
VOLATILE = ("proc", "sys", "dev", "run", "tmp", "var/lib/dpkg", "var/lib/apt", "var/cache", "var/log", "var/tmp")


NO_SERVER = "nameserver 127.0.0.1\n"  # nobody listens there: every question fails at once


class RootError(Exception):
    """A command failed; the message holds what it said."""


def checked(command: Sequence[str | Path], seconds: float = 600, environment: Mapping[str, str] | None = None) -> str:
    """Run a command of this machine; all its output. Raises RootError."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False,
        env=None if environment is None else dict(environment), stdin=subprocess.DEVNULL,
    )  # fmt: skip
    if done.returncode != 0:
        raise RootError(f"{' '.join(map(str, command))}: exit {done.returncode}\n{done.stdout[-4000:]}")
    return done.stdout


def tarball(suite: str, include: Sequence[str] = INCLUDE, architecture: str = "") -> Path:
    """The clean system with these packages, made if it is not there. The name says what is in it.

    architecture: "" for this machine's own; another one needs arch-test, and a kernel that runs its programs.
    """
    key = hashlib.sha256(" ".join(include).encode()).hexdigest()[:8]
    path = ROOT / f".cache/roots/{release(suite, architecture)}-{key}.tar"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"fresh-{os.getpid()}-{path.name}")
        # The package lists stay in it: with the archive below .cache/, apt then needs no network.
        words = ["--variant=minbase", "--mode=root", "--format=tar", "--skip=cleanup/apt/lists"]
        if architecture:
            words += [f"--architectures={architecture}", RELEASE_ALONE]
        checked(["mmdebstrap", *words, f"--include={','.join(include)}", suite, fresh], 1800)
        fresh.rename(path)
    return path


def release(suite: str, architecture: str) -> str:
    """What a clean system is called below .cache/."""
    return f"{suite}-{architecture}" if architecture else suite


class Root:
    """One clean system with a network and processes of its own, gone when it is closed."""

    def __init__(self, suite: str, include: Sequence[str] = INCLUDE, architecture: str = "") -> None:
        self.suite = suite
        self.path = Path(tempfile.mkdtemp(prefix=f"popauthd-{suite}-"))
        self.path.chmod(0o755)
        checked(["tar", "-C", self.path, "-xf", tarball(suite, include, architecture), "--numeric-owner"])
        self._resolve(NO_SERVER)
        policy = self.path / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        self._archive = ROOT / f".cache/roots/{release(suite, architecture)}-archive"
        self._archive.mkdir(exist_ok=True)
        words = ["unshare", "--net", "--mount", "--pid", "--ipc", "--fork", "--kill-child=KILL"]
        script = TERMINALS.format(self.path / "dev") + NETWORK.format(" ".join((SERVER, *CLIENTS)))
        self._holder = subprocess.Popen(
            [*words, f"--mount-proc={self.path}/proc", "sh", "-c", script], stdout=subprocess.PIPE
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"up\n":
            raise RootError("the namespaces of the root cannot be made")

    def __enter__(self) -> Root:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._holder.kill()
        self._holder.communicate()
        shutil.rmtree(self.path, ignore_errors=True)

    def enter(self, *kinds: str) -> list[str]:
        """The words before a command that shall run in some of the root's namespaces."""
        files = {"pid": "pid_for_children", "mount": "mnt"}
        process = f"/proc/{self._holder.pid}"
        words = ["nsenter", *(f"--{kind}={process}/ns/{files.get(kind, kind)}" for kind in kinds)]
        # Where this machine is itself a chroot, the namespace's own root is outside of it.
        return [*words, f"--root={process}/root"] if "mount" in kinds else words

    def inside(self, *command: str, network: bool = True) -> list[str]:
        """The words that run a command in the root, as its root user, on its own network or this machine's."""
        kinds = ("net", "mount", "pid", "ipc") if network else ("mount", "pid", "ipc")
        return [*self.enter(*kinds), "chroot", str(self.path), *command]

    def run(self, *command: str) -> str:
        """Run a command in the root; all its output. Raises RootError."""
        return checked(self.inside(*command), environment=ENVIRONMENT)

    def fails(self, *command: str) -> tuple[int, str]:
        """Run a command that may fail: its status and all its output."""
        done = subprocess.run(
            self.inside(*command), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT,
            check=False, timeout=600, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode, done.stdout

    def client(self, function: str, *arguments: object) -> Any:
        """Call a function of tests.servers.clients on the root's network, with this machine's Python."""
        code = (
            "import dataclasses, json, sys; from tests.servers import clients;"
            "got = getattr(clients, sys.argv[1])(*json.loads(sys.argv[2]));"
            "print(json.dumps(dataclasses.asdict(got) if dataclasses.is_dataclass(got) else got))"
        )
        words = [*self.enter("net"), sys.executable, "-c", code, function, json.dumps(arguments)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode != 0:
            raise RootError(f"{function}{arguments}: {done.stderr[-2000:]}")
        return json.loads(done.stdout)

    def apt(self, *words: str) -> str:
        """Run apt-get over this machine's network; what it fetches is kept for the next root."""
        there = self.path / "var/cache/apt/archives"
        for deb in self._archive.glob("*.deb"):
            shutil.copyfile(deb, there / deb.name)
        options = ["-q", "-y", "-o", "APT::Keep-Downloaded-Packages=true", "-o", "Dpkg::Use-Pty=0"]
        command = ["apt-get", *options, "--no-install-recommends", *words]
        try:
            said = self.online(*command)
        except RootError:  # the lists may be older than the mirror
            self.online("apt-get", "-q", "update")
            said = self.online(*command)
        for deb in there.glob("*.deb"):
            shutil.move(deb, self._archive / deb.name)
        return said

    def online(self, *command: str) -> str:
        """Run a command in the root over this machine's network; all its output. Raises RootError."""
        self._resolve(Path("/etc/resolv.conf").read_text())
        try:
            return checked(self.inside(*command, network=False), environment=ENVIRONMENT)
        finally:
            self._resolve(NO_SERVER)

    def _resolve(self, text: str) -> None:
        (self.path / "etc/resolv.conf").write_text(text)

    def install(self, deb: Path) -> str:
        """Install a package file as an administrator would: apt finds what it depends on."""
        shutil.copyfile(deb, self.path / "tmp" / deb.name)
        return self.apt("install", f"/tmp/{deb.name}")

    def tree(self) -> dict[str, str]:
        """Every file of the system: path -> kind, mode, owner and what is in it."""
        found = {}
        for directory, names, files in os.walk(self.path):
            here = Path(directory)
            names[:] = [name for name in names if str((here / name).relative_to(self.path)) not in VOLATILE]
            for name in [*names, *files]:
                found[str((here / name).relative_to(self.path))] = describe(here / name)
        return found


def describe(path: Path) -> str:
    """What makes a file the same file."""
    status = path.lstat()
    words = [stat.filemode(status.st_mode), str(status.st_uid), str(status.st_gid)]
    if path.is_symlink():
        words.append(str(path.readlink()))
    elif path.is_file():
        words.append(hashlib.sha256(path.read_bytes()).hexdigest())
    return " ".join(words)


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What is not the same: path -> before, after; "" where it is not there."""
    return {
        path: (before.get(path, ""), after.get(path, ""))
        for path in sorted(before.keys() | after.keys())
        if before.get(path) != after.get(path)
    }
