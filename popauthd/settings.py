"""Every setting is one row: key, kind, default, one sentence. Config, `config show` and the manual read these rows.

A kind is a reader: it takes what TOML gave and returns the value used inside, or raises ValueError
saying what would be right. Durations are whole seconds inside (`..._seconds`) unless the row says
milliseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from popauthd import address

UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
DURATION = re.compile(r"([0-9]{1,9})(ms|s|m|h|d)")


def duration_ms(value: object) -> int:
    """Read a length of time: a number of seconds, or text with one unit ("15m", "100ms")."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value * 1000
    if isinstance(value, str) and (match := DURATION.fullmatch(value)):
        return int(match[1]) * UNIT_MS[match[2]]
    raise ValueError('must be a length of time such as "15m", "90s", "100ms" or a number of seconds')


def between(low: str, high: str) -> Callable[[object], int]:
    """A reader of durations between two bounds, in whole seconds; the bounds are part of the message."""
    low_ms, high_ms = duration_ms(low), duration_ms(high)

    def read(value: object) -> int:
        ms = duration_ms(value)
        if ms % 1000 or not low_ms <= ms <= high_ms:
            raise ValueError(f"must be whole seconds between {low} and {high}")
        return ms // 1000

    return read


def milliseconds(high: str) -> Callable[[object], int]:
    """A reader of short durations from 0 up to a bound, in milliseconds."""
    high_ms = duration_ms(high)

    def read(value: object) -> int:
        ms = duration_ms(value)
        if ms > high_ms:
            raise ValueError(f"must be at most {high}")
        return ms

    return read


def boolean(value: object) -> bool:
    """Read true or false."""
    if not isinstance(value, bool):
        raise ValueError("must be true or false, without quotes")  # noqa: TRY004 - one kind of error a reader
    return value


def text(value: object) -> str:
    """Read one string."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError('must be text in quotes, such as "value"')
    return value


def path(value: object) -> str:
    """Read an absolute path."""
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError('must be an absolute path in quotes, such as "/var/log/mail.log"')
    return value


def texts(value: object) -> tuple[str, ...]:
    """Read a list of strings."""
    if not isinstance(value, list) or not all(isinstance(item, str) and item for item in value):
        raise ValueError('must be a list of texts, such as ["mx1", "mx2"]')
    return tuple(value)


def networks(value: object) -> tuple[address.Network, ...]:
    """Read a list of networks in CIDR form; a plain address is a network of one."""
    if not isinstance(value, list):
        raise ValueError('must be a list of networks, such as ["10.0.0.0/8", "2001:db8::/32"]')  # noqa: TRY004
    found = []
    for item in value:
        if not isinstance(item, str):
            raise ValueError(f"{item!r} must be in quotes")  # noqa: TRY004
        try:
            found.append(address.network(item))
        except ValueError as error:
            raise ValueError(f"{item!r} is not a network ({error}); write it like 192.0.2.0/24") from error
    return tuple(found)


def choice(*words: str) -> Callable[[object], str]:
    """A reader that accepts one of a few words."""

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError(f"must be one of {', '.join(words)}")
        return value

    return read


@dataclass(frozen=True, slots=True)
class Setting:
    """One row. `field` is the name inside; `default` is written as in the file and read like it."""

    key: str
    field: str
    read: Callable[[object], object]
    default: object
    sentence: str


SETTINGS = (
    Setting(
        "lifetime", "lifetime_seconds", between("1s", "7d"), "15m",
        "How long after a login its address may relay, counted from the login's own time in the log.",
    ),
    Setting(
        "future", "future_seconds", between("0s", "1h"), "2m",
        "A login further in the future than this is refused: a clock or a time zone is wrong.",
    ),
    Setting(
        "never", "never", networks, [],
        "Networks that are never granted: load balancers, proxies, webmail servers, container bridges.",
    ),
    Setting(
        "own_addresses", "own_addresses", networks, [],
        "This server's own addresses as its clients see them (behind NAT); the one a login came in on "
        "is known without being listed.",
    ),
    Setting(
        "grant_loopback", "grant_loopback", boolean, False,
        "For the demo and tests only: let 127.0.0.0/8 and ::1 be granted.",
    ),
    Setting(
        "hold_no", "hold_no_ms", milliseconds("1500ms"), "100ms",
        "How long a 'no' is held while the map is looked at again, for a client that sends right after its login.",
    ),
    Setting(
        "host_list", "host_list", boolean, True,
        "Write the generated host list (run_dir/relay-hosts) that Exim can read with iplsearch.",
    ),
    Setting(
        "history", "history_seconds", between("0s", "90d"), "1d",
        "How long an expired login is remembered, so that `popauthctl check` can explain a refusal.",
    ),
    Setting(
        "group", "group", text, "Debian-exim",
        "The group that may read the map, the host list and ask the socket: the group Exim runs as.",
    ),
    Setting(
        "run_dir", "run_dir", path, "/run/popauthd",
        "Where the relay map, the host list and the sockets live; may be lost at boot without harm.",
    ),
    Setting(
        "state_dir", "state_dir", path, "/var/lib/popauthd",
        "Where the books live: logins, revocations and the place in each log. Private.",
    ),
)  # fmt: skip

SOURCE_SETTINGS = (
    Setting(
        "type", "type", choice("file", "journal"), "file",
        "What kind of source this is: a log file, or the systemd journal (needs python3-systemd).",
    ),
    Setting(
        "path", "path", path, "",
        "The log file to follow; its rotated siblings are found by themselves. For the journal: a directory of "
        "journal files, if not the machine's own.",
    ),
    Setting(
        "framing", "framing", choice("auto", "dovecot-file", "syslog"), "auto",
        "What stands before the message: Dovecot's own file, or syslog; auto decides once from the first lines.",
    ),
    Setting(
        "timezone", "timezone", text, "",
        "The time zone of stamps that name none, such as \"Europe/Berlin\"; empty means this machine's.",
    ),
    Setting(
        "timestamp", "timestamp", text, "",
        "Dovecot's log_timestamp where it was changed; empty accepts its default and YYYY-MM-DD HH:MM:SS.",
    ),
    Setting(
        "hostnames", "hostnames", texts, [],
        "Syslog: the host names whose lines count; empty means any. Name them when other hosts log here too.",
    ),
    Setting(
        "programs", "programs", texts, ["dovecot"],
        "Syslog and journal: Dovecot's instance_name, the program name its lines carry.",
    ),
)  # fmt: skip
