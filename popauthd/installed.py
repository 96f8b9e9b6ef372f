"""What of a configuration only shows on the machine: may the service read it, is the group Exim's, does the unit do.

`popauthctl config check` and the doctor ask. Each question gives its findings: none if all is well.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from popauthd import CONFIGURATION, accounts, address, config
from popauthd.accounts import Account
from popauthd.as_user import LookError, look, may_become
from popauthd.config import Config, SourceConfig
from popauthd.config.engine_url import EngineUrl
from popauthd.errors import ConfigError
from popauthd.eximsetup.commands import Exim
from popauthd.watch import push_sources
from popauthd.watch.assembly import user_files

EXIM = "/usr/sbin/exim4"
EXAMPLES = "/usr/share/doc/popauthd/examples"
SYSTEMCTL_SECONDS = 10
UNIT = "popauthd.service"
WRONG, NOTE, NOT_SEEN = "wrong", "note", "not seen"


@dataclass(frozen=True, slots=True)
class Finding:
    """kind: WRONG, NOTE, or NOT_SEEN for what could not be looked at. what: what is so. advice: what to do next."""

    kind: str
    what: str
    advice: str

    @property
    def text(self) -> str:
        """Both in one line."""
        return "; ".join(filter(None, (self.what, self.advice)))


def service_user(given: str | None, settings: Config) -> Account | None:
    """The user that popauthd runs as by this file, with its groups; None if that is root, or cannot be told.

    It is the user whose the books are. Before the first start, systemd's unit runs it as popauthd by the usual file.
    """
    try:
        name = accounts.user_name(Path(settings.state_dir).stat().st_uid)
    except OSError:
        name = "popauthd" if given in (None, CONFIGURATION) else ""
    found = accounts.user(name)
    if found is None or found.uid == 0:
        return None
    return found._replace(groups=tuple(os.getgrouplist(name, found.gid)))


def named(settings: Config) -> Iterator[Finding]:
    """The files and users that are named, looked at as ourselves. Raises ConfigError if one is wrong."""
    try:
        push_sources.check(settings)
        for warning in user_files(settings).warnings():
            yield Finding(NOTE, warning, "")
    except ConfigError as error:
        if not isinstance(error.__cause__, PermissionError) or os.geteuid() == 0:
            raise
        yield Finding(NOT_SEEN, str(error), "run this as root")


def clustered(given: str | None, settings: Config) -> Iterator[Finding]:
    """Whether this machine can be a node, looked at as ourselves. Raises ConfigError if a named file is wrong."""
    if settings.cluster is None:
        return
    from popauthd.cluster.access import check as check_cluster  # one machine alone needs none of it

    user = service_user(given, settings)
    try:
        check_cluster(settings.cluster, {0, os.geteuid(), *([user.uid] if user else [])})
    except ConfigError as error:
        if not isinstance(error.__cause__, PermissionError) or os.geteuid() == 0:
            raise
        yield Finding(NOT_SEEN, str(error), "run this as root")
    if settings.cluster.engine.in_clear:
        what = "[cluster] url: the password and what the nodes tell each other cross the network in clear"
        yield Finding(NOTE, what, "take rediss://, which is TLS, unless nobody else is in that network")


def readable(given: str | None, settings: Config) -> Iterator[Finding]:
    """Whether the service's user can read the configuration, and what that names."""
    user = service_user(given, settings)
    if user is None or user.uid == os.geteuid():
        return
    if not may_become(user):
        yield Finding(NOT_SEEN, f"whether the user {user.name} can read all of it", "run this as root")
        return

    def question() -> str:
        again = config.load(given)
        user_files(again)
        push_sources.check(again)
        if again.cluster is not None:
            from popauthd.cluster.access import check as check_cluster

            check_cluster(again.cluster)
        return ""

    try:
        look(user, question)
    except LookError as error:
        advice = f"let that user read the file and go into its directory (chgrp {user.name}, chmod g+r)"
        yield Finding(WRONG, f"by the rights of the service's user {user.name}: {error}", advice)


def group(settings: Config, exim: str = EXIM) -> Iterator[Finding]:
    """Whether `group` is the one that Exim runs as. Nothing is said where no Exim is installed."""
    name, advice = settings.group, "name the group that Exim runs as: `exim4 -bP exim_group`"
    gid = accounts.group_id(name)
    if gid is None:
        kind = NOTE if name == Config().group and not Path(exim).exists() else WRONG
        more = "install Exim, then restart popauthd" if kind == NOTE else advice
        yield Finding(kind, f"group: there is no group {name}, so Exim cannot ask", more)
        return
    if not Path(exim).exists():
        return
    try:
        said = Exim(exim).must("-bP", "exim_group").strip()
    except ConfigError as error:
        yield Finding(NOT_SEEN, f"whether {name} is Exim's group: {error}", "mend Exim's configuration")
        return
    theirs = said.rpartition(" ")[2]
    number = int(theirs) if theirs.isdecimal() else accounts.group_id(theirs)
    if number != gid:
        yield Finding(WRONG, f"group is {name}, and Exim runs as {theirs}, so it cannot ask", advice)


def sandbox(given: str | None, settings: Config, sources: Iterable[SourceConfig]) -> Iterator[Finding]:
    """Whether systemd's unit lets the watcher do what is configured; nothing where that unit does not run it."""
    if given not in (None, CONFIGURATION) or not Path("/run/systemd/system").is_dir():
        return
    properties = unit_properties()
    if properties.get("LoadState") == "loaded":
        yield from kept_out(properties, settings, sources)


def unit_properties(run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run) -> dict[str, str]:
    """What systemd says of the watcher's unit; {} where it says nothing."""
    try:
        done = run(["systemctl", "show", UNIT], capture_output=True, text=True, timeout=SYSTEMCTL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return {}
    return dict(line.partition("=")[::2] for line in done.stdout.splitlines())


def kept_out(properties: Mapping[str, str], settings: Config, sources: Iterable[SourceConfig]) -> Iterator[Finding]:
    """What of the configuration these properties of the unit do not let be."""
    if settings.auth_policy_listen and not _may_listen(properties, settings.auth_policy_listen):
        what = f"auth_policy_listen: {UNIT} has no TCP, so nobody can listen on {settings.auth_policy_listen}"
        yield Finding(WRONG, what, _drop_in("auth-policy.conf", properties))
    cluster = settings.cluster
    if cluster is not None and not cluster.engine.path and not _may_connect(properties, cluster.engine):
        what = f"[cluster] url: {UNIT} has no network, so it cannot reach {cluster.url}"
        yield Finding(WRONG, what, _drop_in("cluster.conf", properties))
    paths = [source.path for source in sources if source.path]
    paths += [settings.users_file, settings.deny_users, settings.auth_policy_secret_file]
    for path in filter(None, [*paths, *(cluster.private_files if cluster is not None else ())]):
        for name, seen, below, drop_in in HIDDEN:
            if properties.get(name, "no") not in seen and path.startswith(below):
                yield Finding(WRONG, f"{path}: {UNIT} does not see it ({name}=)", _drop_in(drop_in, properties))


# A property of a unit, its values by which the watcher sees the files, what it hides otherwise, and what helps.
HIDDEN = (
    ("ProtectHome", ("no", "read-only"), ("/home/", "/root/", "/run/user/"), "logs-in-home.conf"),
    ("PrivateTmp", ("no",), ("/tmp/", "/var/tmp/"), ""),
)


def _may_listen(properties: Mapping[str, str], where: str) -> bool:
    six = where.startswith("[")
    family, networks = ("AF_INET6", ("::1/128", "::/0")) if six else ("AF_INET", ("127.0.0.0/8", "0.0.0.0/0"))
    families = properties.get("RestrictAddressFamilies", "").split()
    allowed = properties.get("IPAddressAllow", "").split()
    return (
        properties.get("PrivateNetwork", "no") == "no"
        and (families in ([], ["~"]) or family in families)
        and (not properties.get("IPAddressDeny") or any(network in allowed for network in networks))
    )


def _may_connect(properties: Mapping[str, str], engine: EngineUrl) -> bool:
    """As far as can be told: of a host's name we do not know the addresses, and who tells them."""
    allowed = properties.get("IPAddressAllow", "").split()
    families = properties.get("RestrictAddressFamilies", "").split()
    return (
        properties.get("PrivateNetwork", "no") == "no"
        and (families in ([], ["~"]) or "AF_INET" in families or "AF_INET6" in families)
        and (not properties.get("IPAddressDeny") or all(_is_allowed(host, allowed) for host, _port in engine.hosts))
    )


def _is_allowed(host: str, allowed: list[str]) -> bool:
    client = address.parse(host)
    return bool(allowed) if client is None else address.inside(client, tuple(map(address.network, allowed)))


def _drop_in(name: str, properties: Mapping[str, str]) -> str:
    if properties.get("NeedDaemonReload") == "yes":
        return "its files have changed since systemd read them: systemctl daemon-reload && systemctl restart popauthd"
    if name:
        return f"install {EXAMPLES}/{name} as its first lines say, which restarts popauthd"
    return "keep the file elsewhere"
