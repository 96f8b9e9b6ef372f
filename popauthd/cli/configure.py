"""config check and config show."""

from __future__ import annotations

import argparse
import json
import os

from popauthd import config, installed
from popauthd.cli import steps
from popauthd.control_client import ask_status
from popauthd.errors import ConfigError, ForbiddenError, PopauthdError
from popauthd.installed import NOTE, WRONG
from popauthd.text import safe, stamp
from popauthd.watch import push_sources
from popauthd.watch.assembly import USUAL_LOGS, followed_now, recogniser

ASK_SECONDS = 2.0  # prepare-run-dir asks too, while the watcher may have much to do
OF_THE_FILE = ("configuration-wrong", "configuration-not-in-force")


def _config_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    what = steps(parser, "check|show")
    checking = what.add_parser("check", parents=[common], help="is it right? exit 78 and the reason if not")
    showing = what.add_parser("show", parents=[common], help="every setting, and whether it is in force")
    showing.add_argument("--changed", action="store_true", help="only the settings that are not the default")
    for one, run in ((checking, check), (showing, show)):
        one.add_argument("--json", action="store_true", help="one JSON object")
        one.set_defaults(run=run)


ARGUMENTS = {"config": _config_arguments}


def check(options: argparse.Namespace) -> int:
    """Read the configuration as the daemon would, by the service's rights; then say whether it is in force.

    What is wrong is raised.
    """
    loaded = config.read(options.config)
    sources = followed_now(loaded.config)
    for source in sources:
        recogniser(source)
    findings = [
        *installed.named(loaded.config),
        *installed.clustered(options.config, loaded.config),
        *installed.readable(options.config, loaded.config),
        *installed.group(loaded.config),
        *installed.sandbox(options.config, loaded.config, sources),
    ]
    if wrong := [one.text for one in findings if one.kind == WRONG]:
        raise ConfigError("\npopauthctl: ".join(wrong))
    notes = [one.text for one in findings if one.kind == NOTE]
    unseen = [one.text for one in findings if one.kind not in (NOTE, WRONG)]
    names = [source.name for source in sources] + push_sources.names(loaded.config)
    if not names:
        notes.append(f"nothing to follow is here yet: no journal, and none of {', '.join(USUAL_LOGS)}")
    answer, why = in_force(loaded)
    if options.json:
        told = {"right": True, "follows": names, "notes": notes, "not_looked_at": unseen}
        print(json.dumps({**told, "in_force": answer, "in_force_why": why}, indent=1))
        return 0
    for text in notes:
        print(f"note: {text}")
    for text in unseen:
        print(f"not looked at: {text}")
    print(f"the configuration is right; it follows {', '.join(names) or 'nothing yet'}")
    for line in why:
        print(line)
    return 0


def show(options: argparse.Namespace) -> int:
    """Print every setting, or those that were changed."""
    from popauthd.config.show import as_table, as_toml  # nobody else needs to write TOML

    loaded = config.read(options.config)
    table = as_table(loaded.config, changed=options.changed)
    answer, why = in_force(loaded)
    if options.json:
        print(json.dumps({"settings": table, "in_force": answer, "in_force_why": why}, indent=1))
        return 0
    for line in why:
        print(f"# {line}")
    print(as_toml(table) if table else "# every setting has its default\n", end="")
    return 0


def in_force(loaded: config.Loaded) -> tuple[bool | None, list[str]]:
    """Whether the running watcher goes by this configuration, and why, a line or two. None: that is not known."""
    path = loaded.config.control_path
    try:
        status = ask_status(path, ASK_SECONDS)
    except ForbiddenError:
        return None, ["whether it is in force was not looked at: only root may ask the watcher"]
    except PopauthdError as error:
        if isinstance(error.__cause__, FileNotFoundError | ConnectionRefusedError):
            return False, [f"nothing runs by it: no watcher answers on {path}"]
        return None, [f"whether it is in force is not known: {error}"]
    running = status.configuration
    if running is None:
        return None, ["whether it is in force is not known: the watcher is of another version; restart popauthd"]
    if not _is_same(running.path, loaded.path):
        return False, [f"not in force: the watcher goes by {safe(running.path, 200)}"]
    why = []
    for one in status.conditions:
        if one.word in OF_THE_FILE:
            why += [f"{one.severity} {one.word}: {safe(one.text, 400)}", f"  what to do: {one.advice}"]
    return not why, why or [f"it is in force, since {stamp(running.since)}"]


def _is_same(one: str, other: str) -> bool:
    """Whether two names are those of one file, or are the same where there is no file."""
    try:
        return os.path.samefile(one, other)  # noqa: PTH121 - two names, no objects
    except OSError:
        return one == other
