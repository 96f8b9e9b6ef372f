"""Real journals for tests: files made by systemd-journal-remote, and a journald started by hand.

The journald lives in a mount namespace of its own, with its own /run, /dev/log and /var/log, and
never meets the machine's. Needs root, and the packages systemd and systemd-journal-remote.
"""

from __future__ import annotations

import signal
import struct
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.servers.place import Place, Server

REMOTE = "/usr/lib/systemd/systemd-journal-remote"
JOURNALD = "/usr/lib/systemd/systemd-journald"
BOOT = "5ce4c1c6b1cf4665b4345037c68e736d"
DROPPED = "a596d6fe7bfa4994828e72309e95d61e"
TRUSTED = {
    "_UID": "0",
    "_EXE": "/usr/lib/dovecot/log",
    "_COMM": "log",
    "_SYSTEMD_UNIT": "dovecot.service",
    "_TRANSPORT": "syslog",
    "_MACHINE_ID": BOOT,
    "SYSLOG_IDENTIFIER": "dovecot",
    "PRIORITY": "6",
}

Value = str | bytes | Sequence[str | bytes] | None
Fields = Mapping[str, Value]


def login(address: str, user: str = "alice") -> str:
    """A message of Dovecot 2.3 that grants `address`."""
    return f"pop3-login: Login: user=<{user}>, method=PLAIN, rip={address}, lip=198.51.100.5, mpid=4242, session=<a>"


def record(at: float, message: Value, **fields: Value) -> bytes:
    """A record in the journal's export format, as Dovecot's log process writes it but for `fields`.

    at: epoch seconds. A value may be bytes, several values, or None for no such field.
    """
    microseconds = round(at * 1_000_000)
    lines = [f"__REALTIME_TIMESTAMP={microseconds}", f"__MONOTONIC_TIMESTAMP={microseconds % 10**12}"]
    parts = [line.encode() + b"\n" for line in [*lines, f"_BOOT_ID={BOOT}"]]
    for name, value in {**TRUSTED, "MESSAGE": message, **fields}.items():
        several = [] if value is None else [value] if isinstance(value, str | bytes) else value
        for one in several:
            raw = one.encode() if isinstance(one, str) else one
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(raw)) + raw + b"\n")
    return b"".join(parts) + b"\n"


def write(path: Path, *records: bytes) -> None:
    """Append records to the journal file `path`, which is made if it is not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [REMOTE, "-o", str(path), "--split-mode=none", "-"]
    done = subprocess.run(command, input=b"".join(records), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")


def journalctl(where: Path, *arguments: str) -> bytes:
    """What journalctl prints of the journal files in a directory."""
    command = ["journalctl", "--no-pager", "--quiet", "-D", str(where), *arguments]
    return subprocess.run(command, capture_output=True, check=True).stdout


# The cgroup that makes what runs in it Dovecot's unit, as seen from journald's cgroup namespace.
UNIT_GROUP = "system.slice/dovecot.service"
# $1 is the directory that holds all of it, $2 journald, $3 this script.
# Audit=no: journald would switch the kernel's auditing on.
# The burst is multiplied by four to six where the disk has room (journald-rate-limit.c, burst_modulate).
START = """
set -eu
if ! mount --make-rprivate / 2> /dev/null; then
    # "/" is no mount but a plain directory (a chroot): go on in a mount of it, which can be made private.
    mkdir "$1/new"
    mount --rbind / "$1/new"
    mount --make-rprivate "$1/new"
    exec chroot "$1/new" sh -c "$3" sh "$1" "$2" "$3"
fi
# A chroot may have neither.
[ -e /proc/self ] || mount -t proc proc /proc
[ -d /sys/fs/cgroup ] || mount -t sysfs sysfs /sys
conf="$1/run/systemd/journald.conf.d"
mkdir -p "$1/dev/shm" "$conf" "$1/run/systemd/journal" "$1/log/journal" "$1/cgroup"
for node in null zero full random urandom tty; do : > "$1/dev/$node"; mount --bind "/dev/$node" "$1/dev/$node"; done
ln -s /proc/self/fd "$1/dev/fd"
ln -s /run/systemd/journal/dev-log "$1/dev/log"
cat > "$conf/test.conf" <<END
[Journal]
Storage=persistent
Seal=no
ReadKMsg=no
Audit=no
RateLimitIntervalSec=5s
RateLimitBurst=500
END
: > "$1/run/systemd/journal/flushed"

mount -t cgroup2 none "$1/cgroup"
own="$1/cgroup$(sed -n 's/^0:://p' /proc/self/cgroup)"
group="$own/popauthd-test-$$"
mkdir -p "$group/UNIT_GROUP"
echo $$ > "$group/cgroup.procs"
mkdir "$1/unit"
mount --bind "$group/UNIT_GROUP" "$1/unit"

mount --bind "$1/log" /var/log
mount --rbind "$1/dev" /dev
mount --rbind "$1/run" /run
unshare --cgroup sh -c 'umount -R /sys/fs/cgroup || :; mount -t cgroup2 none /sys/fs/cgroup; exec "$1"' sh "$2" &
trap 'kill $!' TERM
trap : USR2
while kill -0 $! 2> /dev/null; do wait $! || :; done
echo $$ > "$own/cgroup.procs"
umount "$1/unit"
cd "$group" && rmdir -p UNIT_GROUP && cd / && rmdir "$group"
""".replace("UNIT_GROUP", UNIT_GROUP)


class Inside(Place):
    """A place whose servers run in the mount namespace of the process `inside`, once that is set, as Dovecot's unit."""

    inside: int = 0

    def start(self, name: str, command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> Server:
        """See Place.start."""
        return super().start(name, [*self.enter(), *command], env)

    def enter(self, unit: bool = True) -> list[str]:
        """What to put before a command so that it runs inside."""
        if not self.inside:
            return []
        into = ["sh", "-c", 'echo $$ > "$0/cgroup.procs"; exec "$@"', str(self.root / "journald/unit")] if unit else []
        return ["nsenter", "--target", str(self.inside), "--mount", "--root", "--", *into]


class Journald:
    """A running journald; `journal` is the directory of its files."""

    def __init__(self, place: Inside) -> None:
        self._place = place
        root = place.directory("journald")
        private = ["unshare", "--mount", "--propagation", "unchanged"]
        self.server = place.start("journald.server", [*private, "sh", "-c", START, "sh", root, JOURNALD, START])
        self.server.wait_until(lambda: bool(list(root.glob("log/journal/*/system.journal"))), "open its files")
        self.server.wait_until(lambda: (root / "run/systemd/journal/dev-log").is_socket(), "listen")
        place.inside = self.server.pid
        self.journal = next(root.glob("log/journal/*"))

    def run(self, *command: str, uid: int = 0, unit: bool = False) -> None:
        """Run a command that can log to this journald, in Dovecot's unit if asked."""
        become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"] if uid else []
        subprocess.run([*self._place.enter(unit), *become, *command], check=True)

    def rotate(self) -> None:
        """Have it begin a new file; returns when it has."""
        before = len(list(self.journal.glob("*.journal")))
        self.server.signal_group(signal.SIGUSR2)
        self.server.wait_until(lambda: len(list(self.journal.glob("*.journal"))) > before, "rotate")

    def vacuum(self, keep: int = 1) -> None:
        """Remove the oldest files; of those that are kept, one is in use."""
        subprocess.run(["journalctl", "--quiet", "-D", self.journal, f"--vacuum-files={keep}"], check=True)
