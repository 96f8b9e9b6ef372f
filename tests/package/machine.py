"""A Debian that is really booted, with its own kernel and systemd: qemu without hardware support, and no network.

    results = play(suite, deb, workdir)     # chapter -> (exit status, what it said)

The chapters are the shell scripts of tests/package/booted, run inside as root, in the order of their names; those that
begin with 2 run after the machine was started again. What is proved here is what only systemd does: the sandbox of the
units, socket activation, dpkg's own starting and stopping, and the journal's trusted fields.

LIMIT: amd64 alone.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from tests.package.building import copy_source
from tests.package.roots import INCLUDE, checked, tarball
from tests.support.helpers import ROOT

CHAPTERS = ROOT / "tests/package/booted"
# What popauthd depends on is there from the start, as the machine has no network to fetch it from.
BOOTED = (
    *INCLUDE, "systemd-sysv", "udev", "dbus", "initramfs-tools", "linux-image-cloud-amd64", "iproute2", "logrotate",
    "autopkgtest", "dpkg-dev", "python3", "python3-lmdb", "python3-pygtail", "python3-systemd",
    "python3-tomli-w", "python3-watchdog",
)  # fmt: skip
DISK, MEMORY = "2600M", "1024"
BOOT_SECONDS = 3000.0  # without hardware support, beside other work
QEMU = (
    "qemu-system-x86_64",
    "-accel",
    "tcg",
    "-cpu",
    "qemu64",
    "-smp",
    "1",
    "-nographic",
    "-nodefaults",
    "-nic",
    "none",
)
UNIT = """\
[Unit]
After=multi-user.target
[Service]
Type=exec
ExecStart=/bin/bash /root/run
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1
ExecStopPost=/usr/bin/systemctl --no-block poweroff
[Install]
WantedBy=default.target
"""
RUN = r"""
export HOME=/root TERM=dumb LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
stty -opost </dev/ttyS1
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


def chapters() -> list[str]:
    """Their names in the order in which they run; `common` is what they share."""
    return sorted(path.name for path in CHAPTERS.iterdir() if path.name[0].isdigit())


def play(suite: str, deb: Path, workdir: Path) -> dict[str, tuple[int, str]]:
    """Make the machine, start it twice, and return what each chapter came to. Raises RootError if qemu fails."""
    files = workdir / "files"
    files.mkdir()
    checked(["tar", "-C", files, "-xf", tarball(suite, BOOTED), "--numeric-owner"])
    _furnish(files, deb)
    kernel, initrd = (max(files.glob(f"boot/{name}-*")) for name in ("vmlinuz", "initrd.img"))
    shutil.copy(kernel, workdir / "kernel")
    shutil.copy(initrd, workdir / "initrd")
    checked(["mke2fs", "-q", "-t", "ext4", "-d", files, workdir / "disk", DISK])
    shutil.rmtree(files)
    try:
        return {name: result for boot in ("first", "second") for name, result in _boot(workdir, boot).items()}
    finally:
        (workdir / "disk").unlink()  # pytest keeps the rest


def _furnish(files: Path, deb: Path) -> None:
    (files / "etc/hostname").write_text("mail\n")
    (files / "etc/hosts").write_text("127.0.0.1 localhost\n127.0.1.1 mail.example.org mail\n")
    (files / "etc/resolv.conf").write_text("")
    (files / "usr/sbin/policy-rc.d").unlink(missing_ok=True)
    unit = files / "etc/systemd/system/chapters.service"
    unit.write_text(UNIT)
    wants = files / "etc/systemd/system/default.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / unit.name).symlink_to(f"../{unit.name}")
    home = files / "root"
    (home / "run").write_text(RUN)
    shutil.copytree(CHAPTERS, home / "chapters")
    shutil.copyfile(deb, home / "popauthd.deb")
    source = copy_source(home / "source")
    shutil.move(source / "packaging/debian", source / "debian")


def _boot(workdir: Path, name: str) -> dict[str, tuple[int, str]]:
    said = workdir / f"{name}.chapters"
    words: list[str | Path] = [
        *QEMU, "-m", MEMORY, "-kernel", workdir / "kernel", "-initrd", workdir / "initrd",
        "-append", "root=/dev/vda rw console=ttyS0 systemd.show_status=0",
        "-drive", f"file={workdir / 'disk'},if=virtio,format=raw,cache=unsafe",
        "-serial", f"file:{workdir / name}.console", "-serial", f"file:{said}",
    ]  # fmt: skip
    try:
        checked(words, BOOT_SECONDS)
    except subprocess.TimeoutExpired:
        with said.open("a") as file:
            file.write(f"\nnot finished after {BOOT_SECONDS:g} s\n")
    text = said.read_text(errors="replace")
    found = {name: (int(status), part) for name, part, status in FOUND.findall(text)}
    return {**found, THE_END: (0, text[-3000:])}
