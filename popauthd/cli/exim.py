"""exim enable, disable, status: popauthd into Debian's Exim with one command, and out again without a trace."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from popauthd.cli import steps
from popauthd.cli.common import YELLOW, coloured, settings
from popauthd.errors import ConfigError, ForbiddenError
from popauthd.eximsetup import change, own_acl, plan, trial, undo
from popauthd.eximsetup.commands import Exim
from popauthd.eximsetup.process import running
from popauthd.eximsetup.reach import hindrances
from popauthd.eximsetup.site import Site, read

if TYPE_CHECKING:
    from popauthd.config import Config


def _exim_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    what = steps(parser, "enable|disable|status")
    enable_parser = what.add_parser("enable", parents=[common], help="let Exim ask popauthd")
    enable_parser.add_argument("--via", choices=plan.VIAS, help="how it asks (default: as it does now, or socket)")
    disable_parser = what.add_parser("disable", parents=[common], help="take popauthd out of Exim's configuration")
    for step, run in ((enable_parser, enable), (disable_parser, disable)):
        step.add_argument("--dry-run", action="store_true", help="show and try it, and change nothing")
        step.set_defaults(run=run)
    status_parser = what.add_parser("status", parents=[common], help="does Exim ask popauthd? (exit 0 yes, 1 no)")
    status_parser.add_argument("--json", action="store_true", help="one JSON object")
    status_parser.set_defaults(run=status)


ARGUMENTS = {"exim": _exim_arguments}


class Said:
    """Prints warnings at once, and keeps what else is said until the result has been printed: the proofs, the diff."""

    def __init__(self) -> None:
        self._later: list[str] = []

    def __call__(self, text: str) -> None:
        if text.startswith("WARNING"):
            print(coloured(text, YELLOW), flush=True)
        else:
            self._later.append(text)

    def end(self, result: str) -> None:
        """Print the result, then what was kept, the diff last."""
        print(result)
        for text in sorted(self._later, key=lambda text: text.startswith("--- ")):
            print(f"\nthe change:\n{text}" if text.startswith("--- ") else text)


def enable(options: argparse.Namespace) -> int:
    """Put it in, or switch to another way of asking. Exit 0 also when there is nothing to change."""
    site, said = _site(options), Said()
    _needs_root("enable")
    site.check()
    change.recover(site, asked=True, dry_run=options.dry_run, say=said)
    loaded = settings(options)
    via = chosen(options.via or plan.via_of(read(site.acl_file)) or "socket", loaded)
    changed = change.enable(site, via, plan.refusal(loaded), dry_run=options.dry_run, say=said)
    try:
        for one in hindrances(Exim(site.exim), int(time.time())):
            said(f"WARNING: {one.text}; {one.advice}")
    except ConfigError as error:  # the hook is in force all the same
        said(f"WARNING: whether clients reach Exim cannot be told: {error}")
    said.end(_end(changed, options.dry_run, f"Exim asks popauthd through {plan.VIAS[via]}"))
    return 0


def chosen(via: str, loaded: Config) -> str:
    """One of plan.VIAS. Raises ConfigError if popauthd does not answer that way."""
    if via == "hostlist" and not loaded.host_list:
        raise ConfigError(
            "host_list = false: popauthd keeps no host list, so nobody could relay; set host_list = true and "
            "`popauthctl reload`, or choose another way, such as --via socket"
        )
    return via


def disable(options: argparse.Namespace) -> int:
    """Take it out."""
    site, said = _site(options), Said()
    _needs_root("disable")
    change.recover(site, asked=False, dry_run=options.dry_run, say=said)
    changed = change.disable(site, dry_run=options.dry_run, say=said)
    if not options.dry_run and site.acl_file.parent.is_dir() and not any(site.acl_file.parent.iterdir()):
        site.acl_file.parent.rmdir()
    said.end(_end(changed, options.dry_run, "Exim does not ask popauthd"))
    return 0


def status(options: argparse.Namespace) -> int:
    """Whether Exim's configuration asks popauthd, and how."""
    site = _site(options)
    acl = read(site.acl_file)
    via = plan.via_of(acl)
    in_force = site.config.exists() and trial.asks(site, site.config)
    own = own_acl.in_use(site)
    answer = {
        "enabled": bool(via) and in_force,
        "via": via,
        "hook": in_force,
        "split": site.split(),
        "own_acl": own,
        "running": running(site),
        "acl_file": str(site.acl_file),
        "unfinished": undo.told(site),
    }
    if options.json:
        print(json.dumps(answer, indent=1))
        return 0 if answer["enabled"] else 1
    if answer["unfinished"]:
        print(coloured(f"WARNING: {answer['unfinished']}", YELLOW))
    if answer["enabled"]:
        kind = "an ACL of your own" if own else f"{'split' if answer['split'] else 'unsplit'} configuration"
        print(f"Exim asks popauthd through {plan.VIAS[via]} ({kind})")
        if acl != plan.acl(site, via, plan.refusal(settings(options)), plan.words_of(acl)):
            print(
                f"{site.acl_file} is not as popauthctl would write it now (were lifetime or refusal changed?); "
                "to have it so: popauthctl exim enable"
            )
    elif in_force:
        print(f"Exim would ask popauthd, but {site.acl_file} is missing or none of ours; popauthctl exim enable")
    else:
        print("Exim does not ask popauthd; popauthctl exim enable")
    return 0 if answer["enabled"] else 1


def _site(options: argparse.Namespace) -> Site:
    return Site(run_dir=Path(settings(options).run_dir))


def _needs_root(step: str) -> None:
    if os.geteuid() != 0:
        raise ForbiddenError(f"needs root (sudo popauthctl exim {step}): it tries and writes Exim's configuration")


def _end(changed: bool, dry_run: bool, state: str) -> str:
    if not changed:
        return f"nothing to change: {state}"
    return f"dry run, nothing was changed; otherwise: {state}" if dry_run else state
