"""The checks of popauthd itself: configuration, watcher, responder, sources and clock."""

from __future__ import annotations

import os
import time
from pathlib import Path

from popauthd import CONFIGURATION, installed
from popauthd.as_user import LookError
from popauthd.conditions import CONDITIONS
from popauthd.config import Config, load
from popauthd.control_client import ask_responder, ask_status
from popauthd.doctor.verdicts import Learning, Verdict, Verdicts, fail, ok, skip, standing
from popauthd.errors import ConfigError, PopauthdError
from popauthd.status import PRESENT, FileStatus, JournalStatus, SourceStatus, Status
from popauthd.text import length_of_time, stamp
from popauthd.watch.assembly import followed, recogniser, user_files

SANE_AT = 1_704_067_200  # 2024-01-01, before popauthd was written
MOVE_SECONDS = 2.0
JOURNAL = "journalctl -u popauthd"


def configuration(config_path: str | None) -> Learning[Config]:
    """Readable and right, as the daemon reads it. Learns the configuration."""
    path = config_path or CONFIGURATION
    try:
        loaded = load(config_path)
        for source in followed(loaded):
            recogniser(source)
        warnings = user_files(loaded).warnings()
    except ConfigError as error:
        yield fail(str(error), "correct it until `popauthctl config check` is content, then restart popauthd")
        return None
    said = "".join(f"; {warning}" for warning in warnings)
    yield ok((f"{path} is right" if Path(path).exists() else f"no {path}, all is at its default") + said)
    return loaded


def service(config_path: str | None, config: Config) -> Verdicts:
    """Whether the service's user may read the configuration, and systemd's unit lets the watcher do what it says."""
    findings = [*installed.readable(config_path, config), *installed.sandbox(config_path, config, followed(config))]
    for one in findings:
        yield (fail if one.kind == installed.WRONG else _unseen)(one.what, one.advice)
    if not findings:
        yield ok("the service may read the configuration and all that it names")


def _unseen(what: str, advice: str) -> Verdict:
    return skip(f"{what}; {advice}")


def clock() -> Verdicts:
    """Whether this machine knows the time at all."""
    now = int(time.time())
    if now < SANE_AT:
        yield fail(f"it is {stamp(now)} here, which cannot be", "set the clock: timedatectl set-ntp true")
    else:
        yield ok(f"it is {stamp(now)} here")


def watcher(config: Config) -> Learning[Status]:
    """Whether it answers. Learns its status."""
    try:
        status = ask_status(config.control_path)
    except PopauthdError as error:
        if isinstance(error.__cause__, PermissionError):
            yield fail("it hears root and its own user alone", "run this as root")
            return None
        said = str(error).partition("; ")[0]
        yield fail(said, f"systemctl start popauthd; if it does not stay up: {JOURNAL}")
        return None
    yield ok(f"version {status.version} answers, pid {status.pid}, {status.addresses} address(es)")
    return status


def conditions(status: Status) -> Verdicts:
    """What the watcher itself says that is not well: a line for each condition, under its word."""
    for one in status.conditions:
        said = standing(one)
        yield said._replace(seen=f"{said.seen} (since {stamp(one.since)})", word=one.word)
    if not status.conditions:
        yield ok("the watcher is well")


def responder(config: Config) -> Verdicts:
    """Whether it answers."""
    path = config.lookup_path
    try:
        answer = ask_responder(config.run_dir, path)
    except LookError as error:
        if os.geteuid() != 0 and "Permission denied" in str(error):
            yield skip(f"only root and Exim's group may ask on {path}; run this as root")
            return
        yield fail(f"it does not answer on {path} ({error})", CONDITIONS["responder-silent"].advice)
        return
    if answer in ("yes", "no"):
        yield ok(f"answers on {path}")
    else:
        yield fail(f"says {answer!r} on {path}, neither yes nor no", "is it popauthd that listens there?")


def sources(config: Config, status: Status) -> Verdicts:
    """Each source: readable, and moving."""
    found = status.sources
    if not found and any(one.word == "no-log-yet" for one in status.conditions):
        yield skip("none is followed yet: told above, with the watcher's conditions")
    elif not found:
        who = "Dovecot itself tells" if config.pushed else "other nodes of the cluster tell"
        yield ok(f"no log is followed; {who} of logins")
    if any(source.state.behind for source in found):
        before = {source.name: source.state for source in found}
        time.sleep(MOVE_SECONDS)
        status = ask_status(config.control_path)
        for source in status.sources:
            yield _source(config, status, source, before.get(source.name))
        return
    for source in found:
        yield _source(config, status, source, None)


def _source(config: Config, status: Status, source: SourceStatus, before: FileStatus | JournalStatus | None) -> Verdict:
    """One source. before: how the same source was a moment ago, if any source was behind then."""
    name, last, now, state = source.name, source.last_login_at, status.now, source.state
    if state.status != PRESENT:
        if any(one.about == name for one in status.conditions):
            return skip(f"{name}: told above, with the watcher's conditions")
        advice = "does it exist, and may the watcher's user read it (groups adm, systemd-journal)? "
        return fail(f"{name}: {state.why or state.status}", advice + "See `popauthctl dovecot status`")
    if last is not None and last > now + config.future_seconds:
        advice = "compare this clock with the log's, and see timezone of the [[source]]"
        return fail(f"{name}: its last login is {length_of_time(last - now)} in the future", advice)
    if before is not None and state.behind and state.place == before.place:
        return fail(f"{name}: {state.behind_text} behind, and not moving", f"restart popauthd, and see {JOURNAL}")
    seen = f"last login {length_of_time(now - last)} ago" if last else "no login since the start: log in once, to see"
    read_at = state.last_read_at
    seen += f", last read {length_of_time(now - read_at)} ago" if read_at else ", nothing to read yet"
    late = f", {state.behind_text} behind and catching up" if state.behind else ""
    return ok(f"{name}: {seen}{late}, {status.today.get('lines', 0)} lines in all today")


def stamps(status: Status) -> Verdicts:
    """Whether the logs' stamps fit this clock, by what was refused today."""
    today = status.today
    ahead = today.get("refused.future", 0)
    others = max(0, today.get("login", 0) - ahead)
    if ahead > others:
        seen = f"{ahead} login(s) today were stamped in the future, {others} were not"
        yield fail(seen, "compare this clock with the log's, and see timezone of the [[source]]")
    else:
        yield ok(f"{ahead} login(s) today were stamped in the future" if ahead else "none today was in the future")
