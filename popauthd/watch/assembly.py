"""Builds the watcher from the configuration: finds the logs, opens books and map, makes the sources."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from popauthd import address
from popauthd.cluster import access
from popauthd.cluster.keys import Keys
from popauthd.cluster.pseudonym import Pseudonyms
from popauthd.cluster.traffic import Sender
from popauthd.config import ClusterConfig, Config, SourceConfig
from popauthd.config.limits import limits
from popauthd.errors import ConfigError
from popauthd.formats.journal_fields import UNIT
from popauthd.formats.options import Options
from popauthd.formats.recogniser import Recogniser
from popauthd.policy.limits import Limits, longest_lifetime
from popauthd.policy.user_files import UserFiles
from popauthd.sources.file.source import LogFile
from popauthd.sources.file.wake import Waker
from popauthd.sources.journal.reader import dovecot_logs_here, expected_unit, journal_here
from popauthd.sources.journal.source import JournalSource
from popauthd.store.books import DATABASES, SCHEMA, Books, Rules
from popauthd.store.host_list import HostList, leave_nobody
from popauthd.store.publisher import Publisher
from popauthd.store.quarantine import heal
from popauthd.store.relay_map import MapWriter
from popauthd.watch.clock_steps import ClockSteps
from popauthd.watch.cluster import Member
from popauthd.watch.cluster_link import ClusterLink
from popauthd.watch.doveadm_who import Who
from popauthd.watch.housekeeping import Housekeeping
from popauthd.watch.ledger import Ledger
from popauthd.watch.limits_in_force import LimitsInForce
from popauthd.watch.lost_sessions import LostSessions
from popauthd.watch.notes import Notes
from popauthd.watch.watcher import Followed, Watcher

KEPT_SECONDS = 3600  # how long an entry of the cluster's stream is kept at least
# Dovecot's own file first: no local user can write into it, as anyone can into syslog.
USUAL_LOGS = (
    "/var/log/dovecot-info.log",
    "/var/log/dovecot.log",
    "/var/log/dovecot/dovecot.log",
    "/var/log/mail.log",
    "/var/log/maillog",
    "/var/log/mail.info",
    "/var/log/syslog",
)


class NoLogError(ConfigError):
    """Nothing to follow is configured, and nothing was found."""


def followed_now(settings: Config) -> tuple[SourceConfig, ...]:
    """The same as `followed`; nothing where nothing is found yet, as Dovecot may be installed later."""
    try:
        return followed(settings)
    except NoLogError:
        return ()


def followed(settings: Config) -> tuple[SourceConfig, ...]:
    """The sources to follow: the configured ones; or the journal if Dovecot logs there; or a usual log; or the
    journal all the same, as Dovecot may not have logged anything yet. None of their own accord beside a push source.

    After a quiet day Dovecot's last record is an old one. A usual log counts only if nothing of Dovecot's came into the
    journal since it was last written: it may have been left behind by a syslog daemon that is gone.

    Raises NoLogError, saying where it looked, if nothing is configured and nothing is found.
    """
    if settings.sources or settings.pushed:
        return settings.sources  # whoever chose what nobody can forge gets no syslog beside it unasked
    if dovecot_logs_here():
        return (SourceConfig(type="journal"),)
    for path in USUAL_LOGS:
        with contextlib.suppress(OSError):  # it may lie in a directory that we may not look into
            if Path(path).is_file():
                return (SourceConfig(type="journal") if _left_behind(path) else SourceConfig(path=path),)
    if journal_here():
        return (SourceConfig(type="journal"),)
    raise NoLogError(
        "no mail log found; looked for a journal that can be read, and for "
        + ", ".join(USUAL_LOGS)
        + '; name the log with a [[source]] table, such as path = "/var/log/mail.log"'
    )


def _left_behind(path: str) -> bool:
    """Whether Dovecot has logged to the journal since a log was last written. Raises OSError."""
    return dovecot_logs_here(max(0, int(time.time() - Path(path).stat().st_mtime)))


def recogniser(source: SourceConfig, framing: str = "", formats: tuple[str, ...] = ()) -> Recogniser:
    """The recogniser for a source's lines; `framing` and `formats` override the configured ones.

    Raises ConfigError, also on a format that is not known.
    """
    try:
        return Recogniser(
            Options(
                framing=framing or ("journal" if source.type == "journal" else source.framing),
                formats=formats or source.formats,
                proxy_lines=source.proxy_lines,
                timezone=source.timezone,
                timestamp=source.timestamp,
                hostnames=source.hostnames,
                programs=source.programs,
                unit=expected_unit() if source.type == "journal" else UNIT,
                services=source.services,
                rip_last=source.rip_last,
            )
        )
    except ValueError as error:
        raise ConfigError(f"source {source.name}: {error}") from error


def _follow(source: SourceConfig) -> Followed:
    reader = recogniser(source)
    if source.type == "journal":
        return Followed(JournalSource(source.programs, path=source.path), reader)
    return Followed(LogFile(source.path, reader.stamp), reader)


def user_files(settings: Config, names: Pseudonyms | None = None) -> UserFiles:
    """The lists of users. Raises ConfigError if one cannot be used. names: those of users in the cluster."""
    known_as = {} if names is None else {"known_as": names.of_entry}
    files = UserFiles(settings.users_file, settings.deny_users, **known_as)
    files.load()
    return files


def rules(settings: Config, names: Pseudonyms | None = None) -> Rules:
    """What the books must know of the configuration. names: those of users in the cluster."""

    def spared(key: str) -> bool:
        client = address.parse(key.partition("/")[0])
        return client is not None and address.inside(client, settings.always)

    # Where Dovecot alone tells of logins, nobody tells of the end of a session that a log told of before.
    told = bool(settings.sources) or not settings.pushed or settings.cluster is not None
    hold_seconds = settings.hold_at_most_seconds if settings.hold_sessions and told else 0
    alone = Rules(settings.shared_users, spared, hold_seconds)
    return alone if names is None else replace(alone, pseudonyms=names.of, replicate=not settings.dry_run)


def _limits(settings: Config) -> Limits:
    return replace(limits(settings), peer_names=settings.cluster is not None)


def build(settings: Config, sources: Sequence[SourceConfig], stopped: Callable[[], bool]) -> Watcher:
    """Open everything. Raises ConfigError or StoreError; what is open then ends with the process.

    stopped: whether this process is to stop; looking at large books takes a while. Raises Stopped then.
    """
    healed = [
        heal(settings.books_path, DATABASES, SCHEMA.decode("ascii"), stopped),
        heal(settings.map_path, stopped=stopped),
    ]
    listed = HostList(settings.host_list_path) if settings.host_list else None
    if listed is None:
        leave_nobody(settings.host_list_path)
    keys = None if settings.cluster is None else access.check(settings.cluster)
    names = None if keys is None else Pseudonyms(keys)
    users = user_files(settings, names)
    books = Books(settings.books_path, rules(settings, names))
    publisher = Publisher(MapWriter(settings.map_path), listed, dry_run=settings.dry_run)
    ledger = Ledger(books, publisher)
    damaged = [note for note in healed if note]
    notes = Notes([*damaged, *books.notes, *users.warnings()])
    housekeeping = Housekeeping(
        ledger,
        ClockSteps(ledger),
        LimitsInForce(ledger, _limits(settings), notes, users),
        notes,
        history_seconds=settings.history_seconds,
        lost_sessions=_lost_sessions(settings),
    )
    followed = [_follow(source) for source in sources]
    watcher = Watcher(ledger, housekeeping, followed, pushed=settings.pushed, damaged="; ".join(damaged))
    watcher.intake.grant_log.how = settings.log_grants
    watcher.logs_named = bool(settings.sources)
    if settings.cluster is not None and keys is not None:
        watcher.cluster = _cluster(watcher, settings, settings.cluster, keys)
    return watcher


def _cluster(watcher: Watcher, settings: Config, table: ClusterConfig, keys: Keys) -> ClusterLink:
    """This node's part in the cluster."""
    keep_seconds = max(KEPT_SECONDS, 2 * longest_lifetime(limits(settings)))
    me = Sender(access.node_name(table), os.urandom(8).hex(), table.stream, keys, keep_seconds)
    member = Member(me.node, me.run, watcher.ledger, watcher.intake, watcher.health)
    return ClusterLink(member, table, me, Pseudonyms(keys))


def rebuild(
    watcher: Watcher, settings: Config, before: Sequence[SourceConfig], sources: Sequence[SourceConfig]
) -> None:
    """Have a started watcher go by another configuration; it follows `before` now, and `sources` from then on.

    Raises ConfigError or StoreError; the watcher then goes on as before.
    """
    housekeeping, ledger, now = watcher.housekeeping, watcher.ledger, watcher.now()
    names = None if watcher.cluster is None else watcher.cluster.names
    users = user_files(settings, names)
    followed_now = dict(zip(before, watcher.followed, strict=True))
    followed = [followed_now.get(source) or _follow(source) for source in sources]
    housekeeping.tend_clock(now)
    housekeeping.limits.tend(now, housekeeping.settle)
    watcher.intake.enter_waiting(now)  # what was read and is not entered would be lost with its reader
    in_force = LimitsInForce(ledger, _limits(settings), housekeeping.notes, users)
    with ledger.going_by(rules(settings, names), dry_run=settings.dry_run) as writing:
        in_force.start(writing, now)
        if not ledger.rules.hold_seconds:
            writing.sessions.forget_all()
        places = {item.source.name: writing.places.of(item.source.name) for item in followed}
        silences = {item.source.name: writing.meta.longest_silence(item.source.name) for item in followed}
    # From here on nothing fails.
    for warning in users.warnings():
        housekeeping.notes.add(warning, now)
    lost_sessions = _lost_sessions(settings, housekeeping.lost_sessions)
    housekeeping.go_by(in_force, settings.history_seconds, lost_sessions)
    ledger.list_into(settings.host_list_path if settings.host_list else "")
    watcher.intake.grant_log.how = settings.log_grants
    watcher.logs_named = bool(settings.sources)
    watcher.intake.heed(many_ways=settings.pushed or len(followed) > 1, waited_for=settings.pushed)
    watcher.follow(followed, places, silences)


def _lost_sessions(settings: Config, before: LostSessions | None = None) -> LostSessions | None:
    wanted = settings.ask_doveadm and settings.hold_sessions
    return (before or LostSessions(Who())) if wanted else None


def build_waker(sources: Sequence[SourceConfig], wake: Callable[[], None]) -> Waker:
    """Start watching the logs' directories; `wake` is called from another thread."""
    waker = Waker([source.path for source in sources if source.type == "file"], wake)
    waker.start()
    return waker
