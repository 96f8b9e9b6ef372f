"""The checks of popauthd itself: configuration, watcher, responder, sources and clock."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from popauthd import CONFIGURATION, config
from popauthd.as_user import Account, LookError, ask_socket, look, user_name
from popauthd.control_client import ask_watcher
from popauthd.doctor.context import Verdict, Visit, fail, ok, skip
from popauthd.errors import ConfigError, PopauthdError, UnavailableError
from popauthd.text import length_of_time, stamp
from popauthd.watch.assembly import followed, recogniser, user_files

NOBODY = "192.0.2.1"
SANE_AT = 1_704_067_200  # 2024-01-01, before popauthd was written
MOVE_SECONDS = 2.0
JOURNAL = "journalctl -u popauthd"


def configuration(visit: Visit) -> Iterator[Verdict]:
    """Readable and right, as the daemon reads it."""
    path = visit.config_path or CONFIGURATION
    try:
        loaded = config.load(visit.config_path)
        for source in followed(loaded):
            recogniser(source)
        warnings = user_files(loaded).warnings()
    except ConfigError as error:
        yield fail(str(error), "correct it until `popauthctl config check` is content, then restart popauthd")
        return
    visit.loaded = loaded
    said = "".join(f"; {warning}" for warning in warnings)
    yield ok((f"{path} is right" if Path(path).exists() else f"no {path}, all is at its default") + said)


def clock(_visit: Visit) -> Iterator[Verdict]:
    """Whether this machine knows the time at all."""
    now = int(time.time())
    if now < SANE_AT:
        yield fail(f"it is {stamp(now)} here, which cannot be", "set the clock: timedatectl set-ntp true")
    else:
        yield ok(f"it is {stamp(now)} here")


def watcher(visit: Visit) -> Iterator[Verdict]:
    """Whether it answers, and is well."""
    try:
        visit.status = _status(visit)
    except PopauthdError as error:
        if isinstance(error.__cause__, PermissionError):
            yield fail("it hears root and its own user alone", "run this as root")
            return
        said = str(error).partition("; ")[0]
        yield fail(said, f"systemctl start popauthd; if it does not stay up: {JOURNAL}")
        return
    if visit.status["degraded"]:
        yield fail(f"degraded: {visit.status['degraded']}", f"remove the cause (a full disk?), and see {JOURNAL}")
    else:
        addresses = visit.status["addresses"]
        yield ok(f"version {visit.status['version']} answers, pid {visit.status['pid']}, {addresses} address(es)")


def _status(visit: Visit) -> dict[str, Any]:
    reply = ask_watcher(visit.config.control_path, command="status")
    if "error" in reply:
        raise UnavailableError(reply["error"])
    return reply


def responder(visit: Visit) -> Iterator[Verdict]:
    """Whether it answers."""
    path = visit.config.lookup_path
    try:
        answer = look(_owner(visit.config.run_dir), lambda: ask_socket(path, NOBODY))
    except LookError as error:
        if os.geteuid() != 0 and "Permission denied" in str(error):
            yield skip(f"only root and Exim's group may ask on {path}; run this as root")
            return
        start = "systemctl start popauthd-lookup; if it does not stay up: journalctl -u popauthd-lookup"
        yield fail(f"it does not answer on {path} ({error})", start)
        return
    if answer in ("yes", "no"):
        yield ok(f"answers on {path}")
    else:
        yield fail(f"says {answer!r} on {path}, neither yes nor no", "is it popauthd that listens there?")


def _owner(directory: str) -> Account | None:
    """Who a directory belongs to, in its group: systemd's socket in it is root's, and its group's. None: ourselves."""
    try:
        found = Path(directory).stat()
    except OSError as error:
        raise LookError(f"{directory}: {error.strerror}") from error
    if os.geteuid() != 0 or found.st_uid == 0:
        return None
    return Account(user_name(found.st_uid), found.st_uid, found.st_gid)


def sources(visit: Visit) -> Iterator[Verdict]:
    """Each source: readable, and moving."""
    found = visit.status["sources"]
    if not found:
        yield ok("no log is followed; Dovecot itself tells of logins")
    if any(_behind(source) for source in found):
        before = {source["name"]: source for source in found}
        time.sleep(MOVE_SECONDS)
        visit.status = _status(visit)
        for source in visit.status["sources"]:
            yield _source(visit, source, before.get(source["name"]))
        return
    for source in found:
        yield _source(visit, source, None)


def _behind(source: dict[str, Any]) -> int:
    return int(source.get("behind_bytes") or source.get("behind_seconds") or 0)


def _source(visit: Visit, source: dict[str, Any], before: dict[str, Any] | None) -> Verdict:
    name, last, now = source["name"], source["last_login_at"], visit.status["now"]
    if source["status"] != "present":
        advice = "does it exist, and may the watcher's user read it (groups adm, systemd-journal)? "
        return fail(f"{name}: {source['why'] or source['status']}", advice + "See `popauthctl dovecot status`")
    if last is not None and last > now + visit.config.future_seconds:
        advice = "compare this clock with the log's, and see timezone of the [[source]]"
        return fail(f"{name}: its last login is {length_of_time(last - now)} in the future", advice)
    if before is not None and _behind(source) and _same_place(source, before):
        return fail(f"{name}: {_amount(source)} behind, and not moving", f"restart popauthd, and see {JOURNAL}")
    seen = f"last login {length_of_time(now - last)} ago" if last else "no login since the start: log in once, to see"
    read_at = source.get("last_read_at")
    seen += f", last read {length_of_time(now - read_at)} ago" if read_at else ", nothing to read yet"
    late = f", {_amount(source)} behind and catching up" if _behind(source) else ""
    return ok(f"{name}: {seen}{late}, {visit.status['today'].get('lines', 0)} lines in all today")


def _same_place(source: dict[str, Any], before: dict[str, Any]) -> bool:
    place = ("reading", "offset", "last_record_at", "behind_bytes")
    return all(source.get(key) == before.get(key) for key in place)


def _amount(source: dict[str, Any]) -> str:
    return f"{source['behind_bytes']} bytes" if source.get("behind_bytes") else f"{source.get('behind_seconds')} s"


def stamps(visit: Visit) -> Iterator[Verdict]:
    """Whether the logs' stamps fit this clock, by what was refused today."""
    today = visit.status["today"]
    ahead = today.get("refused.future", 0)
    others = max(0, today.get("login", 0) - ahead)
    if ahead > others:
        seen = f"{ahead} login(s) today were stamped in the future, {others} were not"
        yield fail(seen, "compare this clock with the log's, and see timezone of the [[source]]")
    else:
        yield ok(f"{ahead} login(s) today were stamped in the future" if ahead else "none today was in the future")
