"""The checks, in the order in which they are made.

A row is the word of a check, how it is run and with what, and the checks that must be well for it to mean anything.
`learn` is for a check that finds out what later ones are given: `NAME.value`, or `NAME.learned` if it may be missing.
What was granted is revoked whatever happens in between.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from popauthd.doctor import daemons, dovecot, end_to_end, exim, permissions, push, running, running_exim
from popauthd.doctor.end_to_end import HostListSeen, ToRevoke, by_readlookup, by_socket
from popauthd.doctor.verdicts import Result, at_once, learn, make
from popauthd.eximsetup.commands import Exim


@dataclass(frozen=True, slots=True)
class Paths:
    """Where Exim is; config "" for its own. doveconf: a file with the output of `doveconf -n`, "" to ask it."""

    exim: str = "/usr/sbin/exim4"
    exim_config: str = ""
    readlookup: str = "/usr/lib/popauthd/readlookup"
    doveconf: str = ""
    exim_acl: str = "/etc/popauthd/exim-acl"


def examine(config_path: str | None, paths: Paths) -> Generator[Result, None, None]:
    """Every check's results, one by one as they are known."""
    mta = Exim(paths.exim, paths.exim_config)
    script = paths.readlookup
    to_revoke = ToRevoke()
    with end_to_end.no_way_out():
        yield from make("clock", daemons.clock)
        config = yield from learn("config", lambda: daemons.configuration(config_path))
        yield from make("service", lambda: daemons.service(config_path, config.value), config)
        status = yield from learn("watcher", lambda: daemons.watcher(config.value), config)
        responder = yield from make("responder", lambda: daemons.responder(config.value), config)
        yield from make("conditions", lambda: daemons.conditions(status.value), status)
        yield from make("sources", lambda: daemons.sources(config.value, status.value), status)
        yield from make("stamps", lambda: daemons.stamps(status.value), status)
        yield from make("dovecot", lambda: dovecot.dovecot(config.value, paths.doveconf, status.learned), config)
        master = yield from learn("dovecot-running", lambda: running.dovecot_runs(config.value, paths.doveconf), config)
        yield from make("push", lambda: push.push(config.value), status)
        installed = yield from make("exim", lambda: exim.installed(mta, config.learned))
        daemon = yield from learn("exim-running", lambda: running_exim.runs(mta), installed)
        yield from make("exim-listens", lambda: running_exim.listens(daemon.value), daemon)
        yield from make("exim-routes", lambda: running_exim.routes(mta), installed)
        yield from make(
            "programs",
            lambda: running.programs(config.value, status.learned, master.learned, daemon.learned),
            config,
        )
        user = yield from learn("exim-user", lambda: permissions.exim_user(config.value.group), config, installed)
        run_dir = yield from make("run-dir", lambda: permissions.run_dir(user.value, config.value), user)
        relay_map = yield from make("map", lambda: permissions.relay_map(user.value, config.value), run_dir)
        socket = yield from make(
            "socket", lambda: permissions.lookup_socket(user.value, config.value), run_dir, responder
        )
        host_list = yield from make("host-list", lambda: permissions.host_list(user.value, config.value), run_dir)
        readlookup = yield from make(
            "readlookup", lambda: permissions.readlookup(user.value, script, config.value.map_path), relay_map
        )
        way = yield from learn(
            "acl",
            lambda: exim.acl(mta, paths.exim_acl, exim.places(config.value, script), config.value, user.learned),
            config,
            installed,
        )
        yield from make("reloaded", lambda: running_exim.reloaded(mta, daemon.value), way, daemon)
        stranger = yield from learn("stranger", lambda: end_to_end.stranger(mta, config.value), way, status)
        try:
            granted = yield from learn(
                "grant",
                lambda: end_to_end.grant(
                    config.value, status.value, stranger.learned and stranger.learned.address, to_revoke
                ),
                status,
            )
            socket_yes = yield from learn(
                "grant-socket",
                lambda: end_to_end.says_yes(by_socket(user.value, config.value), granted.value),
                granted,
                socket,
                relay_map,
            )
            readlookup_yes = yield from learn(
                "grant-readlookup",
                lambda: end_to_end.says_yes(by_readlookup(user.value, script, config.value), granted.value),
                granted,
                readlookup,
            )
            listed = yield from learn(
                "grant-hostlist",
                lambda: end_to_end.is_listed(HostListSeen(user.value, config.value), granted.value),
                granted,
                host_list,
            )
            ways = {"socket": socket_yes.well, "readlookup": readlookup_yes.well, "hostlist": listed.well}
            relayed = yield from learn(
                "relay",
                lambda: end_to_end.relay(mta, granted.value, stranger.value, way.value, ways),
                granted,
                way,
                stranger,
            )
        finally:
            with end_to_end.undisturbed():
                revoked = at_once(make("revoke", lambda: end_to_end.revoke(config.learned, to_revoke)))
        if not to_revoke.address:  # whatever kept the grant from being tried is the reason here too
            revoked = at_once(make("revoke", lambda: end_to_end.revoke(config.learned, to_revoke), granted))
        yield from revoked.results
        yield from make(
            "refused",
            lambda: end_to_end.refused(
                to_revoke.address,
                {"socket": socket_yes.learned, "readlookup": readlookup_yes.learned},
                listed.learned,
                relayed.learned,
            ),
            revoked,
        )
