"""A Debian that is really booted, with its own systemd, in namespaces of its own on this machine's kernel; no network.

    results = play(suite, deb, workdir)     # chapter -> (exit status, what it said)
    results = play_upgrade(deb, workdir)    # the same for a Debian 12 that becomes a Debian 13

The chapters are the shell scripts of tests/package/booted or upgraded, run inside as root, in the order of their names;
those that begin with 2 run after the machine was started again. What is proved here is what only systemd does: the
sandbox of the units, socket activation, dpkg's own starting and stopping, and the journal's trusted fields; and what a
whole upgrade of Debian leaves running.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.package.building import copy_source
from tests.package.roots import INCLUDE, Root, checked, tarball
from tests.support.helpers import ROOT

CHAPTERS, UPGRADED = ROOT / "tests/package/booted", ROOT / "tests/package/upgraded"
BOOT = ROOT / "tests/package/boot"
# What popauthd depends on is there from the start, as the machine has no network to fetch it from.
BOOTED = (
    *INCLUDE, "systemd-sysv", "udev", "dbus", "iproute2", "logrotate",
    "autopkgtest", "dpkg-dev", "python3", "python3-lmdb", "python3-pygtail", "python3-systemd",
    "python3-tomli-w", "python3-watchdog",
)  # fmt: skip
# The engine of a cluster that each Debian brings.
CLUSTER = {"bookworm": ("python3-redis", "redis-server"), "trixie": ("python3-redis", "valkey-server")}
# What is upgraded need not build anything.
SMALL = tuple(name for name in BOOTED if name not in ("autopkgtest", "dpkg-dev"))
BOOT_SECONDS = 1200.0
UNIT = """\
[Unit]
After=multi-user.target
[Service]
Type=exec
ExecStart=/bin/bash /root/run
StandardOutput=append:/root/said
StandardError=append:/root/said
ExecStopPost=/usr/bin/systemctl --no-block poweroff
[Install]
WantedBy=default.target
"""
RUN = r"""
export HOME=/root TERM=dumb LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
boot=$(($(cat /root/boots 2>/dev/null || echo 0) + 1))
echo $boot >/root/boots
echo 'quiet "2"; Dpkg::Use-Pty "0";' >/etc/apt/apt.conf.d/quiet
cd /root
for chapter in /root/chapters/$boot*; do
    SECONDS=0
    echo "== begin ${chapter##*/}"
    bash -eux "$chapter" </dev/null 2>&1
    printf '\n== end %s %d after %d s\n' "${chapter##*/}" $? $SECONDS
done
sync
"""
THE_END = "the end"  # of all that was said, for a chapter that never ended
FOUND = re.compile(r"^== begin (\S+)\n(.*?)^== end \1 (\d+) after \d+ s$", re.MULTILINE | re.DOTALL)


def chapters(which: Path = CHAPTERS) -> list[str]:
    """Their names in the order in which they run; `common` is what they share."""
    return sorted(path.name for path in which.iterdir() if path.name[0].isdigit())


def play(suite: str, deb: Path, workdir: Path) -> dict[str, tuple[int, str]]:
    """Make the machine, start it twice, and return what each chapter came to. Raises RootError if it does not start."""
    return _play(tarball(suite, (*BOOTED, *CLUSTER[suite])), CHAPTERS, deb, workdir)


def play_upgrade(deb: Path, workdir: Path) -> dict[str, tuple[int, str]]:
    """The same for a Debian 12 that has fetched Debian 13. deb: as Debian 12 builds it."""
    return _play(_with_the_next_release(), UPGRADED, deb, workdir)


def _with_the_next_release() -> Path:
    """Debian 12 with the lists and packages of its full upgrade to Debian 13; only the first call needs the network."""
    path = tarball("bookworm", SMALL).with_name("bookworm-with-trixie.tar")
    if not path.exists():
        with Root("bookworm", SMALL) as root:
            sources = root.path / "etc/apt/sources.list"
            before = sources.read_text()
            sources.write_text(before.replace("bookworm", "trixie"))
            root.online("apt-get", "-q", "update")
            options = ("-q", "-y", "-o", "APT::Keep-Downloaded-Packages=true", "--no-install-recommends")
            root.online("apt-get", *options, "--download-only", "full-upgrade")
            sources.write_text(before)
            fresh = path.with_name(f"fresh-{os.getpid()}-{path.name}")
            checked(["tar", "-C", root.path, "--numeric-owner", "-cf", fresh, "."])
        fresh.rename(path)
    return path


def _play(system: Path, which: Path, deb: Path, workdir: Path) -> dict[str, tuple[int, str]]:
    files = workdir / "files"
    files.mkdir()
    files.chmod(0o755)
    checked(["tar", "-C", files, "-xf", system, "--numeric-owner"])
    _furnish(files, deb, which)
    try:
        return {name: result for boot in ("first", "second") for name, result in _boot(files).items()}
    finally:
        shutil.rmtree(files)  # pytest keeps the rest


def _furnish(files: Path, deb: Path, which: Path) -> None:
    (files / "etc/hostname").write_text("mail\n")
    (files / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 mail.example.org mail\n")
    (files / "etc/resolv.conf").write_text("")
    (files / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
    unit = files / "etc/systemd/system/chapters.service"
    unit.write_text(UNIT)
    (unit.parent / "console-getty.service").symlink_to("/dev/null")  # nobody sits at it
    wants = files / "etc/systemd/system/default.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / unit.name).symlink_to(f"../{unit.name}")
    home = files / "root"
    (home / "run").write_text(RUN)
    shutil.copytree(which, home / "chapters")
    shutil.copy(CHAPTERS / "common", home / "chapters/common")
    shutil.copyfile(deb, home / "popauthd.deb")
    source = copy_source(home / "source")
    shutil.move(source / "packaging/debian", source / "debian")


def _boot(files: Path) -> dict[str, tuple[int, str]]:
    said = files / "root/said"
    said.write_text("")
    try:
        checked(["unshare", "--mount", "sh", BOOT, files], BOOT_SECONDS)
    except subprocess.TimeoutExpired:
        with said.open("a") as file:
            file.write(f"\nnot finished after {BOOT_SECONDS:g} s\n")
    text = said.read_text(errors="replace")
    found = {name: (int(status), part) for name, part, status in FOUND.findall(text)}
    return {**found, THE_END: (0, text[-3000:])}
