"""What the campaign is made of: addresses, users, configurations, log lines, and ways to damage a file."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.truth import Login, Rules

ADDRESSES = ("192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8:7::1", "198.51.100.77")
STRANGER = "203.0.113.66"  # nobody ever logs in from it
USERS = ("anna", "bert@example.org", "carla", "dora@example.net")
RULES = (
    Rules(),
    Rules(hold_at_most=7200),
    Rules(require_tls=True),
    Rules(protocols=("imap",), hold_at_most=7200),
    Rules(refuse_mechanisms=("LOGIN",)),
    Rules(never=(ADDRESSES[0],), hold_at_most=3600),
    Rules(denied=(USERS[1],)),
    Rules(shared_users=2, hold_at_most=7200),
    Rules(lifetime=300),
    Rules(lifetime=300, hold_at_most=1800),
)


def configuration(rules: Rules, directory: Path) -> str:
    """The settings, as popauthd.toml has them, beside those that Installation writes."""
    (directory / "denied").write_text("".join(f"{user}\n" for user in rules.denied))
    hold = f'hold_sessions = true\nhold_at_most = "{rules.hold_at_most}s"' if rules.hold_at_most else ""
    return "\n".join((
        f'lifetime = "{rules.lifetime}s"',
        f"require_tls = {str(rules.require_tls).lower()}",
        f"protocols = {list(rules.protocols)}",
        f"refuse_mechanisms = {list(rules.refuse_mechanisms)}",
        f"never = {list(rules.never)}",
        f'deny_users = "{directory}/denied"',
        f"shared_users = {rules.shared_users}",
        'hold_no = "0s"',
        hold,
    ))  # fmt: skip


def _stamp(at: int, *, iso: bool) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S" if iso else "%b %d %H:%M:%S", time.gmtime(at))


def line(login: Login, *, iso: bool) -> bytes:
    """A login as Dovecot 2.3 writes it into its own file, in UTC, with its LF."""
    rest = ["TLS"] * login.tls + [f"session=<{login.session}>"] * bool(login.session)
    text = ", ".join((f"rip={login.address}", "lip=198.51.100.5", "mpid=4242", *rest))
    what = f"{login.protocol}-login: Info: Login: user=<{login.user}>, method={login.method}"
    return f"{_stamp(login.stamp, iso=iso)} {what}, {text}\n".encode()


def end_line(login: Login, at: int) -> bytes:
    """The end of its session."""
    who = f"{login.protocol}({login.user})<4242><{login.session}>"
    return f"{_stamp(at, iso=False)} {who}: Info: Disconnected: Logged out in=12 out=525\n".encode()


def _overwrite(file: Path, data: bytes) -> None:
    with file.open("r+b") as damaged:
        damaged.write(data)


def _torn(file: Path) -> None:
    with file.open("ab") as damaged:
        damaged.write(b'{"torn')


DAMAGE: dict[str, Callable[[Path], None]] = {
    "gone": Path.unlink,
    "empty": lambda file: os.truncate(file, 0),
    "half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "zero": lambda file: _overwrite(file, bytes(file.stat().st_size)),
    "random": lambda file: _overwrite(file, random.Random(7).randbytes(file.stat().st_size)),
    "head": lambda file: _overwrite(file, random.Random(8).randbytes(8192)),
    "torn": _torn,
}
