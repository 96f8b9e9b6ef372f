"""exim enable, disable, status: popauthd into Debian's Exim with one command, and out again without a trace."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from popauthd.cli.common import settings
from popauthd.errors import PopauthdError
from popauthd.eximsetup import plan, trial, unfinished
from popauthd.eximsetup.change import carry_out, recover
from popauthd.eximsetup.process import running
from popauthd.eximsetup.site import Site, read

NO_PERMISSION = 77  # EX_NOPERM


def _exim_arguments(parser: argparse.ArgumentParser, common: argparse.ArgumentParser) -> None:
    steps = parser.add_subparsers(title="steps", metavar="STEP", required=True)
    enable_parser = steps.add_parser("enable", parents=[common], help="let Exim ask popauthd")
    enable_parser.add_argument("--via", choices=plan.VIAS, help="how it asks (default: as it does now, or socket)")
    disable_parser = steps.add_parser("disable", parents=[common], help="take popauthd out of Exim's configuration")
    for step, run in ((enable_parser, enable), (disable_parser, disable)):
        step.add_argument("--dry-run", action="store_true", help="show and try it, and change nothing")
        step.set_defaults(run=run)
    status_parser = steps.add_parser("status", parents=[common], help="does Exim ask popauthd? (exit 0 yes, 1 no)")
    status_parser.add_argument("--json", action="store_true", help="one JSON object")
    status_parser.set_defaults(run=status)


ARGUMENTS = {"exim": _exim_arguments}


def enable(options: argparse.Namespace) -> int:
    """Put it in, or switch to another way of asking. Exit 0 also when there is nothing to change."""
    site = _site(options)
    _needs_root()
    site.check()
    recover(site, asked=True, dry_run=options.dry_run, say=print)
    via = options.via or plan.via_of(read(site.acl_file)) or "socket"
    changed = carry_out(site, plan.enabled(site, via), asked=True, dry_run=options.dry_run, say=print)
    print(_end(changed, options.dry_run, f"Exim asks popauthd through the {via}"))
    return 0


def disable(options: argparse.Namespace) -> int:
    """Take it out."""
    site = _site(options)
    _needs_root()
    recover(site, asked=False, dry_run=options.dry_run, say=print)
    changed = carry_out(site, plan.disabled(site), asked=False, dry_run=options.dry_run, say=print)
    if not options.dry_run and site.acl_file.parent.is_dir() and not any(site.acl_file.parent.iterdir()):
        site.acl_file.parent.rmdir()
    print(_end(changed, options.dry_run, "Exim does not ask popauthd"))
    return 0


def status(options: argparse.Namespace) -> int:
    """Whether Exim's configuration asks popauthd, and how."""
    site = _site(options)
    via = plan.via_of(read(site.acl_file))
    in_force = site.generated.exists() and trial.asks(site, site.generated)
    answer = {
        "enabled": bool(via) and in_force,
        "via": via,
        "hook": in_force,
        "split": site.split(),
        "running": running(site),
        "acl_file": str(site.acl_file),
        "unfinished": unfinished.told(site),
    }
    if options.json:
        print(json.dumps(answer, indent=1))
        return 0 if answer["enabled"] else 1
    if answer["unfinished"]:
        print(f"WARNING: {answer['unfinished']}")
    if answer["enabled"]:
        print(f"Exim asks popauthd through the {via} ({'split' if answer['split'] else 'unsplit'} configuration)")
    elif in_force:
        print(f"Exim would ask popauthd, but {site.acl_file} is missing or none of ours; popauthctl exim enable")
    else:
        print("Exim does not ask popauthd; popauthctl exim enable")
    return 0 if answer["enabled"] else 1


def _site(options: argparse.Namespace) -> Site:
    return Site(run_dir=Path(settings(options).run_dir))


def _needs_root() -> None:
    if os.geteuid() != 0:
        error = PopauthdError("needs root: it tries and writes Exim's configuration; try again with sudo")
        error.exit_code = NO_PERMISSION
        raise error


def _end(changed: bool, dry_run: bool, state: str) -> str:
    if not changed:
        return f"nothing to change: {state}"
    return f"dry run, nothing was changed; otherwise: {state}" if dry_run else state
