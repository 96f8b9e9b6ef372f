"""Reads what `doveconf -n` prints, of Dovecot 2.3 and 2.4: settings, with the blocks they stand in.

doveconf -n leaves out what has its default, so the defaults that popauthd's checks need are known here
(doveconf -d of 2.3.19.1 and 2.4.1). Values are what Dovecot uses: quotes are taken off.

LIMIT: what depends on variables or on files that Dovecot reads later (`<file`) is not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER = re.compile(r"# (\d+)\.(\d+)(?:\.\d+)*[^ ]* (?:\([^)]*\))?:")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"')
_SESSION = "session=<%{session}>"
OLD_DEFAULTS = {
    "login_log_format": "%$: %s",
    "login_log_format_elements": f"user=<%u> method=%m rip=%r lip=%l mpid=%e %c {_SESSION}",
    "mail_log_prefix": "%s(%u)<%{pid}><%{session}>: ",
    "auth_mechanisms": "plain",
    "auth_policy_request_attributes": "login=%{requested_username} pwhash=%{hashed_password} remote=%{rip} "
    "device_id=%{client_id} protocol=%s session_id=%{session}",
}
NEW_DEFAULTS = {
    "login_log_format": "%{message}: %{elements}",
    "login_log_format_elements": "user=<%{user}> method=%{mechanism} rip=%{remote_ip} lip=%{local_ip} "
    f"mpid=%{{mail_pid}} %{{secured}} {_SESSION}",
    "mail_log_prefix": "%{service}(%{user})<%{process:pid}><%{session}>: ",
    "auth_mechanisms": "",  # 2.4 asks the passdbs
    "auth_policy_request_attributes": "login=%{requested_username} pwhash=%{hashed_password} remote=%{remote_ip} "
    "device_id=%{client_id} protocol=%{protocol} session_id=%{session} fail_type=%{fail_type}",
}
DEFAULTS = {
    "auth_policy_check_before_auth": "yes",
    "auth_policy_check_after_auth": "yes",
    "auth_policy_report_after_auth": "yes",
    "auth_policy_reject_on_fail": "no",
    "auth_username_chars": "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ01234567890.-_@",
    "instance_name": "dovecot",
    "log_path": "syslog",
    "info_log_path": "",
    "syslog_facility": "mail",
    "log_timestamp": "%b %d %H:%M:%S ",
    "haproxy_trusted_networks": "",
    "login_trusted_networks": "",
}


@dataclass(frozen=True, slots=True)
class Line:
    """One setting. inside: the heads of the blocks it stands in, outermost first, () for the top."""

    inside: tuple[str, ...]
    key: str
    value: str


@dataclass(frozen=True, slots=True)
class Configuration:
    """A whole configuration. version: (2, 3) or (2, 4). blocks: every block's heads, outermost first."""

    version: tuple[int, int]
    lines: tuple[Line, ...]
    blocks: tuple[tuple[str, ...], ...]

    @property
    def old(self) -> bool:
        """Whether it is 2.3 or older, with its own language."""
        return self.version < (2, 4)

    def value(self, key: str) -> str:
        """The value at the top, or Dovecot's default, "" where that is not known.

        2.4 shows settings with a name of their own in common as a block: `auth_policy { server_url = ... }`.
        """
        given = [line.value for line in self.lines if "_".join((*line.inside, line.key)) == key]
        if given:
            return given[-1]
        return {**DEFAULTS, **(OLD_DEFAULTS if self.old else NEW_DEFAULTS)}.get(key, "")

    def words(self, key: str) -> set[str]:
        """The words of a list at the top; 2.4 may have it as a block: `protocols { imap = yes }`."""
        block = {line.key for line in self.lines if line.inside == (key,) and line.value == "yes"}
        return block | set(self.value(key).split())

    def everywhere(self, key: str) -> Iterator[tuple[str, str]]:
        """(where, value): at the top ("") and in each block that sets it for some connections only."""
        yield "", self.value(key)
        for line in self.lines:
            if line.key == key and line.inside:
                yield " / ".join(line.inside), line.value

    def within(self, head: str) -> Iterator[Line]:
        """The settings in blocks whose head begins with a word, such as `passdb`."""
        for line in self.lines:
            if any(block.split(" ")[0] == head for block in line.inside):
                yield line


def read(text: str) -> Configuration | None:
    """The configuration in the output of `doveconf -n`; None if it is no such output."""
    header = next(filter(None, map(_HEADER.match, text.splitlines()[:5])), None)
    if header is None:
        return None
    inside: list[str] = []
    lines: list[Line] = []
    blocks: list[tuple[str, ...]] = []
    for raw in text.split("\n"):
        line = raw.strip()
        if line.startswith("#") or not line:
            continue
        if line == "}":
            if not inside:
                return None
            inside.pop()
        elif line.endswith("{") and not re.match(r"\S+ = ", line):
            inside.append(line[:-1].strip())
            blocks.append(tuple(inside))
        else:
            key, _, value = line.partition(" =")
            lines.append(Line(tuple(inside), key, _plain(value.strip())))
    if inside:
        return None
    return Configuration((int(header[1]), int(header[2])), tuple(lines), tuple(blocks))


def _plain(value: str) -> str:
    quoted = _QUOTED.fullmatch(value)
    return re.sub(r"\\(.)", r"\1", quoted[1]) if quoted else value
