"""cluster: what several nodes need, made here or printed to be played word for word; and how they are."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from popauthd import CONFIGURATION, conditions
from popauthd.accounts import Account, user_name
from popauthd.cli import steps
from popauthd.cli.common import GREEN, RED, YELLOW, asked, coloured, settings
from popauthd.cluster.acl import acl_rule
from popauthd.cluster.keys import make_key, read_keys
from popauthd.conditions import Standing
from popauthd.config import ClusterConfig
from popauthd.config.engine_url import read_url
from popauthd.control_client import ask_status
from popauthd.errors import UsageError, in_the_way
from popauthd.installed import EXAMPLES, service_user
from popauthd.status import ClusterStatus, to_json
from popauthd.text import ago, safe, stamp

USER = "popauthd"  # in Redis, where the URL names none
PASSWORD_FILE = "/etc/popauthd/cluster.password"
DROP_IN = "/etc/systemd/system/popauthd.service.d/cluster.conf"
ALONE, DEGRADED = 1, 2  # exit codes
SILENT_SECONDS = 30  # a node says every 10 s that it is alive
SKEW_MS = 1000
OTHER = "OTHER"  # stands for another node's host name


def _cluster_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    what = steps(parser, "init|new-key|status")
    init_parser = what.add_parser("init", parents=[common], help="make the key, and print all that is to be done")
    init_parser.add_argument("--url", metavar="URL", help="where Redis or Valkey is, if there is no [cluster] yet")
    init_parser.set_defaults(run=init)
    key_parser = what.add_parser("new-key", parents=[common], help="print a line for the key file")
    key_parser.set_defaults(run=new_key)
    status_parser = what.add_parser("status", parents=[common], help="the other nodes, and the way to them")
    status_parser.add_argument("--json", action="store_true", help="one JSON object")
    status_parser.set_defaults(run=status)


ARGUMENTS = {"cluster": _cluster_arguments}


def new_key(_options: argparse.Namespace) -> int:
    """Print a new key, as a line of the key file. Nothing is changed."""
    print(make_key(), end="")
    return 0


def status(options: argparse.Namespace) -> int:
    """What the running watcher says of its cluster. Exit 0 if all is well, 1 if there is none, 2 if it is degraded."""
    found = asked(options, ask_status)
    standing = [one for one in found.conditions if one.word.startswith("cluster-")]
    if options.json:
        told = to_json(found)
        words = [one.word for one in standing]
        ours = [one for one in told["conditions"] if one["word"] in words]
        print(json.dumps({"now": found.now, "cluster": told["cluster"], "conditions": ours}, indent=1))
    elif found.cluster is None:
        print("this machine is by itself: no [cluster] is in force")
    else:
        for line in _status_lines(found.cluster, standing, found.now):
            print(line)
    if found.cluster is None:
        return ALONE
    return DEGRADED if any(one.severity == conditions.DEGRADED for one in standing) else 0


def _status_lines(cluster: ClusterStatus, standing: Sequence[Standing], now: int) -> Iterator[str]:
    how = coloured("well", GREEN) if not standing else coloured("not well", RED)
    yield f"node {safe(cluster.node)}: {how}"
    for one in standing:
        yield f"{one.severity} {one.word}, since {stamp(one.since)}: {safe(one.text, 400)}"
        yield f"  what to do: {one.advice}"
    for half, trouble in (("reading", cluster.reading), ("sending", cluster.sending)):
        yield f"{half}: {safe(trouble, 400) if trouble else 'works'}"
    yield f"read up to {safe(cluster.place) or 'nothing yet'}; gaps since the start: {cluster.gaps}"
    yield f"waiting to be sent: {cluster.unsent}"
    yield "other nodes:" if cluster.peers else "other nodes: none has been heard of"
    for peer in sorted(cluster.peers, key=lambda peer: peer.node):
        silent = now - peer.seen_at > SILENT_SECONDS
        heard = coloured(f"silent, last heard of {ago(now - peer.seen_at)}", YELLOW) if silent else "heard of just now"
        skew = "the engine's time" if abs(peer.skew_ms) < SKEW_MS else f"{_seconds(peer.skew_ms)} the engine's"
        yield f"  {safe(peer.node)}: {heard}; {peer.lag_ms} ms on the way; clock: {skew}; {safe(peer.version)}"


def _seconds(skew_ms: int) -> str:
    return f"{abs(skew_ms) / 1000:.1f} s {'behind' if skew_ms > 0 else 'ahead of'}"


def init(options: argparse.Namespace) -> int:
    """Make the files with the key and the password unless they are there, and print the rest."""
    given = settings(options)
    wanted = _wanted(given.cluster, options.url)
    owner = service_user(options.config, given)
    for path, text in ((wanted.key_file, make_key()), (wanted.password_file, secrets.token_hex(24) + "\n")):
        print(_made(path, text, owner))
    owners = {0, os.geteuid(), *([owner.uid] if owner else [])}
    read_keys(wanted.key_file, owners)
    from popauthd.cluster.access import access, node_name

    password = access(wanted, owners).password
    path = options.config or CONFIGURATION
    for line in (
        *_redis(wanted, password),
        *_this_node(wanted, path, there=given.cluster == wanted),
        *_others(wanted, node_name(wanted), owner),
    ):
        print(line)
    return 0


def _wanted(given: ClusterConfig | None, url: str | None) -> ClusterConfig:
    """The [cluster] table as it should be: with a user of its own in Redis, who has a password. Raises UsageError."""
    if given is None and not url:
        raise UsageError("there is no [cluster] yet: popauthctl cluster init --url redis://HOST, or rediss:// for TLS")
    table = given if given is not None else ClusterConfig()
    try:
        named = url or table.url
        if not read_url(named).user:
            named = named.replace("://", f"://{USER}@", 1)
    except ValueError as error:
        raise UsageError(f"--url {error}") from error
    return replace(table, url=named, password_file=table.password_file or PASSWORD_FILE)


def _made(path: str, text: str, owner: Account | None) -> str:
    """Make a private file of the service's user, unless it is there; says which. Raises PopauthdError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return f"{path} is there already, and stays as it is"
    except OSError as error:
        raise in_the_way(f"{path}: cannot be made", error) from error
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            if owner is not None and os.geteuid() == 0:
                os.fchown(file.fileno(), owner.uid, owner.gid)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        from popauthd.durable import sync_directory

        sync_directory(Path(path).parent)
    except OSError as error:
        Path(path).unlink(missing_ok=True)
        raise in_the_way(f"{path}: cannot be written", error) from error
    return f"made {path}, mode 0600, owner {owner.name if owner else user_name(os.geteuid())}"


def _redis(wanted: ClusterConfig, password: str) -> Iterator[str]:
    from hashlib import sha256  # as elsewhere: slow to load

    engine = wanted.engine
    rule = acl_rule(wanted.stream, db=engine.db)
    digest = sha256(password.encode("utf-8")).hexdigest()
    yield "\n1. In Redis or Valkey, a user with the rights that a node needs (the password stands as its SHA-256):\n"
    yield "    redis-cli " + shlex.join(["ACL", "SETUSER", engine.user, "reset", "on", f"#{digest}", *rule.split()])
    yield "\n   That lasts until it is restarted. For good, in redis.conf or its aclfile:\n"
    yield f"    user {engine.user} on #{digest} {rule}"
    if engine.service:
        yield "\n   On every server that the Sentinels may make the primary: an ACL is not replicated."


def _this_node(wanted: ClusterConfig, path: str, *, there: bool) -> Iterator[str]:
    if there:
        yield f"\n2. This node: [cluster] is in {path} already.\n"
    else:
        yield f"\n2. This node: at the end of {path}, in place of a [cluster] that is there:\n"
        yield from (f"    {line}" for line in _table(wanted))
        yield "\n   Then:\n"
    yield from _start(wanted)


def _table(wanted: ClusterConfig) -> Iterator[str]:
    from popauthd.config.settings import CLUSTER_SETTINGS
    from popauthd.config.written import written

    default = ClusterConfig()
    yield "[cluster]"
    for row in CLUSTER_SETTINGS:
        if (value := getattr(wanted, row.field)) != getattr(default, row.field):
            yield f"{row.key} = {written(value, row)}"


def _start(wanted: ClusterConfig) -> Iterator[str]:
    yield "    apt install python3-redis"
    if not wanted.engine.path:
        yield f"    install -D -m 644 {EXAMPLES}/cluster.conf {DROP_IN}"
        yield "    systemctl daemon-reload"
    yield "    popauthctl config check"
    yield "    systemctl restart popauthd"


def _others(wanted: ClusterConfig, node: str, owner: Account | None) -> Iterator[str]:
    files = shlex.join([wanted.key_file, wanted.password_file])
    where = shlex.quote(str(Path(wanted.key_file).parent))
    name = owner.name if owner else USER
    yield f"\n3. Every other node: from here, with its host name for {OTHER}, the key and the password:\n"
    if Path(wanted.password_file).parent == Path(wanted.key_file).parent:
        yield f"    scp -p {files} root@{OTHER}:{where}/"
    else:
        for path in (wanted.key_file, wanted.password_file):
            yield f"    scp -p {shlex.quote(path)} root@{OTHER}:{shlex.quote(path)}"
    yield f"    ssh root@{OTHER} chown {name}: {files}"
    yield "\n   Then there the same as in 2, but no node may have the name of another; without `node` it is its host's."
    yield f"   This one is {node}."
