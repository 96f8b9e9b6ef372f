"""Catching up a log whose every line lies in the last window: time, against grep, and memory.

    python3 -m tests.bench.bench_catch_up [LINES]

Makes a Debian mail log of LINES lines (5 million unless told, some 900 MB) in a temporary directory, a quarter of
them logins from up to 195,000 addresses; starts the watcher on it and watches its anonymous memory until
every line is read. The yardstick is `grep -c 'Login: '` over the same file in the same run.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.support.daemons import Installation

OTHERS = (
    "mx1 exim[812]: 1tEx-0001-Ab <= sender@example.org H=client [198.51.100.77] P=esmtps S=4711 id=x@example.org",
    "mx1 dovecot: imap(alice@example.org)<31136><2BKfhPhgQJB/AAAB>: Disconnected: Logged out in=8 out=468 deleted=0",
    "mx1 dovecot: imap-login: Disconnected: Aborted login by logging out (auth failed, 1 attempts in 3 secs): "
    "user=<bob>, method=PLAIN, rip=203.0.113.9, lip=198.51.100.5, session=<+TvhhPhgAtZ/AAAB>",
)


def make_log(path: Path, lines: int) -> None:
    """Write the log; stamps run through the ten minutes before now."""
    dice = random.Random(1)
    began = time.time() - 600
    with path.open("w", encoding="ascii") as file:
        for number in range(lines):
            stamp = time.strftime("%b %d %H:%M:%S", time.localtime(began + 600 * number / lines))
            if number % 4 == 0:
                who = dice.randrange(195_000)
                file.write(
                    f"{stamp} mx1 dovecot: imap-login: Login: user=<user{who}@example.org>, method=PLAIN, "
                    f"rip=10.{who >> 16}.{who >> 8 & 255}.{who & 255}, lip=198.51.100.5, mpid={number % 65536}, TLS, "
                    f"session=<aKTnLvhgIrN/{number:06d}>\n"
                )
            else:
                file.write(f"{stamp} {OTHERS[number % 3]}\n")


def anonymous_kib(pid: int) -> int:
    """RssAnon of a process."""
    text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(text.partition("RssAnon:")[2].split()[0])


def main(lines: int) -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as directory:
        installation = Installation(Path(directory), 'lifetime = "1h"\nhold_sessions = true')
        installation.config.write_text(installation.config.read_text().replace('"dovecot-file"', '"syslog"'))
        make_log(installation.log, lines)
        began = time.perf_counter()
        subprocess.run(["grep", "-c", "Login: ", str(installation.log)], check=True, stdout=subprocess.PIPE)
        grep_seconds = time.perf_counter() - began
        began = time.perf_counter()
        process = installation.start("watch")
        most, size = 0, installation.log.stat().st_size
        while True:
            time.sleep(0.25)
            most = max(most, anonymous_kib(process.pid))
            reply = installation.ctl("status", "--json") if (installation.run_dir / "control.sock").exists() else None
            if reply is not None and reply.returncode == 0 and f'"lines": {lines}' in reply.stdout.decode():
                break
        seconds = time.perf_counter() - began
        addresses = installation.status()["addresses"]
        installation.close()
    print(f"{lines} lines, {size / 1e6:.0f} MB, {addresses} addresses: {seconds:.1f} s, {lines / seconds:,.0f} lines/s")
    print(f"yardstick grep -c: {grep_seconds:.2f} s; ratio {seconds / grep_seconds:.1f}")
    print(f"most anonymous memory: {most / 1024:.1f} MiB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5_000_000)
