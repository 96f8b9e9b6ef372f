"""Where logins are written and by whom: the checks of logs, of the journal and of what stands in between."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_network

from popauthd.config import SourceConfig
from popauthd.dovecotcheck.doveconf import DEFAULTS, Configuration
from popauthd.dovecotcheck.findings import Finding, World
from popauthd.text import safe

Found = Iterator[Finding]
OWN_FILE = "info_log_path = /var/log/dovecot-info.log"
_PROXY = re.compile(r"(?:^|\s)proxy(?:_maybe)?(?:=(?!(?:n|no|false|0)(?:\s|$))|\s|$)")
# Who may say which client it stands for: what that means, and what to do where single hosts are named.
TRUSTED = {
    "haproxy_trusted_networks": (
        "its hosts say by the PROXY protocol which client they stand for, and are believed",
        "list the same hosts under never, and let nobody else use them",
    ),
    "login_trusted_networks": (
        "its hosts say by IMAP's ID or POP3's XCLIENT which client they stand for, and are believed: the address that "
        "counts is what they tell (a webmail tells its user's browser), and to list them under never has no effect",
        "take a webmail's host out of login_trusted_networks, then list it under never; let nobody else use it",
    ),
}
UNLIMITED = "`systemctl edit dovecot`: [Service] LogRateLimitIntervalSec=0; or use Dovecot's own file"
WIDE_PREFIX = {4: 24, 6: 56}  # a balancer is a host or two, not a network


def written(configuration: Configuration) -> tuple[str, str]:
    """("file", path), ("syslog", "") or ("elsewhere", device): where Dovecot writes its logins."""
    path = configuration.value("info_log_path") or configuration.value("log_path")
    if path == "syslog":
        return "syslog", ""
    return ("elsewhere", path or "/dev/stderr") if not path or path.startswith("/dev/") else ("file", path)


def same(one: SourceConfig, path: str) -> bool:
    """Whether a source is this file, by the name that Dovecot has for it."""
    return one.type == "file" and one.path == path


def own_file(configuration: Configuration, one: SourceConfig) -> bool:
    """Whether a source is the file that Dovecot writes itself."""
    kind, path = written(configuration)
    return kind == "file" and same(one, path)


def source(configuration: Configuration, world: World) -> Found:
    """Which source to use, and why."""
    kind, path = written(configuration)
    if kind == "file":
        how = "info_log_path" if configuration.value("info_log_path") else "log_path"
        seen = f'use path = "{safe(path)}": Dovecot writes its logins there itself ({how}), past syslog'
        yield Finding("source", "ok", seen)
    elif kind == "elsewhere":
        seen = f"Dovecot writes to {safe(path)}, where popauthd cannot follow"
        yield Finding("source", "warning", seen, f"set {OWN_FILE} in Dovecot (dovecot/README.md)", fault=True)
    elif world.journal.here:
        seen = 'use type = "journal": Dovecot logs to syslog (info_log_path is not set), and journald vouches for it'
        yield Finding("source", "ok", seen, f"or, safe from journald's rate limit too, set {OWN_FILE} in Dovecot")
    else:
        seen = "Dovecot logs to syslog (info_log_path is not set), and there is no journal that popauthd can read"
        severity = "note" if world.pushed else "danger"
        yield Finding("source", severity, seen, f"set {OWN_FILE} in Dovecot: any local user can write to syslog")


def follows(configuration: Configuration, world: World) -> Found:
    """Whether popauthd follows what Dovecot writes."""
    kind, path = written(configuration)
    journal = any(one.type == "journal" for one in world.sources)
    names = ", ".join(safe(one.name) for one in world.sources) or "no log"
    table = f'[[source]] path = "{safe(path)}"' if kind == "file" else '[[source]] type = "journal"'
    advice = f"in popauthd.toml write {table}, then restart popauthd"
    if kind == "syslog" and not world.journal.here:
        advice = f"set {OWN_FILE} in Dovecot, and follow that"
    facility = configuration.value("syslog_facility")
    seen = f"popauthd follows {names}"
    if world.pushed and not world.sources:
        yield Finding("follows", "ok", "Dovecot itself tells popauthd of logins, no log is followed")
    elif kind == "file" and not any(same(one, path) for one in world.sources):
        yield Finding("follows", "warning", f"Dovecot writes {safe(path)}, {seen}", advice, fault=True)
    elif kind == "syslog" and not journal and not any(one.type == "file" for one in world.sources):
        yield Finding("follows", "warning", f"Dovecot logs to syslog, {seen}", advice, fault=True)
    elif kind == "elsewhere":
        yield Finding("follows", "warning", f"Dovecot writes to {safe(path)}, {seen}", fault=True)
    elif kind == "syslog" and not journal and facility != DEFAULTS["syslog_facility"] and not world.seen.lately:
        seen = f"Dovecot logs with syslog_facility = {safe(facility)}, which may go to another file, {seen}; "
        advice = f"look in rsyslog's configuration for {safe(facility)}, and follow the file that it names"
        yield Finding("follows", "warning", seen + world.seen.words, advice, fault=True)
    else:
        told = f": {world.seen.words}" if world.seen.watching else ""
        yield Finding("follows", "ok" if world.seen.lately or not told else "note", seen + told)


def log_file(configuration: Configuration, world: World) -> Found:
    """Whether nobody but Dovecot can write into its file, or put another in its place."""
    kind, path = written(configuration)
    if kind != "file":
        yield Finding("log-file", "ok", "Dovecot has no file of its own for logins")
    elif path in world.loose:
        seen = f"{safe(path)} can be forged: {safe(world.loose[path], 200)}"
        advice = "give file and directories to root or dovecot, and take write permission from all others"
        yield Finding("log-file", "danger", seen, advice)
    else:
        yield Finding("log-file", "ok", f"nobody but root and Dovecot can write {safe(path)}")


def forgeable(configuration: Configuration, world: World) -> Found:
    """Whether a text log is followed that Dovecot does not write itself."""
    texts = [one for one in world.sources if one.type == "file" and not own_file(configuration, one)]
    through = written(configuration)[0] != "elsewhere"
    how = "any local user can write logins into syslog with logger(1)" if through else "others may write logins into it"
    for one in texts:
        seen = f"{safe(one.path)} is not Dovecot's own file: {how}"
        better = 'type = "journal"' if world.journal.here else f"Dovecot's own file ({OWN_FILE})"
        yield Finding("forgeable", "danger", seen, f"follow {better} instead, unless nobody else has an account here")
    if not texts:
        yield Finding("forgeable", "ok", "no log is followed that others can write")


def rate_limit(_configuration: Configuration, world: World) -> Found:
    """Whether journald may drop logins."""
    if not any(one.type == "journal" for one in world.sources):
        yield Finding("rate-limit", "ok", "the journal is not followed")
    elif world.seen.dropped:
        seen = f"journald has dropped {world.seen.dropped} of Dovecot's messages; a lost login is a refused mail"
        yield Finding("rate-limit", "warning", seen, UNLIMITED)
    elif world.journal.limited:
        limit = f"{world.journal.burst} messages in {world.journal.interval_seconds:g} s"
        seen = f"journald drops what Dovecot logs above {limit}; popauthd tells when that has happened"
        yield Finding("rate-limit", "note", seen)
    else:
        yield Finding("rate-limit", "ok", "journald drops nothing of Dovecot's")


def proxies(configuration: Configuration, world: World) -> Found:
    """Whether the address in the log may be another's than the client's."""
    findings = [*_trusted(configuration), *_proxying(configuration, world)]
    yield from findings
    if not findings:
        seen = "none is configured; one that does not speak the PROXY protocol cannot be seen here"
        yield Finding("proxy", "ok", seen)


def _trusted(configuration: Configuration) -> Found:
    for key, (how, narrow) in TRUSTED.items():
        for where, text in configuration.everywhere(key):
            value = text if where else text or " ".join(sorted(configuration.words(key)))  # 2.4 may have it as a block
            if not value.strip():
                continue
            wide = [text for text in re.split(r"[,\s]+", value.strip()) if _is_wide(text)]
            seen = f"{key} = {safe(value)}: {how}"
            advice = f"name single hosts: whoever is in {safe(' '.join(wide))} may relay from any address they name"
            if wide:
                yield Finding("proxy", "danger", seen, advice)
            else:
                yield Finding("proxy", "note", seen, narrow)


def _is_wide(text: str) -> bool:
    try:
        net = ip_network(text, strict=False)
    except ValueError:
        return True  # a name, or what we do not understand
    return net.prefixlen < WIDE_PREFIX[net.version]


def _proxying(configuration: Configuration, world: World) -> Found:
    said = set()
    for line in configuration.within("passdb"):
        fields = f"{line.key}={line.value}" if line.inside[-1].endswith("fields") else line.value  # 2.4; 2.3
        if _PROXY.search(fields):
            said.add(" / ".join(line.inside))
    for where in sorted(said):
        counted = any(one.proxy_lines for one in world.sources)
        seen = f"{safe(where)} passes logins on to another server: that server sees this one as the client"
        advice = "on the other server list this one in never"
        if not counted:
            advice += "; here set proxy_lines = true in the [[source]] for logins that are passed on to count"
        yield Finding("proxy", "warning", seen, advice)
